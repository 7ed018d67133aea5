//! Tests that the check of a lock file has the same outcome as locking it, and creates nothing.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use codex_auth_platform::lock::{Error, Wait, check_can_open};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use crate::exclusive;
use crate::subprocess::{self, OTHER_UID, RunAs, this_test};

/// Runs the check, and asserts that it changed nothing and that locking has the same outcome.
#[track_caller]
fn checked(path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap();
    let seen = || {
        let of = |path| {
            let found = fs::symlink_metadata(path).ok()?;
            Some((found.ino(), found.uid(), found.mode(), found.ctime(), found.ctime_nsec()))
        };
        (of(folder), of(path))
    };
    let before = seen();
    let answer = check_can_open(path);
    assert_eq!(seen(), before);
    let locked = exclusive(path, Wait::No).map(drop);
    // The error of the system may differ.
    let variant = |outcome: &Result<(), Error>| outcome.as_ref().map_err(std::mem::discriminant).copied();
    assert_eq!(variant(&answer), variant(&locked), "{answer:?}, {locked:?}");
    answer
}

fn write(path: &Path, mode: u32) {
    fs::write(path, "").unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

fn set_flag(path: &Path, flag: IFlags, on: bool) {
    let file = File::open(path).unwrap();
    let mut flags = ioctl_getflags(&file).unwrap();
    flags.set(flag, on);
    ioctl_setflags(&file, flags).unwrap();
}

#[test]
fn a_lock_file_can_be_opened_if_it_exists_or_can_be_created() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("there"), 0o644);
    for name in ["there", "missing"] {
        checked(&folder.path().join(name)).unwrap();
    }
    let held = exclusive(&folder.path().join("there"), Wait::No).unwrap();
    check_can_open(&folder.path().join("there")).unwrap();
    drop(held);
}

#[test]
fn only_a_regular_file_can_be_opened_as_a_lock() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("folder")).unwrap();
    symlink("nothing", at("dangling")).unwrap();
    subprocess::run("mkfifo", &[&at("pipe")]);
    let _socket = UnixListener::bind(at("socket")).unwrap();
    for name in ["folder", "dangling", "pipe", "socket"] {
        let outcome = checked(&at(name));
        assert!(matches!(outcome, Err(Error::NotAFile { .. })), "{name}: {outcome:?}");
    }
    let outcome = checked(&at("absent/lock"));
    let Err(Error::Io { source, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_lock_file_that_cannot_be_read_or_created_cannot_be_opened() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        checked(&path.join("readable")).unwrap();
        checked(&path.join("unlisted/missing")).unwrap();
        for name in ["closed", "missing"] {
            let outcome = checked(&path.join(name));
            assert!(matches!(outcome, Err(Error::ReadOnly { .. })), "{name}: {outcome:?}");
        }
        return subprocess::report_done();
    }
    subprocess::require_root();
    let folder = subprocess::open_folder();
    write(&folder.path().join("readable"), 0o644);
    write(&folder.path().join("closed"), 0o600);
    fs::create_dir(folder.path().join("unlisted")).unwrap();
    fs::set_permissions(folder.path().join("unlisted"), PermissionsExt::from_mode(0o333)).unwrap();
    subprocess::run_role(name, "other user", folder.path(), &RunAs::OtherUser);
}

#[test]
fn on_a_read_only_file_system_only_an_existing_lock_file_can_be_opened() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        subprocess::run("mount", &[&"-t", &"tmpfs", &"none", &path]);
        write(&path.join("there"), 0o600);
        subprocess::run("mount", &[&"-o", &"remount,bind,ro", &path]);
        checked(&path.join("there")).unwrap();
        let outcome = checked(&path.join("missing"));
        assert!(matches!(outcome, Err(Error::ReadOnly { .. })), "{outcome:?}");
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    subprocess::run_role(name, "reader", folder.path(), &RunAs::MountNamespace);
}

#[test]
fn in_an_immutable_folder_only_an_existing_lock_file_can_be_opened() {
    subprocess::require_root();
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("there"), 0o600);
    set_flag(folder.path(), IFlags::IMMUTABLE, true);
    let outcomes = ["there", "missing"].map(|name| checked(&folder.path().join(name)));
    set_flag(folder.path(), IFlags::IMMUTABLE, false);
    let [there, missing] = outcomes;
    there.unwrap();
    assert!(matches!(missing, Err(Error::ReadOnly { .. })), "{missing:?}");
}

#[test]
fn as_root_in_a_users_folder_a_lock_file_can_be_opened_if_it_can_become_theirs() {
    let name = this_test!();
    if let Some((role, path)) = subprocess::role() {
        if role == "mounter" {
            write(&path.join("source"), 0o600);
            write(&path.join("mounted"), 0o600);
            subprocess::run("mount", &[&"--bind", &path.join("source"), &path.join("mounted")]);
            let outcome = checked(&path.join("mounted"));
            assert!(matches!(outcome, Err(Error::Io { .. })), "{outcome:?}");
        } else {
            let outcome = checked(&path.join("lonely"));
            assert!(matches!(outcome, Err(Error::ReadOnly { .. })), "{outcome:?}");
        }
        return subprocess::report_done();
    }
    let folder = subprocess::folder_of_other_user();
    let at = |name: &str| folder.path().join(name);
    for name in ["of root", "of its user", "fixed"] {
        write(&at(name), 0o600);
    }
    chown(at("of its user"), Some(OTHER_UID), Some(OTHER_UID)).unwrap();
    for name in ["of root", "of its user", "missing"] {
        checked(&at(name)).unwrap();
        assert_eq!(fs::metadata(at(name)).unwrap().uid(), OTHER_UID);
    }
    set_flag(&at("fixed"), IFlags::IMMUTABLE, true);
    let outcome = checked(&at("fixed"));
    set_flag(&at("fixed"), IFlags::IMMUTABLE, false);
    assert!(matches!(outcome, Err(Error::ReadOnly { .. })), "{outcome:?}");
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    subprocess::run_role(name, "mounter", folder.path(), &RunAs::MountNamespace);
    subprocess::run_role(name, "namespace root", folder.path(), &RunAs::NamespaceRoot);
}
