//! Tests that the checks of new folders and reservations have the same outcome as creating them, and create nothing.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use codex_auth_platform::private_file::{
    Error, ReservedFile, check_can_create_directory, check_can_reserve, create_directory,
};

use crate::subprocess::{self, RunAs, this_test};

/// Returns the result of the check, and asserts that creating the folder has the same outcome.
#[track_caller]
fn folder(path: &Path) -> Result<(), Error> {
    let names = || path.parent().filter(|around| around.is_dir()).map(subprocess::names);
    let before = names();
    let checked = check_can_create_directory(path);
    assert_eq!(names(), before);
    let created = create_directory(path).map(drop);
    let text = |outcome: &Result<(), Error>| outcome.as_ref().map_err(ToString::to_string).copied();
    assert_eq!(text(&checked), text(&created), "{}", path.display());
    checked
}

#[test]
fn check_and_creation_of_a_folder_agree() {
    let outer = tempfile::tempdir().unwrap();
    let at = |name: &str| outer.path().join(name);
    for name in ["new", "deep/er", "new"] {
        folder(&at(name)).unwrap();
    }
    fs::set_permissions(at("new"), PermissionsExt::from_mode(0o755)).unwrap();
    folder(&at("new")).unwrap();
    fs::write(at("file"), "").unwrap();
    symlink("new", at("link")).unwrap();
    assert!(matches!(folder(&at("file")), Err(Error::NotADirectory { .. })));
    assert!(matches!(folder(&at("link")), Err(Error::Link { .. })));
}

#[test]
fn a_folder_cannot_be_created_without_permission() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        assert!(matches!(folder(&path.join("closed/new")), Err(Error::ReadOnly { .. })));
        assert!(matches!(folder(&path.join("loose")), Err(Error::ForeignOwner { uid: 0, .. })));
        folder(&path.join("private")).unwrap();
        return subprocess::report_done();
    }
    subprocess::require_root();
    let outer = subprocess::open_folder();
    for (name, mode) in [("closed", 0o755), ("loose", 0o755), ("private", 0o700)] {
        fs::create_dir(outer.path().join(name)).unwrap();
        fs::set_permissions(outer.path().join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    chown(outer.path().join("private"), Some(subprocess::OTHER_UID), None).unwrap();
    subprocess::run_role(name, "other user", outer.path(), &RunAs::OtherUser);
}

#[test]
fn a_file_can_be_reserved_if_the_disk_has_the_space() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        subprocess::run("mount", &[&"-t", &"tmpfs", &"-o", &"size=256k,nr_inodes=20", &"none", &path]);
        let file = path.join("file");
        let is_full = |outcome| matches!(outcome, Err(Error::NoSpace { needed: 200_000, .. }));
        check_can_reserve(&file, 200_000).unwrap();
        check_can_reserve(&path.join("missing/file"), 200_000).unwrap();
        let reserved = ReservedFile::create(&file, 200_000).unwrap();
        assert!(is_full(check_can_reserve(&path.join("other"), 200_000)));
        assert!(is_full(check_can_reserve(&path.join("missing/file"), 200_000)));
        assert!(is_full(ReservedFile::create(&path.join("other"), 200_000).map(drop)));
        check_can_reserve(&file, 200_000).expect("it has its space already");
        drop(reserved);
        assert!(subprocess::names(&path).is_empty());

        let mut count = 0;
        while fs::write(path.join(count.to_string()), "").is_ok() {
            count += 1;
        }
        assert!(matches!(check_can_reserve(&file, 1), Err(Error::NoSpace { .. })), "no more files");
        assert!(matches!(ReservedFile::create(&file, 1), Err(Error::NoSpace { .. })));
        return subprocess::report_done();
    }
    let outer = tempfile::tempdir().unwrap();
    subprocess::run_role(name, "writer", outer.path(), &RunAs::MountNamespace);
}

#[test]
fn a_file_system_that_does_not_report_its_size_counts_as_large_enough() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        subprocess::run("mount", &[&"-t", &"ramfs", &"none", &path]);
        check_can_reserve(&path.join("file"), 1 << 40).unwrap();
        return subprocess::report_done();
    }
    let outer = tempfile::tempdir().unwrap();
    subprocess::run_role(name, "writer", outer.path(), &RunAs::MountNamespace);
}
