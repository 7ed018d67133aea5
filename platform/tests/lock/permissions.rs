//! Locks where not everything is allowed, and as root where things belong to somebody else.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use codex_auth_platform::lock::{Creation, Error, FileLock, Mode, Wait, holder};

use crate::again::{self, Actor, SOMEBODY, Stage, this_test};
use crate::{LONG, assert_held, exclusive};

#[test]
fn a_lock_file_has_the_permissions_that_were_asked_for() {
    let name = this_test!();
    if let Some((_, path)) = again::part() {
        drop(
            FileLock::acquire(&path.join("ordinary"), Mode::Exclusive, Creation::Ordinary, Wait::No).unwrap(),
        );
        drop(exclusive(&path.join("private"), Wait::No).unwrap());
        return again::played();
    }
    let folder = tempfile::tempdir().unwrap();
    again::play(name, "maker", folder.path(), &Stage::After("umask 013"));
    assert_eq!(again::mode(&folder.path().join("ordinary")), 0o664);
    assert_eq!(again::mode(&folder.path().join("private")), 0o600);
    fs::remove_file(folder.path().join("private")).unwrap();
    again::play(name, "maker", folder.path(), &Stage::After("umask 0777"));
    assert_eq!(again::mode(&folder.path().join("private")), 0o600);

    let loose = folder.path().join("loose");
    fs::write(&loose, "").unwrap();
    fs::set_permissions(&loose, PermissionsExt::from_mode(0o666)).unwrap();
    drop(FileLock::acquire(&loose, Mode::Exclusive, Creation::Ordinary, Wait::No).unwrap());
    assert_eq!(again::mode(&loose), 0o666);
    drop(exclusive(&loose, Wait::No).unwrap());
    assert_eq!(again::mode(&loose), 0o600);
}

#[test]
fn what_can_only_be_read_can_be_locked_and_what_cannot_be_made_is_read_only() {
    let name = this_test!();
    if let Some((_, path)) = again::part() {
        let lock = exclusive(&path.join("readable"), Wait::No).unwrap();
        lock.sign("nobody sees this");
        again::tell("@held");
        for name in ["closed", "missing"] {
            let outcome = exclusive(&path.join(name), Wait::No);
            assert!(matches!(outcome, Err(Error::ReadOnly { .. })), "{name}: {outcome:?}");
        }
        again::tell("@refused");
        return again::await_the_end();
    }
    let folder = again::open_folder();
    fs::write(folder.path().join("readable"), "").unwrap();
    fs::set_permissions(folder.path().join("readable"), PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(folder.path().join("closed"), "").unwrap();
    fs::set_permissions(folder.path().join("closed"), PermissionsExt::from_mode(0o600)).unwrap();
    let mut actor = Actor::start(again::command(name, "reader", folder.path(), &Stage::Somebody), "@held");
    actor.await_word("@refused");
    assert_held(&FileLock::acquire(
        &folder.path().join("readable"),
        Mode::Exclusive,
        Creation::Ordinary,
        Wait::No,
    ));
    assert_eq!(holder(&folder.path().join("readable")), None);
}

#[test]
fn on_a_read_only_file_system_a_lock_file_that_is_there_still_locks() {
    let name = this_test!();
    if let Some((_, path)) = again::part() {
        again::run("mount", &[&"-t", &"tmpfs", &"none", &path]);
        fs::write(path.join("there"), "").unwrap();
        again::run("mount", &[&"-o", &"remount,bind,ro", &path]);
        let lock = exclusive(&path.join("there"), Wait::No).unwrap();
        lock.sign("without effect");
        assert_held(&exclusive(&path.join("there"), Wait::No));
        let outcome = exclusive(&path.join("missing"), Wait::No);
        assert!(matches!(outcome, Err(Error::ReadOnly { .. })), "{outcome:?}");
        return again::played();
    }
    let folder = tempfile::tempdir().unwrap();
    again::play(name, "reader", folder.path(), &Stage::Mounts);
}

#[test]
fn a_lock_that_root_makes_in_the_folder_of_a_user_is_that_users() {
    let name = this_test!();
    if let Some((part, path)) = again::part() {
        if part == "user" {
            for name in ["made", "left", "linked"] {
                drop(exclusive(&path.join(name), Wait::No).unwrap());
            }
        }
        return again::played();
    }
    let folder = again::folder_of_somebody();
    let of_root = tempfile::NamedTempFile::new_in(folder.path().parent().unwrap()).unwrap();
    fs::write(of_root.path(), "root's own").unwrap();
    fs::hard_link(of_root.path(), folder.path().join("linked")).unwrap();
    fs::write(folder.path().join("left"), "").unwrap();
    fs::set_permissions(folder.path().join("left"), PermissionsExt::from_mode(0o600)).unwrap();
    for name in ["made", "left", "linked"] {
        let path = folder.path().join(name);
        let lock = exclusive(&path, Wait::No).unwrap();
        lock.sign("root");
        assert_held(&exclusive(&path, Wait::No));
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (SOMEBODY, SOMEBODY, 0o600), "{name}");
    }
    assert_eq!(fs::metadata(of_root.path()).unwrap().uid(), 0, "a file of root's was given away");
    assert_eq!(fs::read_to_string(of_root.path()).unwrap(), "root's own");
    again::play(name, "user", folder.path(), &Stage::Somebody);
    assert_eq!(again::names(folder.path()), ["left", "linked", "made"]);
}

#[test]
fn what_root_left_is_not_replaced_while_root_holds_it() {
    let folder = again::folder_of_somebody();
    let path = folder.path().join("lock");
    let mut command = Command::new("flock");
    command.arg(&path).args(["-c", "echo @held; read answer"]);
    let mut actor = Actor::start(command, "@held");
    let before = fs::metadata(&path).unwrap().ino();
    assert_held(&exclusive(&path, Wait::No));
    assert_eq!(fs::metadata(&path).unwrap().ino(), before);
    actor.child.stdin.take();
    drop(exclusive(&path, LONG).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().uid(), SOMEBODY);
}

#[test]
fn a_file_that_is_slipped_in_for_the_lock_is_not_signed() {
    let folder = again::folder_of_somebody();
    let at = |name: &str| folder.path().join(name);
    let precious = tempfile::NamedTempFile::new_in(folder.path().parent().unwrap()).unwrap();
    fs::write(precious.path(), "root's own").unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                fs::hard_link(precious.path(), at("trap")).unwrap();
                fs::rename(at("trap"), at("lock")).unwrap();
                fs::write(at("bait"), "").unwrap();
                std::os::unix::fs::chown(at("bait"), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
                fs::rename(at("bait"), at("lock")).unwrap();
            }
        });
        let mut signed = 0;
        for _ in 0..3000 {
            if let Ok(lock) = exclusive(&at("lock"), Wait::No) {
                lock.sign("root");
                signed += 1;
            }
        }
        stop.store(true, Ordering::SeqCst);
        assert!(signed > 0);
    });
    assert_eq!(fs::read_to_string(precious.path()).unwrap(), "root's own");
    assert_eq!(fs::metadata(precious.path()).unwrap().uid(), 0);
}
