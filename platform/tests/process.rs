//! Tests starting, finding and signalling real processes.
#![cfg_attr(
    not(target_os = "linux"),
    allow(unused_imports, dead_code, reason = "for what is set up with the tools of Linux")
)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails a test")]

mod subprocess;

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use codex_auth_platform::process::{
    Error, ProcessVariable, executable_of, kill_group, remove_loader_variables, running_programs,
    start_in_new_group, start_in_new_session, wait_for_exit,
};
use codex_auth_platform::process_start::{StartConditions, StartTime};
use rustix::process::Pid;
use subprocess::{LiveProcess, RunAs, this_test};

const SIGKILL: i32 = 9;

/// Returns a shell that prints a line when it runs and then waits for input; `program` is `sh` or a copy of it.
fn waiter(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["-c", "echo @runs; read answer"]);
    command
}

fn pid_of(running: &LiveProcess) -> Pid {
    Pid::from_child(&running.child)
}

/// Returns the session and group of a process, or of this one for 0; 0 if they lead outside this container.
fn session_and_group(pid: u32) -> (libc::pid_t, libc::pid_t) {
    let pid = libc::pid_t::try_from(pid).unwrap();
    // SAFETY: both calls look at a number and change nothing.
    unsafe { (libc::getsid(pid), libc::getpgid(pid)) }
}

/// Returns a program with a name that no other process has. Copied by `cp`: a child that another test starts just
/// then would inherit our open handle, and a file that is open for writing cannot be run.
fn copied_shell(folder: &Path, name: &str) -> (PathBuf, String) {
    let name = format!("{name}-{}", std::process::id());
    let program = folder.join(&name);
    subprocess::run("cp", &[&fs::canonicalize("/bin/sh").unwrap(), &program]);
    (program, name)
}

#[test]
fn a_child_has_no_variables_of_the_dynamic_loader() {
    let name = this_test!();
    if subprocess::role().is_some() {
        let mut command = Command::new("env");
        let output = remove_loader_variables(&mut command).output().unwrap().stdout;
        let output = String::from_utf8(output).unwrap();
        assert!(
            output.lines().all(|line| !line.starts_with("LD_") && !line.starts_with("DYLD_")),
            "{output}"
        );
        assert!(output.contains("WELD_IT=kept\n"), "{output}");
        return subprocess::report_done();
    }
    let nowhere = tempfile::tempdir().unwrap();
    let mut command = subprocess::role_command(name, "parent", nowhere.path(), &RunAs::Plain);
    command.env("LD_OF_A_TEST", "x").env("DYLD_OF_A_TEST", "x").env("WELD_IT", "kept");
    LiveProcess::start(command, subprocess::DONE);
}

#[test]
fn a_child_in_a_new_session_leads_the_session_and_its_group() {
    let mut command = waiter(Path::new("sh"));
    start_in_new_session(&mut command);
    let running = LiveProcess::start(command, "@runs");
    let pid = pid_of(&running).as_raw_pid();
    assert_eq!(session_and_group(running.child.id()), (pid, pid));
    assert_ne!(session_and_group(0).0, pid);
}

#[test]
fn a_child_in_a_new_group_stays_in_our_session() {
    let mut command = waiter(Path::new("sh"));
    start_in_new_group(&mut command);
    let running = LiveProcess::start(command, "@runs");
    let (ours, _) = session_and_group(0);
    assert_eq!(session_and_group(running.child.id()), (ours, pid_of(&running).as_raw_pid()));
}

#[test]
fn waiting_for_a_child_does_not_collect_it() {
    let mut command = waiter(Path::new("sh"));
    start_in_new_group(&mut command);
    let mut running = LiveProcess::start(command, "@runs");
    let pid = running.child.id();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(wait_for_exit(pid).is_ok()));
    assert!(receiver.try_recv().is_err(), "it runs");
    running.child.kill().unwrap();
    assert_eq!(receiver.recv(), Ok(true));
    // A second wait succeeds, and the group can still be signalled.
    assert!(wait_for_exit(pid).is_ok());
    kill_group(pid).unwrap();
    assert_eq!(running.child.wait().unwrap().signal(), Some(SIGKILL));
    assert!(wait_for_exit(pid).is_err(), "it was collected");
    for pid in [0, u32::MAX] {
        assert!(wait_for_exit(pid).is_err(), "{pid}");
    }
}

#[test]
fn a_signal_ends_every_process_of_a_group() {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' TERM; sh -c 'echo @runs; read a' <&0 & read b"]);
    start_in_new_group(&mut command);
    let mut running = LiveProcess::start(command, "@runs");
    kill_group(running.child.id()).unwrap();
    assert_eq!(running.child.wait().unwrap().signal(), Some(SIGKILL));
    // The grandchild also has the output pipe, so the pipe ends when both have ended.
    running.wait_for_output_end();
}

#[test]
fn signalling_a_group_that_has_ended_is_no_error() {
    let mut command = Command::new("true");
    start_in_new_group(&mut command);
    let mut child = command.spawn().unwrap();
    child.wait().unwrap();
    kill_group(child.id()).unwrap();
}

#[test]
fn only_the_group_of_a_child_is_signalled() {
    let ours = u32::try_from(session_and_group(0).1).unwrap();
    for pid in [0, 1, ours, u32::MAX, 1 << 31] {
        let outcome = kill_group(pid);
        assert!(matches!(outcome, Err(Error::NotAGroup { .. })), "{pid}: {outcome:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn running_programs_of_this_user_are_found_with_the_requested_variable() {
    let folder = tempfile::tempdir().unwrap();
    let (program, name) = copied_shell(folder.path(), "found");
    assert!(running_programs(&name, "PLACE").unwrap().is_empty());
    let mut with = waiter(&program);
    with.env("PLACE", "/a b=c").env("PLACES", "no");
    let with = LiveProcess::start(with, "@runs");
    let mut without = waiter(&program);
    without.env_remove("PLACE").env("PLACES", "no");
    let without = LiveProcess::start(without, "@runs");
    let mut found = running_programs(&name, "PLACE").unwrap();
    found.sort_by_key(|process| process.pid != with.child.id());
    let [first, second] = &found[..] else { panic!("{found:?}") };
    assert_eq!((first.pid, &first.executable), (with.child.id(), &program));
    assert_eq!(first.variable, ProcessVariable::Set(OsString::from("/a b=c")));
    assert_eq!((second.pid, &second.variable), (without.child.id(), &ProcessVariable::Unset));

    fs::remove_file(&program).unwrap();
    assert_eq!(running_programs(&name, "PLACE").unwrap().len(), 2, "their program was replaced");
    assert_eq!(running_programs(&name[1..], "PLACE").unwrap(), []);
}

#[cfg(target_os = "linux")]
#[test]
fn own_ended_and_foreign_processes_are_not_listed() {
    let name = this_test!();
    if let Some((_, path)) = subprocess::role() {
        assert!(running_programs(path.to_str().unwrap(), "PLACE").unwrap().is_empty());
        return subprocess::report_done();
    }
    subprocess::require_root();
    let own = std::env::current_exe().unwrap();
    let own = own.file_name().unwrap().to_str().unwrap();
    assert!(running_programs(own, "PLACE").unwrap().iter().all(|process| process.pid != std::process::id()));

    let folder = tempfile::tempdir().unwrap();
    let (program, waiters) = copied_shell(folder.path(), "ended");
    let mut running = LiveProcess::start(waiter(&program), "@runs");
    assert_eq!(running_programs(&waiters, "PLACE").unwrap().len(), 1);
    subprocess::run_role(name, "other user", Path::new(&waiters), &RunAs::OtherUser);
    running.child.kill().unwrap();
    running.wait_for_output_end();
    let killed = |process: &codex_auth_platform::process::RunningProcess| process.pid == running.child.id();
    while running_programs(&waiters, "PLACE").unwrap().iter().any(killed) {
        std::thread::yield_now();
    }
    assert_eq!(rustix::process::test_kill_process(pid_of(&running)), Ok(()), "it was not collected yet");
}

#[cfg(target_os = "linux")]
#[test]
fn the_start_of_a_running_process_is_read_and_its_environment_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let folder = fs::canonicalize(folder.path()).unwrap();
    let (program, _) = copied_shell(&folder, "started");
    let mut command = waiter(&program);
    command.current_dir(&folder).env("PLACE", "marked=value").env("EMPTY", "");
    let mut running = LiveProcess::start(command, "@runs");
    let pid = running.child.id();
    assert_eq!(executable_of(pid), Some(program));
    let conditions = StartConditions::of(pid).unwrap();
    assert_eq!(conditions.folder, folder);
    assert!(conditions.variables().any(|(name, value)| name == "PLACE" && value == "marked=value"));
    assert_eq!(["PLACE", "EMPTY", "PLAC"].map(|name| conditions.has(name)), [true, false, false]);
    assert!(!format!("{conditions:?}").contains("marked"));
    let (start, own) = (StartTime::of(pid).unwrap(), StartTime::of(std::process::id()).unwrap());
    assert_eq!(StartTime::of(pid).unwrap(), start);
    assert!(start.boot_id == own.boot_id && start.ticks >= own.ticks, "{start:?}, {own:?}");
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    assert!(StartTime::of(pid).is_err() && StartConditions::of(pid).is_err());
    assert_eq!(executable_of(pid), None);
}
