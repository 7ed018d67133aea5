//! Whether a folder could be created and a file reserved: the answer is that of doing it, and nothing is made.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use codex_auth_platform::private_file::{
    Error, ReservedFile, create_directory, may_create_directory, may_reserve,
};

use crate::again::{self, Stage, this_test};

/// What the predicate says of the folder `path`, once it is seen that creating the folder has the same outcome.
#[track_caller]
fn folder(path: &Path) -> Result<(), Error> {
    let names = || path.parent().filter(|around| around.is_dir()).map(again::names);
    let before = names();
    let told = may_create_directory(path);
    assert_eq!(names(), before);
    let made = create_directory(path).map(drop);
    let text = |outcome: &Result<(), Error>| outcome.as_ref().map_err(ToString::to_string).copied();
    assert_eq!(text(&told), text(&made), "{}", path.display());
    told
}

#[test]
fn a_folder_may_be_created_where_it_can_be() {
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
fn a_folder_may_not_be_created_by_a_user_who_has_no_business_there() {
    let name = this_test!();
    if let Some((_, path)) = again::part() {
        assert!(matches!(folder(&path.join("closed/new")), Err(Error::ReadOnly { .. })));
        assert!(matches!(folder(&path.join("loose")), Err(Error::ForeignOwner { uid: 0, .. })));
        folder(&path.join("private")).unwrap();
        return again::played();
    }
    again::needs_root();
    let outer = again::open_folder();
    for (name, mode) in [("closed", 0o755), ("loose", 0o755), ("private", 0o700)] {
        fs::create_dir(outer.path().join(name)).unwrap();
        fs::set_permissions(outer.path().join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    chown(outer.path().join("private"), Some(again::SOMEBODY), None).unwrap();
    again::play(name, "stranger", outer.path(), &Stage::Somebody);
}

#[test]
fn a_file_may_be_reserved_where_the_disk_has_the_space() {
    let name = this_test!();
    if let Some((_, path)) = again::part() {
        again::run("mount", &[&"-t", &"tmpfs", &"-o", &"size=256k,nr_inodes=20", &"none", &path]);
        let file = path.join("file");
        let is_full = |outcome| matches!(outcome, Err(Error::NoSpace { needed: 200_000, .. }));
        may_reserve(&file, 200_000).unwrap();
        may_reserve(&path.join("missing/file"), 200_000).unwrap();
        let reserved = ReservedFile::make(&file, 200_000).unwrap();
        assert!(is_full(may_reserve(&path.join("other"), 200_000)));
        assert!(is_full(may_reserve(&path.join("missing/file"), 200_000)));
        assert!(is_full(ReservedFile::make(&path.join("other"), 200_000).map(drop)));
        may_reserve(&file, 200_000).expect("it has its space already");
        drop(reserved);
        assert!(again::names(&path).is_empty());

        let mut count = 0;
        while fs::write(path.join(count.to_string()), "").is_ok() {
            count += 1;
        }
        assert!(matches!(may_reserve(&file, 1), Err(Error::NoSpace { .. })), "no more files");
        assert!(matches!(ReservedFile::make(&file, 1), Err(Error::NoSpace { .. })));
        return again::played();
    }
    let outer = tempfile::tempdir().unwrap();
    again::play(name, "writer", outer.path(), &Stage::Mounts);
}

#[test]
fn a_file_system_that_does_not_tell_its_size_counts_as_large_enough() {
    let name = this_test!();
    if let Some((_, path)) = again::part() {
        again::run("mount", &[&"-t", &"ramfs", &"none", &path]);
        may_reserve(&path.join("file"), 1 << 40).unwrap();
        return again::played();
    }
    let outer = tempfile::tempdir().unwrap();
    again::play(name, "writer", outer.path(), &Stage::Mounts);
}
