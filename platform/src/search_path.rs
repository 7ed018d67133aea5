//! Programs of a name on a search path, in its order, without those that somebody else could have planted.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// Any of the three execute bits.
const EXECUTE: u32 = 0o111;
/// Write bits of group and others.
const WRITE_BY_OTHERS: u32 = 0o022;

/// The programs called `name` in the folders of `search_path`, each file once, this process's own left out.
///
/// Relative and empty entries are skipped, since they mean another folder in every working folder; so are files that
/// users other than their owner may write, and files owned by neither root nor this user.
#[must_use]
pub fn programs(name: &str, search_path: &OsStr) -> Vec<PathBuf> {
    let ours = std::env::current_exe().and_then(std::fs::metadata).ok().map(|file| identity(&file));
    let mut seen: Vec<_> = ours.into_iter().collect();
    let mut found = Vec::new();
    for folder in std::env::split_paths(search_path).filter(|folder| folder.is_absolute()) {
        let path = folder.join(name);
        let Ok(file) = std::fs::metadata(&path) else { continue };
        if trustworthy(&file) && !seen.contains(&identity(&file)) {
            seen.push(identity(&file));
            found.push(path);
        }
    }
    found
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

fn trustworthy(file: &Metadata) -> bool {
    let owner = file.uid();
    file.is_file()
        && file.mode() & EXECUTE != 0
        && file.mode() & WRITE_BY_OTHERS == 0
        && (owner == 0 || owner == rustix::process::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn only_programs_that_nobody_else_can_write_are_found_and_each_once() {
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
        assert_eq!(programs("tool", &path), [good]);
    }
}
