//! Whether a lock file could be opened: the answer is that of locking it, and nothing is made.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use codex_auth_platform::lock::{Error, Wait, may_open};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use crate::again::{self, SOMEBODY, Stage, this_test};
use crate::exclusive;

/// Asks, sees that nothing was made or changed by it, and that locking has the same outcome.
#[track_caller]
fn asked(path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap();
    let seen = || {
        let of = |path| {
            let found = fs::symlink_metadata(path).ok()?;
            Some((found.ino(), found.uid(), found.mode(), found.ctime(), found.ctime_nsec()))
        };
        (of(folder), of(path))
    };
    let before = seen();
    let told = may_open(path);
    assert_eq!(seen(), before);
    let locked = exclusive(path, Wait::No).map(drop);
    assert_eq!(
        told.as_ref().map_err(ToString::to_string),
        locked.as_ref().map_err(ToString::to_string),
        "{told:?}, {locked:?}"
    );
    told
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
fn a_lock_file_may_be_opened_where_it_is_there_or_can_be_made() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("there"), 0o644);
    for name in ["there", "missing"] {
        asked(&folder.path().join(name)).unwrap();
    }
    let held = exclusive(&folder.path().join("there"), Wait::No).unwrap();
    may_open(&folder.path().join("there")).unwrap();
    drop(held);
}

#[test]
fn what_is_no_regular_file_may_not_be_opened_as_a_lock() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("folder")).unwrap();
    symlink("nothing", at("dangling")).unwrap();
    again::run("mkfifo", &[&at("pipe")]);
    let _socket = UnixListener::bind(at("socket")).unwrap();
    for name in ["folder", "dangling", "pipe", "socket"] {
        let outcome = asked(&at(name));
        assert!(matches!(outcome, Err(Error::NotAFile { .. })), "{name}: {outcome:?}");
    }
    let outcome = asked(&at("absent/lock"));
    let Err(Error::Io { source, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_lock_file_that_cannot_be_read_or_made_may_not_be_opened() {
    let name = this_test!();
    if let Some((_, path)) = again::part() {
        asked(&path.join("readable")).unwrap();
        asked(&path.join("unlisted/missing")).unwrap();
        for name in ["closed", "missing"] {
            let outcome = asked(&path.join(name));
            assert!(matches!(outcome, Err(Error::ReadOnly { .. })), "{name}: {outcome:?}");
        }
        return again::played();
    }
    again::needs_root();
    let folder = again::open_folder();
    write(&folder.path().join("readable"), 0o644);
    write(&folder.path().join("closed"), 0o600);
    fs::create_dir(folder.path().join("unlisted")).unwrap();
    fs::set_permissions(folder.path().join("unlisted"), PermissionsExt::from_mode(0o333)).unwrap();
    again::play(name, "stranger", folder.path(), &Stage::Somebody);
}

#[test]
fn on_a_read_only_file_system_only_a_lock_file_that_is_there_may_be_opened() {
    let name = this_test!();
    if let Some((_, path)) = again::part() {
        again::run("mount", &[&"-t", &"tmpfs", &"none", &path]);
        write(&path.join("there"), 0o600);
        again::run("mount", &[&"-o", &"remount,bind,ro", &path]);
        asked(&path.join("there")).unwrap();
        let outcome = asked(&path.join("missing"));
        assert!(matches!(outcome, Err(Error::ReadOnly { .. })), "{outcome:?}");
        return again::played();
    }
    let folder = tempfile::tempdir().unwrap();
    again::play(name, "reader", folder.path(), &Stage::Mounts);
}

#[test]
fn in_an_immutable_folder_only_a_lock_file_that_is_there_may_be_opened() {
    again::needs_root();
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("there"), 0o600);
    set_flag(folder.path(), IFlags::IMMUTABLE, true);
    let outcomes = ["there", "missing"].map(|name| asked(&folder.path().join(name)));
    set_flag(folder.path(), IFlags::IMMUTABLE, false);
    let [there, missing] = outcomes;
    there.unwrap();
    assert!(matches!(missing, Err(Error::ReadOnly { .. })), "{missing:?}");
}

#[test]
fn as_root_in_the_folder_of_a_user_a_lock_file_may_be_opened_if_it_can_become_theirs() {
    let name = this_test!();
    if let Some((part, path)) = again::part() {
        if part == "mounter" {
            write(&path.join("source"), 0o600);
            write(&path.join("mounted"), 0o600);
            again::run("mount", &[&"--bind", &path.join("source"), &path.join("mounted")]);
            let outcome = asked(&path.join("mounted"));
            assert!(matches!(outcome, Err(Error::Io { .. })), "{outcome:?}");
        } else {
            let outcome = asked(&path.join("lonely"));
            assert!(matches!(outcome, Err(Error::ReadOnly { .. })), "{outcome:?}");
        }
        return again::played();
    }
    let folder = again::folder_of_somebody();
    let at = |name: &str| folder.path().join(name);
    for name in ["of root", "of its user", "fixed"] {
        write(&at(name), 0o600);
    }
    chown(at("of its user"), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    for name in ["of root", "of its user", "missing"] {
        asked(&at(name)).unwrap();
        assert_eq!(fs::metadata(at(name)).unwrap().uid(), SOMEBODY);
    }
    set_flag(&at("fixed"), IFlags::IMMUTABLE, true);
    let outcome = asked(&at("fixed"));
    set_flag(&at("fixed"), IFlags::IMMUTABLE, false);
    assert!(matches!(outcome, Err(Error::ReadOnly { .. })), "{outcome:?}");
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    again::play(name, "mounter", folder.path(), &Stage::Mounts);
    again::play(name, "lonely root", folder.path(), &Stage::LonelyRoot);
}
