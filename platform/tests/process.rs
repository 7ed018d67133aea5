//! Real processes: started apart, found, signalled, closed to others.
#![cfg_attr(
    not(target_os = "linux"),
    allow(unused_imports, dead_code, reason = "for what is set up with the tools of Linux")
)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails a test")]

mod again;

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use again::{Actor, Stage, this_test};
use codex_auth_platform::process::{
    Error, ProcessVariable, Signalled, StopSignal, await_end, end_group, exists, own_group, own_session,
    running, user, without_loader_variables,
};
use rustix::process::Pid;

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

/// A shell that says so when it runs and waits for its input, by the name of `program` where that is a copy
/// of it.
fn waiter(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["-c", "echo @runs; read answer"]);
    command
}

fn pid_of(actor: &Actor) -> Pid {
    Pid::from_child(&actor.child)
}

/// Session and group of a process, of this one for 0; 0 for what leads from outside of this container.
fn session_and_group(pid: u32) -> (libc::pid_t, libc::pid_t) {
    let pid = libc::pid_t::try_from(pid).unwrap();
    // SAFETY: both calls look at a number and change nothing.
    unsafe { (libc::getsid(pid), libc::getpgid(pid)) }
}

/// A program with a name that no other process has. Not copied by this process: a child that another test
/// starts just then would have it open for writing, and what is open for writing cannot be run.
fn copied_shell(folder: &Path, name: &str) -> (PathBuf, String) {
    let name = format!("{name}-{}", std::process::id());
    let program = folder.join(&name);
    again::run("cp", &[&fs::canonicalize("/bin/sh").unwrap(), &program]);
    (program, name)
}

#[test]
fn a_child_is_loaded_with_nothing_that_was_meant_for_another() {
    let name = this_test!();
    if again::part().is_some() {
        let mut command = Command::new("env");
        let told = without_loader_variables(&mut command).output().unwrap().stdout;
        let told = String::from_utf8(told).unwrap();
        assert!(told.lines().all(|line| !line.starts_with("LD_") && !line.starts_with("DYLD_")), "{told}");
        assert!(told.contains("WELD_IT=kept\n"), "{told}");
        return again::played();
    }
    let nowhere = tempfile::tempdir().unwrap();
    let mut command = again::command(name, "parent", nowhere.path(), &Stage::Here);
    command.env("LD_OF_A_TEST", "x").env("DYLD_OF_A_TEST", "x").env("WELD_IT", "kept");
    Actor::start(command, again::PLAYED);
}

#[test]
fn a_child_in_a_session_of_its_own_leads_it_and_its_group() {
    let mut command = waiter(Path::new("sh"));
    own_session(&mut command);
    let actor = Actor::start(command, "@runs");
    let pid = pid_of(&actor).as_raw_pid();
    assert_eq!(session_and_group(actor.child.id()), (pid, pid));
    assert_ne!(session_and_group(0).0, pid);
}

#[test]
fn a_child_in_a_group_of_its_own_stays_in_our_session() {
    let mut command = waiter(Path::new("sh"));
    own_group(&mut command);
    let actor = Actor::start(command, "@runs");
    let (ours, _) = session_and_group(0);
    assert_eq!(session_and_group(actor.child.id()), (ours, pid_of(&actor).as_raw_pid()));
}

#[test]
fn the_end_of_a_child_is_noticed_and_left_to_be_collected() {
    let mut command = waiter(Path::new("sh"));
    own_group(&mut command);
    let mut actor = Actor::start(command, "@runs");
    let pid = actor.child.id();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(await_end(pid).is_ok()));
    assert!(told.try_recv().is_err(), "it runs");
    actor.child.kill().unwrap();
    assert_eq!(told.recv(), Ok(true));
    // It can be noticed again, and signalled still.
    assert!(await_end(pid).is_ok());
    assert_eq!(end_group(pid, StopSignal::Force).unwrap(), Signalled::Sent);
    assert_eq!(actor.child.wait().unwrap().signal(), Some(SIGKILL));
    assert!(await_end(pid).is_err(), "its number is nobody's of ours now");
    for nobody in [0, u32::MAX] {
        assert!(await_end(nobody).is_err(), "{nobody}");
    }
}

#[test]
fn a_group_ends_with_all_who_are_in_it() {
    for (how, signal, script) in [
        (StopSignal::Ask, SIGTERM, "sh -c 'echo @runs; read a' <&0 & read b"),
        (StopSignal::Force, SIGKILL, "trap '' TERM; sh -c 'echo @runs; read a' <&0 & read b"),
    ] {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        own_group(&mut command);
        let mut actor = Actor::start(command, "@runs");
        let pid = actor.child.id();
        if how == StopSignal::Force {
            assert_eq!(end_group(pid, StopSignal::Ask).unwrap(), Signalled::Sent);
            assert_eq!(actor.child.try_wait().unwrap(), None, "it does not listen");
        }
        assert_eq!(end_group(pid, how).unwrap(), Signalled::Sent);
        assert_eq!(actor.child.wait().unwrap().signal(), Some(signal));
        // The grandchild has the other end of the pipe too: its end is the end of the words.
        actor.await_silence();
    }
}

#[test]
fn a_group_that_is_gone_is_no_error() {
    let mut command = Command::new("true");
    own_group(&mut command);
    let mut child = command.spawn().unwrap();
    child.wait().unwrap();
    assert_eq!(end_group(child.id(), StopSignal::Force).unwrap(), Signalled::Gone);
}

#[test]
fn what_is_not_the_group_of_a_child_is_not_signalled() {
    let ours = u32::try_from(session_and_group(0).1).unwrap();
    for pid in [0, 1, ours, u32::MAX, 1 << 31] {
        let outcome = end_group(pid, StopSignal::Force);
        assert!(matches!(outcome, Err(Error::NotAGroup { .. })), "{pid}: {outcome:?}");
    }
}

#[test]
fn a_process_exists_until_it_was_waited_for() {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id();
    assert!(exists(pid) && exists(std::process::id()) && exists(1));
    child.wait().unwrap();
    assert!(!exists(pid) && !exists(0) && !exists(u32::MAX));
    assert_eq!(user(), rustix::process::geteuid().as_raw());
}

#[cfg(target_os = "linux")]
#[test]
fn programs_of_ours_are_found_with_the_variable_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (program, name) = copied_shell(folder.path(), "found");
    assert!(running(&name, "PLACE").unwrap().is_empty());
    let mut with = waiter(&program);
    with.env("PLACE", "/a b=c").env("PLACES", "no");
    let with = Actor::start(with, "@runs");
    let mut without = waiter(&program);
    without.env_remove("PLACE").env("PLACES", "no");
    let without = Actor::start(without, "@runs");
    let mut found = running(&name, "PLACE").unwrap();
    found.sort_by_key(|process| process.pid != with.child.id());
    let [first, second] = &found[..] else { panic!("{found:?}") };
    assert_eq!((first.pid, &first.executable), (with.child.id(), &program));
    assert_eq!(first.variable, ProcessVariable::Set(OsString::from("/a b=c")));
    assert_eq!((second.pid, &second.variable), (without.child.id(), &ProcessVariable::Unset));

    fs::remove_file(&program).unwrap();
    assert_eq!(running(&name, "PLACE").unwrap().len(), 2, "their program was replaced");
    assert_eq!(running(&name[1..], "PLACE").unwrap(), []);
}

#[cfg(target_os = "linux")]
#[test]
fn neither_we_ourselves_nor_the_dead_nor_other_users_are_running() {
    let name = this_test!();
    if let Some((_, path)) = again::part() {
        assert!(running(path.to_str().unwrap(), "PLACE").unwrap().is_empty());
        return again::played();
    }
    again::needs_root();
    let own = std::env::current_exe().unwrap();
    let own = own.file_name().unwrap().to_str().unwrap();
    assert!(running(own, "PLACE").unwrap().iter().all(|process| process.pid != std::process::id()));

    let folder = tempfile::tempdir().unwrap();
    let (program, waiters) = copied_shell(folder.path(), "ended");
    let mut actor = Actor::start(waiter(&program), "@runs");
    assert_eq!(running(&waiters, "PLACE").unwrap().len(), 1);
    again::play(name, "stranger", Path::new(&waiters), &Stage::Somebody);
    actor.child.kill().unwrap();
    actor.await_silence();
    let killed = |process: &codex_auth_platform::process::RunningProcess| process.pid == actor.child.id();
    while running(&waiters, "PLACE").unwrap().iter().any(killed) {
        std::thread::yield_now();
    }
    assert!(exists(actor.child.id()), "it was not waited for yet");
}
