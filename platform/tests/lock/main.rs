//! Tests locks between real processes, including other programs.
#![cfg_attr(
    not(target_os = "linux"),
    allow(unused_imports, dead_code, reason = "for what is set up with the tools of Linux")
)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails a test")]

mod directories;
#[cfg(target_os = "linux")]
mod looking;
#[cfg(target_os = "linux")]
mod opening;
#[cfg(target_os = "linux")]
mod permissions;
#[path = "../subprocess/mod.rs"]
mod subprocess;

use std::fs;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use codex_auth_platform::lock::{
    AcquireOutcome, Error, FileLock, LockFileMode, LockState, Wait, holder, state,
};
use subprocess::{LiveProcess, RunAs, this_test};

/// Longer than any wait here takes unless it fails.
const LONG: Wait = Wait::For(Duration::from_secs(60));

fn exclusive(path: &Path, wait: Wait) -> Result<FileLock, Error> {
    FileLock::acquire(path, LockFileMode::Private, wait)
}

#[track_caller]
fn assert_held(outcome: &Result<FileLock, Error>) {
    assert!(matches!(outcome, Err(Error::Held { .. })), "{outcome:?}");
}

/// In another process: holds the lock until its input ends.
fn hold(path: &Path) {
    let lock = exclusive(path, LONG).unwrap();
    lock.write_note("rehearsal");
    subprocess::print_line("@held");
    subprocess::wait_for_stdin_end();
}

#[test]
fn a_lock_excludes_other_handles_until_it_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let first = exclusive(&path, Wait::No).unwrap();
    assert_eq!(first.path(), path);
    assert_held(&exclusive(&path, Wait::No));
    drop(first);
    drop(exclusive(&path, Wait::No).unwrap());
    assert!(path.exists());
}

#[test]
fn a_bounded_wait_is_bounded_and_its_error_names_the_holder() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        return hold(&path);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let running = LiveProcess::start(subprocess::role_command(name, "holder", &path, &RunAs::Plain), "@held");
    let pid = running.child.id();
    let start = Instant::now();
    let error = exclusive(&path, Wait::For(Duration::from_millis(300))).unwrap_err();
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(5), "{took:?}");
    let message = error.to_string();
    for text in [path.to_str().unwrap(), &pid.to_string(), "rehearsal"] {
        assert!(message.contains(text), "{text} in {message}");
    }
    let Error::Held { waited, holder: Some(holder), .. } = error else { panic!("{error:?}") };
    assert!(waited >= Duration::from_millis(300));
    assert_eq!((holder.pid, holder.program.as_str()), (pid, "rehearsal"));
}

#[test]
fn the_state_of_a_lock_is_read_without_creating_its_file() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        return hold(&path);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    assert_eq!(state(&path).unwrap(), LockState::Absent);
    assert!(!path.exists());
    let mut running =
        LiveProcess::start(subprocess::role_command(name, "holder", &path, &RunAs::Plain), "@held");
    let LockState::Held { holder: Some(found) } = state(&path).unwrap() else { panic!("not held") };
    assert_eq!((found.pid, found.program.as_str()), (running.child.id(), "rehearsal"));
    running.kill();
    assert_eq!(state(&path).unwrap(), LockState::Free { stale_holder: Some(found) });
    let lock = exclusive(&path, Wait::No).unwrap();
    lock.write_note("me");
    drop(lock);
    assert_eq!(state(&path).unwrap(), LockState::Free { stale_holder: None });
    assert!(matches!(state(folder.path()), Err(Error::NotAFile { .. })));
}

#[test]
fn the_lock_of_a_killed_holder_is_free() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        return hold(&path);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let mut running =
        LiveProcess::start(subprocess::role_command(name, "holder", &path, &RunAs::Plain), "@held");
    let mut tries = 0;
    let outcome = FileLock::acquire_with(&path, LockFileMode::Private, LONG, |_| {
        tries += 1;
        if tries == 2 {
            running.kill();
        }
        ControlFlow::<()>::Continue(())
    });
    assert!(matches!(outcome, Ok(AcquireOutcome::Locked(_))), "{outcome:?}");
    assert!(tries >= 2);
    assert_eq!(holder(&path), None, "the note of a killed process names no holder");
}

#[test]
fn a_lock_that_another_program_acquired_after_a_kill_has_no_named_holder() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        return hold(&path);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let mut running =
        LiveProcess::start(subprocess::role_command(name, "holder", &path, &RunAs::Plain), "@held");
    assert_eq!(holder(&path).map(|holder| holder.pid), Some(running.child.id()));
    running.kill();
    let note = fs::read_to_string(&path).unwrap();
    assert!(note.contains("rehearsal"), "{note}");
    // Another program writes no note.
    let other = exclusive(&path, LONG).unwrap();
    assert_eq!(holder(&path), None);
    // The kernel knows it all the same, where it says so.
    let by_kernel = cfg!(target_os = "linux").then(std::process::id);
    let LockState::Held { holder: listed } = state(&path).unwrap() else { panic!("it is held") };
    let Err(Error::Held { holder: named, .. }) = exclusive(&path, Wait::No) else { panic!("it is held") };
    assert_eq!([listed, named].map(|holder| holder.map(|holder| holder.pid)), [by_kernel; 2]);
    drop(other);
}

/// If reading acquired the lock for a moment, attempts that should succeed would fail.
#[test]
fn reading_the_holder_never_makes_an_attempt_fail() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    drop(exclusive(&path, Wait::No).unwrap());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) {
                let _ = holder(&path);
                reads += 1;
            }
            reads
        });
        let refused = (0..5_000).filter(|_| {
            let lock = exclusive(&path, Wait::No);
            let held = lock.as_ref().map(|lock| lock.write_note("me"));
            held.is_err()
        });
        let refused = refused.count();
        done.store(true, Ordering::Relaxed);
        println!("{} reads beside 5000 tries", reader.join().unwrap());
        assert_eq!(refused, 0);
    });
}

#[test]
fn a_wait_can_be_stopped_by_the_caller() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let held = exclusive(&path, Wait::No).unwrap();
    held.write_note("me");
    let mut seen = Vec::new();
    let outcome = FileLock::acquire_with(&path, LockFileMode::Private, LONG, |waiting| {
        seen.push((waiting.waited(), waiting.holder().unwrap().pid));
        assert_eq!(waiting.path(), path);
        if seen.len() == 3 { ControlFlow::Break("enough") } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(outcome, Ok(AcquireOutcome::Stopped("enough"))), "{outcome:?}");
    assert!(seen.is_sorted() && seen.iter().all(|(_, pid)| *pid == std::process::id()), "{seen:?}");
}

#[test]
fn a_note_is_printable_and_removed_with_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let lock = exclusive(&path, Wait::No).unwrap();
    assert_eq!(holder(&path), None);
    lock.write_note("a much longer name");
    lock.write_note("short \u{1b}[31mred\nsecond line");
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{} short [31mred\n", std::process::id()));
    assert_eq!(holder(&path).unwrap().to_string(), format!("short [31mred (pid {})", std::process::id()));
    lock.write_note(&"é".repeat(500));
    assert_eq!(holder(&path).unwrap().program, "é".repeat(64));
    drop(lock);
    assert_eq!(holder(&path), None);
    assert_eq!(holder(folder.path()), None);
}

#[cfg(target_os = "linux")]
#[test]
fn a_lock_excludes_flock_of_util_linux_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let theirs =
        |mode| Command::new("flock").args(["-n", mode]).arg(&path).arg("true").status().unwrap().success();
    let ours = exclusive(&path, Wait::No).unwrap();
    assert!(!theirs("-x") && !theirs("-s"));
    drop(ours);

    let mut command = Command::new("flock");
    command.arg(&path).args(["-c", "echo @held; read answer"]);
    let mut running = LiveProcess::start(command, "@held");
    assert_held(&exclusive(&path, Wait::No));
    running.child.stdin.take();
    drop(exclusive(&path, LONG).unwrap());
}

#[test]
fn a_lock_excludes_flock_of_python_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let script = "import fcntl, sys\nf = open(sys.argv[1], 'r+')\nfcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)\n\
                  print('@held', flush=True)\nsys.stdin.read()";
    let python = || {
        let mut command = Command::new("python3");
        command.args(["-c", script]).arg(&path);
        command
    };
    let ours = exclusive(&path, Wait::No).unwrap();
    let refused = python().output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("BlockingIOError"), "{refused:?}");
    drop(ours);
    let mut running = LiveProcess::start(python(), "@held");
    assert_held(&exclusive(&path, Wait::No));
    running.child.stdin.take();
    drop(exclusive(&path, LONG).unwrap());
}

#[test]
fn a_child_does_not_keep_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let lock = exclusive(&path, Wait::No).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "echo @runs; read answer"]);
    let _actor = LiveProcess::start(command, "@runs");
    drop(lock);
    drop(exclusive(&path, Wait::No).unwrap());
}

#[test]
fn a_child_that_has_not_run_its_program_yet_does_not_keep_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let lock = exclusive(&path, Wait::No).unwrap();
    let (mut forked, mut in_child) = std::io::pipe().unwrap();
    let (mut go_on, mut from_parent) = std::io::pipe().unwrap();
    let mut command = Command::new("true");
    // SAFETY: a write and a read, which are safe between fork and exec.
    unsafe {
        command.pre_exec(move || {
            in_child.write_all(b"f")?;
            go_on.read_exact(&mut [0])
        });
    }
    std::thread::scope(|scope| {
        let child = scope.spawn(move || command.status().unwrap());
        forked.read_exact(&mut [0]).unwrap();
        drop(lock);
        let outcome = exclusive(&path, Wait::No);
        from_parent.write_all(b"g").unwrap();
        drop(outcome.unwrap());
        assert!(child.join().unwrap().success());
    });
}

#[test]
fn a_lock_excludes_even_while_its_file_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let inside = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (path, inside, fresh) = (&path, &inside, folder.path().join(format!("fresh-{worker}")));
            scope.spawn(move || {
                for round in 0..100 {
                    let lock = exclusive(path, LONG).unwrap();
                    assert!(!inside.swap(true, Ordering::SeqCst), "two are inside");
                    if (round + worker) % 3 == 0 {
                        fs::write(&fresh, "").unwrap();
                        inside.store(false, Ordering::SeqCst);
                        fs::rename(&fresh, path).unwrap();
                    } else {
                        std::thread::yield_now();
                        inside.store(false, Ordering::SeqCst);
                    }
                    drop(lock);
                }
            });
        }
    });
}

#[test]
fn a_lock_on_a_replaced_file_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let former = exclusive(&path, Wait::No).unwrap();
    let outcome = FileLock::acquire_with(&path, LockFileMode::Private, LONG, |_| {
        fs::remove_file(&path).unwrap();
        ControlFlow::<()>::Continue(())
    });
    assert!(matches!(outcome, Ok(AcquireOutcome::Locked(_))), "{outcome:?}");
    assert_held(&exclusive(&path, Wait::No));
    drop(former);
    assert_held(&exclusive(&path, Wait::No));
}

#[test]
fn only_a_regular_file_is_a_lock() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| folder.path().join(name);
    fs::create_dir(make("folder")).unwrap();
    fs::write(make("real"), "").unwrap();
    symlink("real", make("link")).unwrap();
    symlink("nothing", make("dangling")).unwrap();
    subprocess::run("mkfifo", &[&make("pipe")]);
    let _socket = UnixListener::bind(make("socket")).unwrap();
    for name in ["folder", "link", "dangling", "pipe", "socket"] {
        let outcome = exclusive(&make(name), Wait::No);
        assert!(matches!(outcome, Err(Error::NotAFile { .. })), "{name}: {outcome:?}");
    }
    assert!(!make("nothing").exists());
    let outcome = exclusive(&make("missing/lock"), Wait::No);
    let Err(Error::Io { source, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
}
