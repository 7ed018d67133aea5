//! Finds programs on a search path and skips those that another user could have planted.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::process;

/// Any of the three execute bits.
const EXECUTE: u32 = 0o111;
/// Write bits of group and others.
const WRITE_BY_OTHERS: u32 = 0o022;

/// Identifies a program file by device and inode, under whatever name or link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProgramId {
    device: u64,
    inode: u64,
}

impl ProgramId {
    /// Returns the id of the file that `path` leads to, or `None` if there is none.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|file| Self::of_file(&file))
    }

    /// Returns the id of the program that this process runs; on macOS, of the file now at its path.
    #[must_use]
    pub fn of_this_program() -> Option<Self> {
        Self::of(Path::new(process::own_command().ok()?.get_program()))
    }

    fn of_file(file: &Metadata) -> Self {
        Self { device: file.dev(), inode: file.ino() }
    }
}

impl fmt::Display for ProgramId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.device, self.inode)
    }
}

/// A text that is not a [`ProgramId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a device and an inode, separated by a colon")]
#[non_exhaustive]
pub struct InvalidProgramId;

impl FromStr for ProgramId {
    type Err = InvalidProgramId;

    fn from_str(text: &str) -> Result<Self, InvalidProgramId> {
        let (device, inode) = text.split_once(':').ok_or(InvalidProgramId)?;
        let number = |text: &str| text.parse().map_err(|_| InvalidProgramId);
        Ok(Self { device: number(device)?, inode: number(inode)? })
    }
}

/// Returns the programs called `name` in the folders of `search_path`, in order, each file once and without the
/// program of this process.
///
/// Skips relative and empty entries, whose meaning depends on the working directory, files that users other than
/// their owner may write, and files that belong to neither root nor this user.
#[must_use]
pub fn find_programs(name: &str, search_path: &OsStr) -> Vec<PathBuf> {
    let mut seen: Vec<_> = ProgramId::of_this_program().into_iter().collect();
    let mut found = Vec::new();
    for folder in std::env::split_paths(search_path).filter(|folder| folder.is_absolute()) {
        let path = folder.join(name);
        let Ok(file) = std::fs::metadata(&path) else { continue };
        let identity = ProgramId::of_file(&file);
        if is_trusted(&file) && !seen.contains(&identity) {
            seen.push(identity);
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
    resolve_invocation(Path::new(&called), name, search_path, ProgramId::of_this_program()?)
}

fn resolve_invocation(called: &Path, name: &str, search_path: &OsStr, ours: ProgramId) -> Option<PathBuf> {
    let path = if called.components().count() > 1 || called.is_absolute() {
        std::path::absolute(called).ok()?
    } else {
        let folders = std::env::split_paths(search_path).filter(|folder| folder.is_absolute());
        let mut paths = folders.map(|folder| folder.join(called));
        paths.find(|path| std::fs::metadata(path).is_ok_and(|file| is_executable(&file)))?
    };
    let beside = path.with_file_name(name);
    [path, beside].into_iter().find(|path| ProgramId::of(path) == Some(ours))
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

        let identity = ProgramId::of(&good).unwrap();
        assert_eq!(ProgramId::of(&folder.path().join("again/tool")), Some(identity));
        assert_ne!(ProgramId::of_this_program(), Some(identity));
        symlink("again/tool", folder.path().join("other")).unwrap();
        assert_eq!(resolved_file_name(&folder.path().join("other")).as_deref(), Some(OsStr::new("tool")));
        assert_eq!(resolved_file_name(&folder.path().join("missing/tool")), None);
        assert_eq!(identity.to_string().parse(), Ok(identity));
        for wrong in ["", "1", ":", "1:", "-1:2", "1:2:3", "a:b"] {
            assert_eq!(wrong.parse::<ProgramId>(), Err(InvalidProgramId), "{wrong}");
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
        let ours = ProgramId::of(&target).unwrap();
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
