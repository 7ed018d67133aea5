//! Tests locks on directories between real processes.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use codex_auth_platform::lock::{DirectoryAcquireOutcome, DirectoryLock, Error, Wait};

use crate::LONG;
use crate::subprocess::{self, LiveProcess, RunAs, this_test};

fn acquire(path: &Path, wait: Wait) -> Result<DirectoryAcquireOutcome<()>, Error> {
    DirectoryLock::acquire_with(path, wait, |_| ControlFlow::Continue(()))
}

#[track_caller]
fn locked(path: &Path) -> DirectoryLock {
    match acquire(path, Wait::No) {
        Ok(DirectoryAcquireOutcome::Locked(lock)) => lock,
        outcome => panic!("{outcome:?}"),
    }
}

#[track_caller]
fn assert_held(path: &Path) {
    let outcome = acquire(path, Wait::No);
    assert!(matches!(outcome, Err(Error::Held { .. })), "{outcome:?}");
}

#[test]
fn a_locked_directory_excludes_other_handles_by_whatever_path_and_stays_empty() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("home");
    fs::create_dir(&path).unwrap();
    symlink("home", outer.path().join("link")).unwrap();
    let lock = locked(&path);
    for other in [path.clone(), outer.path().join("link"), path.join("../home")] {
        assert_held(&other);
    }
    fs::write(path.join("file"), "written while it is locked").unwrap();
    fs::remove_file(path.join("file")).unwrap();
    drop(lock);
    drop(locked(&outer.path().join("link")));
    assert_eq!(subprocess::names(&path).len(), 0);
}

#[test]
fn a_wait_for_a_directory_is_bounded_and_ends_when_its_holder_is_killed() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        let _lock = locked(&path);
        subprocess::print_line("@held");
        return subprocess::wait_for_stdin_end();
    }
    let folder = tempfile::tempdir().unwrap();
    let mut running =
        LiveProcess::start(subprocess::role_command(name, "holder", folder.path(), &RunAs::Plain), "@held");
    let start = Instant::now();
    let error = acquire(folder.path(), Wait::For(Duration::from_millis(200))).unwrap_err();
    assert!(start.elapsed() >= Duration::from_millis(200) && start.elapsed() < Duration::from_secs(5));
    assert!(error.to_string().contains("still locked by "), "{error}");
    let mut tries = 0;
    let outcome = DirectoryLock::acquire_with(folder.path(), LONG, |waiting| {
        assert_eq!((waiting.path(), waiting.holder()), (folder.path(), None));
        tries += 1;
        if tries == 2 {
            running.kill();
        }
        ControlFlow::<()>::Continue(())
    });
    assert!(matches!(outcome, Ok(DirectoryAcquireOutcome::Locked(_))), "{outcome:?}");
}

#[test]
fn a_wait_for_a_directory_can_be_stopped_by_the_caller() {
    let folder = tempfile::tempdir().unwrap();
    let _held = locked(folder.path());
    let outcome = DirectoryLock::acquire_with(folder.path(), LONG, |_| ControlFlow::Break("enough"));
    assert!(matches!(outcome, Ok(DirectoryAcquireOutcome::Stopped("enough"))), "{outcome:?}");
}

#[test]
fn a_lock_on_a_replaced_directory_does_not_count() {
    let outer = tempfile::tempdir().unwrap();
    let (path, aside) = (outer.path().join("home"), outer.path().join("aside"));
    fs::create_dir(&path).unwrap();
    let former = locked(&path);
    let outcome = DirectoryLock::acquire_with(&path, LONG, |_| {
        fs::rename(&path, &aside).unwrap();
        fs::create_dir(&path).unwrap();
        ControlFlow::<()>::Continue(())
    });
    assert!(matches!(outcome, Ok(DirectoryAcquireOutcome::Locked(_))), "{outcome:?}");
    assert_held(&path);
    assert_held(&aside);
    drop(former);
    assert_held(&path);
    drop(locked(&aside));
}

#[test]
fn a_directory_lock_excludes_even_while_the_directory_is_replaced() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("home");
    fs::create_dir(&path).unwrap();
    let inside = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (path, inside, outer) = (&path, &inside, outer.path());
            scope.spawn(move || {
                for round in 0..50 {
                    let lock = loop {
                        match acquire(path, LONG) {
                            Ok(DirectoryAcquireOutcome::Locked(lock)) => break lock,
                            // Between the two renames there is no directory.
                            Err(Error::Io { .. }) => {}
                            outcome => panic!("{outcome:?}"),
                        }
                    };
                    assert!(!inside.swap(true, std::sync::atomic::Ordering::SeqCst), "two are inside");
                    inside.store(false, std::sync::atomic::Ordering::SeqCst);
                    if (round + worker) % 3 == 0 {
                        let (fresh, old) =
                            (format!("fresh-{worker}-{round}"), format!("old-{worker}-{round}"));
                        fs::create_dir(outer.join(&fresh)).unwrap();
                        fs::rename(path, outer.join(old)).unwrap();
                        fs::rename(outer.join(fresh), path).unwrap();
                    }
                    drop(lock);
                }
            });
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_directory_lock_excludes_flock_of_util_linux_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let ours = locked(folder.path());
    let theirs = Command::new("flock").arg("-n").arg(folder.path()).arg("true").status().unwrap();
    assert!(!theirs.success());
    drop(ours);
    let mut command = Command::new("flock");
    command.arg(folder.path()).args(["-c", "echo @held; read answer"]);
    let _actor = LiveProcess::start(command, "@held");
    assert_held(folder.path());
}

#[test]
fn a_child_does_not_keep_a_directory_locked() {
    let folder = tempfile::tempdir().unwrap();
    let lock = locked(folder.path());
    let mut command = Command::new("sh");
    command.args(["-c", "echo @runs; read answer"]);
    let _actor = LiveProcess::start(command, "@runs");
    drop(lock);
    drop(locked(folder.path()));
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_system_that_locks_no_directories_is_not_a_failure() {
    let name = this_test!();
    if let Some((role, path)) = subprocess::role() {
        let outcome = acquire(&path, Wait::No);
        if role == "failing" {
            assert!(matches!(outcome, Err(Error::Io { .. })), "{outcome:?}");
            assert!(outcome.unwrap_err().to_string().contains("cannot lock"));
        } else {
            assert!(matches!(outcome, Ok(DirectoryAcquireOutcome::Unsupported(_))), "{outcome:?}");
        }
        assert_eq!(subprocess::names(&path).len(), 0);
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    for script in [
        r#"exec strace -f -o /dev/null -e inject=flock:error=EBADF "$0" "$@""#,
        r#"exec strace -f -o /dev/null -e inject=flock:error=ENOLCK "$0" "$@""#,
        r#"exec strace -f -o /dev/null -e inject=flock:error=ENOSYS "$0" "$@""#,
        r#"exec strace -f -o /dev/null -e inject=flock:error=EOPNOTSUPP "$0" "$@""#,
        r#"exec strace -f -o /dev/null -e inject=flock:error=EINVAL "$0" "$@""#,
        r#"exec strace -f -o /dev/null -e inject=flock:error=EISDIR "$0" "$@""#,
    ] {
        subprocess::run_role(name, "without", folder.path(), &RunAs::Shell(script));
    }
    let script = r#"exec strace -f -o /dev/null -e inject=flock:error=EIO "$0" "$@""#;
    subprocess::run_role(name, "failing", folder.path(), &RunAs::Shell(script));
}

#[test]
fn only_an_existing_directory_is_locked() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "").unwrap();
    symlink("file", at("link")).unwrap();
    for name in ["file", "link", "file/below"] {
        let error = acquire(&at(name), Wait::No).unwrap_err();
        assert!(matches!(error, Error::NotADirectory { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains("is not a directory and cannot be locked as one"), "{error}");
    }
    symlink("nothing", at("dangling")).unwrap();
    for name in ["missing", "dangling"] {
        let error = acquire(&at(name), Wait::No).unwrap_err();
        let Error::Io { source, .. } = error else { panic!("{error:?}") };
        assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
    }
    assert_eq!(subprocess::names(folder.path()), ["dangling", "file", "link"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_directory_can_be_locked_without_writing_to_it_and_not_without_reading_it() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        drop(locked(&path));
        let error = acquire(&path.join("closed"), Wait::No).unwrap_err();
        assert!(matches!(error, Error::Unreadable { .. }), "{error:?}");
        assert!(error.to_string().contains("cannot be read by this user, so it cannot be locked"), "{error}");
        return subprocess::report_done();
    }
    subprocess::require_root();
    let folder = subprocess::open_folder();
    fs::create_dir(folder.path().join("closed")).unwrap();
    fs::set_permissions(folder.path().join("closed"), PermissionsExt::from_mode(0o733)).unwrap();
    subprocess::run_role(name, "other user", folder.path(), &RunAs::OtherUser);
}
