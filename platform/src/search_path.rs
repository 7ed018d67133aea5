//! Finds programs on a search path and skips those that another user could have planted.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::filesystem::{FileId, identity};
use crate::process;

/// Any of the three execute bits.
const EXECUTE: u32 = 0o111;
/// Write bits of group and others.
const WRITE_BY_OTHERS: u32 = 0o022;
/// The write bit of others.
const WRITE_BY_ANY_USER: u32 = 0o002;
/// Only the owner of a file can remove it from a folder with this bit.
const STICKY: u32 = 0o1000;

/// Returns the id of the program that this process runs; on macOS, of the file now at its path.
#[must_use]
pub fn own_program_id() -> Option<FileId> {
    identity(Path::new(process::own_command().ok()?.get_program()))
}

/// Returns the programs called `name` in the folders of `search_path`, in order, each file once and without the
/// program of this process.
///
/// Skips relative and empty entries, whose meaning depends on the working directory, and the files of
/// [`refused_programs`]: other users may write to the file or to its folder, or own one of the two.
#[must_use]
pub fn find_programs(name: &str, search_path: &OsStr) -> Vec<PathBuf> {
    let mut seen: Vec<_> = own_program_id().into_iter().collect();
    let mut found = Vec::new();
    for folder in std::env::split_paths(search_path).filter(|folder| folder.is_absolute()) {
        let path = folder.join(name);
        let Ok(file) = std::fs::metadata(&path) else { continue };
        let id = FileId::of(&file);
        if is_executable(&file) && mistrust(&folder, &file).is_none() && !seen.contains(&id) {
            seen.push(id);
            found.push(path);
        }
    }
    found
}

/// A program that [`find_programs`] skips because another user could have planted it. `Display` says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedProgram {
    path: PathBuf,
    reason: String,
}

impl fmt::Display for RefusedProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not run: {}", self.path.display(), self.reason)
    }
}

/// Returns the executable files called `name` in the folders of `search_path` that [`find_programs`] skips.
#[must_use]
pub fn refused_programs(name: &str, search_path: &OsStr) -> Vec<RefusedProgram> {
    let folders = std::env::split_paths(search_path).filter(|folder| folder.is_absolute());
    folders
        .filter_map(|folder| {
            let path = folder.join(name);
            let file = std::fs::metadata(&path).ok().filter(is_executable)?;
            let reason = mistrust(&folder, &file)?;
            Some(RefusedProgram { path, reason })
        })
        .collect()
}

/// Returns the absolute path that this process was called by, without following the last link, so that the path still
/// leads to this program after an upgrade has moved the link. If another program in the same folder called this one,
/// returns the path of `name` in that folder.
///
/// Returns `None` if neither path leads to the file that this process runs.
#[must_use]
pub fn invoked_path(name: &str, search_path: &OsStr) -> Option<PathBuf> {
    let called = std::env::args_os().next()?;
    resolve_invocation(Path::new(&called), name, search_path, own_program_id()?)
}

fn resolve_invocation(called: &Path, name: &str, search_path: &OsStr, ours: FileId) -> Option<PathBuf> {
    let path = if called.components().count() > 1 || called.is_absolute() {
        std::path::absolute(called).ok()?
    } else {
        let folders = std::env::split_paths(search_path).filter(|folder| folder.is_absolute());
        let mut paths = folders.map(|folder| folder.join(called));
        paths.find(|path| std::fs::metadata(path).is_ok_and(|file| is_executable(&file)))?
    };
    let beside = path.with_file_name(name);
    [path, beside].into_iter().find(|path| identity(path) == Some(ours))
}

/// Returns the file name of what `path` leads to, with all links resolved, or `None` if there is no file.
#[must_use]
pub fn resolved_file_name(path: &Path) -> Option<OsString> {
    std::fs::canonicalize(path).ok()?.file_name().map(OsStr::to_owned)
}

fn is_executable(file: &Metadata) -> bool {
    file.is_file() && file.mode() & EXECUTE != 0
}

/// Returns why users other than this one and root could have planted `file` in `folder`, if they could.
fn mistrust(folder: &Path, file: &Metadata) -> Option<String> {
    let is_foreign = |owner: u32| owner != 0 && owner != rustix::process::geteuid().as_raw();
    if file.mode() & WRITE_BY_OTHERS != 0 {
        return Some(format!("its mode {:03o} lets other users write to it", file.mode() & 0o777));
    }
    if is_foreign(file.uid()) {
        return Some(format!("it belongs to another user (uid {})", file.uid()));
    }
    let around = std::fs::metadata(folder).ok()?;
    // A group may own a folder of programs, as Homebrew's does. In a sticky folder only a file's owner can replace it.
    if around.mode() & WRITE_BY_ANY_USER != 0 && around.mode() & STICKY == 0 {
        let mode = around.mode() & 0o777;
        return Some(format!("the mode {mode:03o} of {} lets other users replace it", folder.display()));
    }
    is_foreign(around.uid())
        .then(|| format!("{} belongs to another user (uid {})", folder.display(), around.uid()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn only_programs_that_other_users_cannot_write_are_found_each_once() {
        let folder = tempfile::tempdir().unwrap();
        let place = |sub: &str, mode: u32| {
            let path = folder.path().join(sub);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "#!/bin/sh\n").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let good = place("good/tool", 0o755);
        place("writable/tool", 0o775);
        for (sub, mode) in [("open", 0o777), ("group", 0o775), ("sticky", 0o1777)] {
            place(&format!("{sub}/tool"), 0o755);
            let folder = folder.path().join(sub);
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        place("plain/tool", 0o644);
        std::fs::create_dir_all(folder.path().join("folder/tool")).unwrap();
        std::fs::create_dir_all(folder.path().join("again")).unwrap();
        symlink(&good, folder.path().join("again/tool")).unwrap();
        std::fs::create_dir_all(folder.path().join("ours")).unwrap();
        symlink(std::env::current_exe().unwrap(), folder.path().join("ours/tool")).unwrap();
        let folders = ["ours", "writable", "open", "plain", "folder", "missing", "good", "again"];
        let path = std::env::join_paths(
            folders
                .iter()
                .map(|sub| folder.path().join(sub))
                .chain([PathBuf::from("relative"), PathBuf::new()]),
        )
        .unwrap();
        assert_eq!(find_programs("tool", &path), std::slice::from_ref(&good));
        let refused = refused_programs("tool", &path).iter().map(ToString::to_string).collect::<Vec<_>>();
        let root = folder.path().display();
        let expected = [
            format!("{root}/writable/tool is not run: its mode 775 lets other users write to it"),
            format!("{root}/open/tool is not run: the mode 777 of {root}/open lets other users replace it"),
        ];
        assert_eq!(refused, expected);
        let open = ["group", "sticky"].map(|sub| folder.path().join(sub));
        let found = find_programs("tool", &std::env::join_paths(&open).unwrap());
        assert_eq!(found, open.map(|folder| folder.join("tool")));

        let id = identity(&good).unwrap();
        assert_eq!(identity(&folder.path().join("again/tool")), Some(id));
        assert_ne!(own_program_id(), Some(id));
        symlink("again/tool", folder.path().join("other")).unwrap();
        assert_eq!(resolved_file_name(&folder.path().join("other")).as_deref(), Some(OsStr::new("tool")));
        assert_eq!(resolved_file_name(&folder.path().join("missing/tool")), None);
    }

    #[test]
    fn the_invoked_path_is_the_link_and_not_its_target() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let file = |sub: &str| {
            let path = root.join(sub);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "#!/bin/sh\n").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let target = file("cellar/1.0/tool");
        file("bin/second");
        file("other/tool");
        let link = root.join("bin/tool");
        symlink(&target, &link).unwrap();
        let ours = identity(&target).unwrap();
        let path = |folders: &[&str]| std::env::join_paths(folders.iter().map(|sub| root.join(sub))).unwrap();
        let called = |name: &Path, folders: &[&str]| resolve_invocation(name, "tool", &path(folders), ours);
        for (name, folders, found) in [
            (Path::new("tool"), &["missing", "bin", "cellar/1.0"][..], Some(&link)),
            (Path::new("tool"), &["cellar/1.0", "bin"], Some(&target)),
            (Path::new("second"), &["bin"], Some(&link)),
            (Path::new("tool"), &["other", "bin"], None),
            (Path::new("tool"), &[], None),
            (&link, &["other"], Some(&link)),
            (&root.join("bin/second"), &[], Some(&link)),
            (&root.join("other/tool"), &["bin"], None),
        ] {
            assert_eq!(called(name, folders).as_ref(), found, "{} in {folders:?}", name.display());
        }
    }
}
