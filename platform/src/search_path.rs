//! Finds programs on a search path and skips those that another user could have planted.

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::filesystem::{FileId, identity};
use crate::process;

/// Any of the three execute bits.
const EXECUTE: u32 = 0o111;
/// Write bits of group and others.
const WRITE_BY_OTHERS: u32 = 0o022;

/// Returns the id of the program that this process runs; on macOS, of the file now at its path.
#[must_use]
pub fn own_program_id() -> Option<FileId> {
    identity(Path::new(process::own_command().ok()?.get_program()))
}

/// Returns the programs called `name` in the folders of `search_path`, in order, each file once and without the
/// program of this process.
///
/// Skips relative and empty entries, whose meaning depends on the working directory, files that users other than
/// their owner may write, and files that belong to neither root nor this user.
#[must_use]
pub fn find_programs(name: &str, search_path: &OsStr) -> Vec<PathBuf> {
    let mut seen: Vec<_> = own_program_id().into_iter().collect();
    let mut found = Vec::new();
    for folder in std::env::split_paths(search_path).filter(|folder| folder.is_absolute()) {
        let path = folder.join(name);
        let Ok(file) = std::fs::metadata(&path) else { continue };
        let id = FileId::of(&file);
        if is_trusted(&file) && !seen.contains(&id) {
            seen.push(id);
            found.push(path);
        }
    }
    found
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

fn is_trusted(file: &Metadata) -> bool {
    let owner = file.uid();
    is_executable(file)
        && file.mode() & WRITE_BY_OTHERS == 0
        && (owner == 0 || owner == rustix::process::geteuid().as_raw())
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
        place("plain/tool", 0o644);
        std::fs::create_dir_all(folder.path().join("folder/tool")).unwrap();
        std::fs::create_dir_all(folder.path().join("again")).unwrap();
        symlink(&good, folder.path().join("again/tool")).unwrap();
        std::fs::create_dir_all(folder.path().join("ours")).unwrap();
        symlink(std::env::current_exe().unwrap(), folder.path().join("ours/tool")).unwrap();
        let folders = ["ours", "writable", "plain", "folder", "missing", "good", "again"];
        let path = std::env::join_paths(
            folders
                .iter()
                .map(|sub| folder.path().join(sub))
                .chain([PathBuf::from("relative"), PathBuf::new()]),
        )
        .unwrap();
        assert_eq!(find_programs("tool", &path), std::slice::from_ref(&good));

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
