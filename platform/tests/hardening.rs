//! A hardened process, and what its children notice of it.
#![cfg_attr(
    not(target_os = "linux"),
    allow(unused_imports, dead_code, reason = "for what is looked at in /proc")
)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails a test")]

mod again;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use again::{Actor, Stage, this_test};
use codex_auth_platform::hardening::{as_found, harden, with_found_umask};
use codex_auth_platform::process::{ProcessVariable, running};
use rustix::process::{Pid, Signal};

/// What a program can see of how it was started: umask, limits on core dumps, and whether a file may grow beyond its limit.
fn seen_by(command: &mut Command) -> String {
    let script =
        "umask; ulimit -Sc; ulimit -Hc; (ulimit -f 0; : > grown; echo x >> grown) 2>/dev/null; echo $?";
    let told = command.args(["-c", script]).output().unwrap();
    String::from_utf8(told.stdout).unwrap()
}

fn shell(folder: &Path) -> Command {
    let mut command = Command::new("bash");
    command.current_dir(folder);
    command
}

fn mode_of(file: &Path) -> u32 {
    File::create(file).unwrap();
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

#[test]
fn its_files_are_its_owners_and_a_program_of_the_user_finds_what_it_would_have_found() {
    let name = this_test!();
    if let Some((_, folder)) = again::part() {
        let before = seen_by(&mut shell(&folder));
        assert_eq!(mode_of(&folder.join("before")), 0o640);
        assert!(harden().is_empty());
        assert_eq!(mode_of(&folder.join("after")), 0o600);
        assert_ne!(seen_by(&mut shell(&folder)), before, "what the test looks at makes a difference");
        assert_eq!(seen_by(as_found(&mut shell(&folder))), before);
        assert_eq!(with_found_umask(|| mode_of(&folder.join("shown"))), 0o640);
        assert_eq!(mode_of(&folder.join("after all")), 0o600);
        assert!(harden().is_empty(), "a second time");
        assert_eq!(seen_by(as_found(&mut shell(&folder))), before);
        return again::played();
    }
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::After("umask 027; ulimit -Sc \"$(ulimit -Hc)\"");
    Actor::start(again::command(name, "program", folder.path(), &stage), again::PLAYED);
}

#[test]
fn without_hardening_a_child_is_started_as_ever() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(seen_by(as_found(&mut shell(folder.path()))), seen_by(&mut shell(folder.path())));
    assert_eq!(with_found_umask(|| mode_of(&folder.path().join("a"))), mode_of(&folder.path().join("b")));
}

#[cfg(target_os = "linux")]
#[test]
fn a_hardened_program_has_no_core_and_is_closed_to_its_user() {
    let name = this_test!();
    match again::part() {
        Some((part, _)) if part == "hardened" => {
            let weak = harden();
            assert!(weak.is_empty(), "{weak:?}");
            assert_eq!(rustix::process::getrlimit(rustix::process::Resource::Core).current, Some(0));
            again::tell("@hardened");
            return again::await_the_end();
        }
        Some((_, program)) => {
            let command = again::command(name, "hardened", Path::new("/"), &Stage::Myself);
            let actor = Actor::start(command, "@hardened");
            let pid = actor.child.id();
            assert!(fs::read(format!("/proc/{pid}/environ")).is_err());
            assert!(fs::read_link(format!("/proc/{pid}/exe")).is_err());
            let found = running(program.to_str().unwrap(), "PATH").unwrap();
            let found: Vec<_> = found.iter().filter(|process| process.pid == pid).collect();
            assert_eq!(found.len(), 1, "it is found all the same");
            assert_eq!(found[0].variable, ProcessVariable::Unreadable);
            let refused = rustix::process::kill_process(Pid::from_child(&actor.child), Signal::CONT);
            assert_eq!(refused, Ok(()), "signals are another matter");
            return again::played();
        }
        None => {}
    }
    // Its file name as the child of the child is called; root could read it anyway.
    again::play(name, "observer", Path::new(again::CALLED), &Stage::Somebody);
}
