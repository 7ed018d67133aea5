//! Tests locks with restricted permissions, and as root among files of other users.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use codex_auth_platform::lock::{Error, FileLock, LockFileMode, Wait, holder};

use crate::subprocess::{self, LiveProcess, OTHER_UID, RunAs, this_test};
use crate::{LONG, assert_held, exclusive};

#[test]
fn a_lock_file_has_the_requested_mode() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        drop(FileLock::acquire(&path.join("ordinary"), LockFileMode::SharedWithFolder, Wait::No).unwrap());
        drop(exclusive(&path.join("private"), Wait::No).unwrap());
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    subprocess::run_role(name, "maker", folder.path(), &RunAs::Shell("umask 013"));
    assert_eq!(subprocess::mode(&folder.path().join("ordinary")), 0o600);
    fs::remove_file(folder.path().join("ordinary")).unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o770)).unwrap();
    subprocess::run_role(name, "maker", folder.path(), &RunAs::Shell("umask 013"));
    assert_eq!(subprocess::mode(&folder.path().join("ordinary")), 0o664, "shared like its folder");
    assert_eq!(subprocess::mode(&folder.path().join("private")), 0o600);
    fs::remove_file(folder.path().join("private")).unwrap();
    subprocess::run_role(name, "maker", folder.path(), &RunAs::Shell("umask 0777"));
    assert_eq!(subprocess::mode(&folder.path().join("private")), 0o600);

    let loose = folder.path().join("loose");
    fs::write(&loose, "").unwrap();
    fs::set_permissions(&loose, PermissionsExt::from_mode(0o666)).unwrap();
    drop(FileLock::acquire(&loose, LockFileMode::SharedWithFolder, Wait::No).unwrap());
    assert_eq!(subprocess::mode(&loose), 0o666);
    drop(exclusive(&loose, Wait::No).unwrap());
    assert_eq!(subprocess::mode(&loose), 0o600);
}

#[test]
fn a_readable_lock_file_can_be_locked_and_one_that_cannot_be_created_is_read_only() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        let lock = exclusive(&path.join("readable"), Wait::No).unwrap();
        lock.write_note("not written");
        subprocess::print_line("@held");
        for name in ["closed", "missing"] {
            let outcome = exclusive(&path.join(name), Wait::No);
            assert!(matches!(outcome, Err(Error::ReadOnly { .. })), "{name}: {outcome:?}");
        }
        subprocess::print_line("@refused");
        return subprocess::wait_for_stdin_end();
    }
    let folder = subprocess::open_folder();
    fs::write(folder.path().join("readable"), "").unwrap();
    fs::set_permissions(folder.path().join("readable"), PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(folder.path().join("closed"), "").unwrap();
    fs::set_permissions(folder.path().join("closed"), PermissionsExt::from_mode(0o600)).unwrap();
    let mut running = LiveProcess::start(
        subprocess::role_command(name, "reader", folder.path(), &RunAs::OtherUser),
        "@held",
    );
    running.wait_for_line("@refused");
    assert_held(&FileLock::acquire(
        &folder.path().join("readable"),
        LockFileMode::SharedWithFolder,
        Wait::No,
    ));
    assert_eq!(holder(&folder.path().join("readable")), None);
}

#[test]
fn on_a_read_only_file_system_an_existing_lock_file_still_locks() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        subprocess::run("mount", &[&"-t", &"tmpfs", &"none", &path]);
        fs::write(path.join("there"), "").unwrap();
        subprocess::run("mount", &[&"-o", &"remount,bind,ro", &path]);
        let lock = exclusive(&path.join("there"), Wait::No).unwrap();
        lock.write_note("without effect");
        assert_held(&exclusive(&path.join("there"), Wait::No));
        let outcome = exclusive(&path.join("missing"), Wait::No);
        assert!(matches!(outcome, Err(Error::ReadOnly { .. })), "{outcome:?}");
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    subprocess::run_role(name, "reader", folder.path(), &RunAs::MountNamespace);
}

#[test]
fn a_lock_file_that_root_creates_in_a_users_folder_belongs_to_that_user() {
    let name = this_test!();
    if let Some((role, path)) = subprocess::role() {
        if role == "user" {
            for name in ["made", "left", "linked"] {
                drop(exclusive(&path.join(name), Wait::No).unwrap());
            }
        }
        return subprocess::report_done();
    }
    let folder = subprocess::folder_of_other_user();
    let of_root = tempfile::NamedTempFile::new_in(folder.path().parent().unwrap()).unwrap();
    fs::write(of_root.path(), "root's own").unwrap();
    fs::hard_link(of_root.path(), folder.path().join("linked")).unwrap();
    fs::write(folder.path().join("left"), "").unwrap();
    fs::set_permissions(folder.path().join("left"), PermissionsExt::from_mode(0o600)).unwrap();
    for name in ["made", "left", "linked"] {
        let path = folder.path().join(name);
        let lock = exclusive(&path, Wait::No).unwrap();
        lock.write_note("root");
        assert_held(&exclusive(&path, Wait::No));
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (OTHER_UID, OTHER_UID, 0o600), "{name}");
    }
    assert_eq!(fs::metadata(of_root.path()).unwrap().uid(), 0, "a file of root's was given away");
    assert_eq!(fs::read_to_string(of_root.path()).unwrap(), "root's own");
    subprocess::run_role(name, "user", folder.path(), &RunAs::OtherUser);
    assert_eq!(subprocess::names(folder.path()), ["left", "linked", "made"]);
}

#[test]
fn a_lock_file_of_root_is_not_replaced_while_root_holds_it() {
    let folder = subprocess::folder_of_other_user();
    let path = folder.path().join("lock");
    let mut command = Command::new("flock");
    command.arg(&path).args(["-c", "echo @held; read answer"]);
    let mut running = LiveProcess::start(command, "@held");
    let before = fs::metadata(&path).unwrap().ino();
    assert_held(&exclusive(&path, Wait::No));
    assert_eq!(fs::metadata(&path).unwrap().ino(), before);
    running.child.stdin.take();
    drop(exclusive(&path, LONG).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().uid(), OTHER_UID);
}

#[test]
fn a_hard_link_put_in_place_of_the_lock_file_is_not_written_to() {
    let folder = subprocess::folder_of_other_user();
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
                std::os::unix::fs::chown(at("bait"), Some(OTHER_UID), Some(OTHER_UID)).unwrap();
                fs::rename(at("bait"), at("lock")).unwrap();
            }
        });
        let mut signed = 0;
        for _ in 0..3000 {
            if let Ok(lock) = exclusive(&at("lock"), Wait::No) {
                lock.write_note("root");
                signed += 1;
            }
        }
        stop.store(true, Ordering::SeqCst);
        assert!(signed > 0);
    });
    assert_eq!(fs::read_to_string(precious.path()).unwrap(), "root's own");
    assert_eq!(fs::metadata(precious.path()).unwrap().uid(), 0);
}
