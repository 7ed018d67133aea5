//! Finds programs on a search path and skips those that another user could have planted.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::filesystem::{FileId, identity};
use crate::ownership::{is_private_group, is_unmapped};
use crate::process;

/// Any of the three execute bits.
const EXECUTE: u32 = 0o111;
/// The write bit of the group.
const WRITE_BY_GROUP: u32 = 0o020;
/// The write bit of others.
const WRITE_BY_ANY_USER: u32 = 0o002;
/// Only the owner of a file can remove it from a folder with this bit.
const STICKY: u32 = 0o1000;

/// Returns the id of the program that this process runs; on macOS, of the file now at its path.
#[must_use]
pub fn own_program_id() -> Option<FileId> {
    identity(Path::new(process::own_command().ok()?.get_program()))
}

/// Returns the programs called `name` in the folders of `search_path`, each file once and without the program of this
/// process: first those after this program, then those before it. One before it may be a script that has started it.
///
/// Skips the files of [`refused_programs`]: other users may write to the file or to its folder, or own one of them, or
/// the folder is one of the working folder, which may have been downloaded.
#[must_use]
pub fn find_programs(name: &str, search_path: &OsStr) -> Vec<PathBuf> {
    let mut seen: Vec<_> = own_program_id().into_iter().collect();
    let mut found = Vec::new();
    let working_folder = working_folder();
    let folders: Vec<_> = std::env::split_paths(search_path).collect();
    let is_own = |folder: &PathBuf| {
        folder.is_absolute() && identity(&folder.join(name)).is_some_and(|id| seen.contains(&id))
    };
    let (before, after) = folders.split_at(folders.iter().position(is_own).unwrap_or(0));
    for folder in after.iter().chain(before) {
        let path = folder.join(name);
        let Ok(file) = std::fs::metadata(&path) else { continue };
        let id = FileId::of(&file);
        let is_trusted = || mistrust(folder, &path, &file, working_folder.as_deref()).is_none();
        if is_executable(&file) && !seen.contains(&id) && is_trusted() {
            seen.push(id);
            found.push(path);
        }
    }
    found
}

/// Returns the program called `name` that the folders of `search_path` lead to, unless that is the one of this process.
#[must_use]
pub fn program_before_own(name: &str, search_path: &OsStr) -> Option<PathBuf> {
    let folders = std::env::split_paths(search_path).filter(|folder| folder.is_absolute());
    let mut paths = folders.map(|folder| folder.join(name));
    let first = paths.find(|path| std::fs::metadata(path).is_ok_and(|file| is_executable(&file)))?;
    (identity(&first) != own_program_id()).then_some(first)
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
    let (ours, working_folder) = (own_program_id(), working_folder());
    std::env::split_paths(search_path)
        .filter_map(|folder| {
            let path = folder.join(name);
            let file = std::fs::metadata(&path).ok().filter(is_executable)?;
            let reason = mistrust(&folder, &path, &file, working_folder.as_deref())?;
            (ours != Some(FileId::of(&file))).then_some(RefusedProgram { path, reason })
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

/// The folder that this process works in, without links.
fn working_folder() -> Option<PathBuf> {
    std::env::current_dir().ok()?.canonicalize().ok()
}

/// Returns why another user, or the author of what is in the working folder, could have planted `path`, the `file` in
/// `folder`, if they could.
fn mistrust(folder: &Path, path: &Path, file: &Metadata, working_folder: Option<&Path>) -> Option<String> {
    if !folder.is_absolute() {
        return Some("its folder on PATH is relative to the working folder".to_owned());
    }
    if working_folder.is_some_and(|working_folder| belongs_to(folder, working_folder)) {
        return Some(format!("{} belongs to the working folder", folder.display()));
    }
    if file.mode() & WRITE_BY_ANY_USER != 0
        || (file.mode() & WRITE_BY_GROUP != 0 && !is_private_group(file.gid()))
    {
        return Some(format!("its mode {:03o} lets other users write to it", file.mode() & 0o777));
    }
    // The link itself may have another owner than the file that it leads to.
    let entry = std::fs::symlink_metadata(path).ok()?;
    for (what, owner) in [("it", file.uid()), ("the link", entry.uid())] {
        if is_foreign(owner) {
            return Some(format!("{what} belongs to another user (uid {owner})"));
        }
    }
    let around = std::fs::metadata(folder).ok()?;
    let mode = around.mode() & 0o7777;
    // A group may own a folder of programs, as Homebrew's does. In a sticky folder only a file's owner can replace it.
    if mode & WRITE_BY_ANY_USER != 0 && mode & STICKY == 0 {
        let mode = mode & 0o777;
        return Some(format!("the mode {mode:03o} of {} lets other users replace it", folder.display()));
    }
    // There, another user can give a second name to a program of this user or of root.
    let is_shared =
        mode & WRITE_BY_ANY_USER != 0 || (mode & WRITE_BY_GROUP != 0 && !is_private_group(around.gid()));
    if is_shared && entry.nlink() > 1 {
        return Some(format!("it is a hard link in {}, where other users can write", folder.display()));
    }
    is_foreign(around.uid())
        .then(|| format!("{} belongs to another user (uid {})", folder.display(), around.uid()))
}

fn is_foreign(owner: u32) -> bool {
    owner != 0 && owner != rustix::process::geteuid().as_raw() && !is_unmapped(owner)
}

/// Whether the programs in `folder` come with what is in the working folder: it is that folder, or `node_modules/.bin`
/// in it or in a folder above it, up to the root of its repository. `npm run` puts these on the search path.
fn belongs_to(folder: &Path, working_folder: &Path) -> bool {
    let Ok(folder) = folder.canonicalize() else { return false };
    if folder == working_folder {
        return true;
    }
    let Some(project) =
        folder.to_str().and_then(|path| path.strip_suffix("/node_modules/.bin")).map(Path::new)
    else {
        return false;
    };
    if project == working_folder {
        return true;
    }
    let repository = working_folder.ancestors().find(|above| above.join(".git").exists());
    repository.is_some_and(|root| project.starts_with(root) && working_folder.starts_with(project))
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
        place("writable/tool", 0o757);
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
            format!("{root}/writable/tool is not run: its mode 757 lets other users write to it"),
            format!("{root}/open/tool is not run: the mode 777 of {root}/open lets other users replace it"),
        ];
        assert_eq!(refused, expected);
        std::fs::hard_link(&good, folder.path().join("sticky/linked")).unwrap();
        let refused = refused_programs("linked", folder.path().join("sticky").as_os_str());
        assert!(refused[0].reason.starts_with("it is a hard link in "), "{refused:?}");
        let open = ["group", "sticky"].map(|sub| folder.path().join(sub));
        let found = find_programs("tool", &std::env::join_paths(&open).unwrap());
        assert_eq!(found, open.map(|folder| folder.join("tool")));
        let after_own = ["good", "ours", "sticky"].map(|sub| folder.path().join(sub));
        let found = find_programs("tool", &std::env::join_paths(after_own).unwrap());
        assert_eq!(found, [folder.path().join("sticky/tool"), good.clone()]);

        let id = identity(&good).unwrap();
        assert_eq!(identity(&folder.path().join("again/tool")), Some(id));
        assert_ne!(own_program_id(), Some(id));
        symlink("again/tool", folder.path().join("other")).unwrap();
        assert_eq!(resolved_file_name(&folder.path().join("other")).as_deref(), Some(OsStr::new("tool")));
        assert_eq!(resolved_file_name(&folder.path().join("missing/tool")), None);
    }

    #[test]
    fn what_comes_with_the_working_folder_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for sub in [
            "src/.git",
            "src/app/deep",
            "src/app/node_modules/.bin",
            "src/node_modules/.bin",
            "node_modules/.bin",
        ] {
            std::fs::create_dir_all(root.join(sub)).unwrap();
        }
        let belongs = |folder: &str, working: &str| belongs_to(&root.join(folder), &root.join(working));
        for (folder, working) in [
            ("src/app", "src/app"),
            ("src/app/node_modules/.bin", "src/app"),
            ("src/app/node_modules/.bin", "src/app/deep"),
            ("src/node_modules/.bin", "src/app/deep"),
            ("node_modules/.bin", ""),
        ] {
            assert!(belongs(folder, working), "{folder} in {working}");
        }
        for (folder, working) in [
            ("src/app", ""),
            ("src/app", "src"),
            ("node_modules/.bin", "src/app"),
            ("src/app/node_modules/.bin", "src"),
            ("src/missing", "src"),
        ] {
            assert!(!belongs(folder, working), "{folder} in {working}");
        }
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
