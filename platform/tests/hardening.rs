//! Tests a hardened process and the settings of its children.
#![cfg_attr(
    not(target_os = "linux"),
    allow(unused_imports, dead_code, reason = "for what is looked at in /proc")
)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails a test")]

mod subprocess;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use codex_auth_platform::hardening::{harden, restore_inherited_settings, with_inherited_umask};
use codex_auth_platform::process::{ProcessVariable, running_programs};
use rustix::process::{Pid, Signal};
use subprocess::{LiveProcess, RunAs, this_test};

/// Returns the settings that a program starts with: umask, core dump limits, and whether a file may exceed its size
/// limit.
fn seen_by(command: &mut Command) -> String {
    let script =
        "umask; ulimit -Sc; ulimit -Hc; (ulimit -f 0; : > grown; echo x >> grown) 2>/dev/null; echo $?";
    let output = command.args(["-c", script]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
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
fn hardening_restricts_new_files_and_a_user_program_gets_the_former_settings() {
    let name = this_test!();
    if let Some((_, folder)) = subprocess::role() {
        let before = seen_by(&mut shell(&folder));
        assert_eq!(mode_of(&folder.join("before")), 0o640);
        assert!(harden().is_empty());
        assert_eq!(mode_of(&folder.join("after")), 0o600);
        assert_ne!(seen_by(&mut shell(&folder)), before, "what the test looks at makes a difference");
        assert_eq!(seen_by(restore_inherited_settings(&mut shell(&folder))), before);
        assert_eq!(with_inherited_umask(|| mode_of(&folder.join("shown"))), 0o640);
        assert_eq!(mode_of(&folder.join("after all")), 0o600);
        assert!(harden().is_empty(), "a second time");
        assert_eq!(seen_by(restore_inherited_settings(&mut shell(&folder))), before);
        return subprocess::report_done();
    }
    let folder = tempfile::tempdir().unwrap();
    let run_as = RunAs::Shell("umask 027; ulimit -Sc \"$(ulimit -Hc)\"");
    LiveProcess::start(subprocess::role_command(name, "program", folder.path(), &run_as), subprocess::DONE);
}

#[test]
fn without_hardening_a_child_keeps_its_settings() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        seen_by(restore_inherited_settings(&mut shell(folder.path()))),
        seen_by(&mut shell(folder.path()))
    );
    assert_eq!(with_inherited_umask(|| mode_of(&folder.path().join("a"))), mode_of(&folder.path().join("b")));
}

#[cfg(target_os = "linux")]
#[test]
fn a_hardened_program_dumps_no_core_and_is_closed_to_other_processes_of_its_user() {
    let name = this_test!();
    match subprocess::role() {
        Some((role, _)) if role == "hardened" => {
            let weak = harden();
            assert!(weak.is_empty(), "{weak:?}");
            assert_eq!(rustix::process::getrlimit(rustix::process::Resource::Core).current, Some(0));
            subprocess::print_line("@hardened");
            return subprocess::wait_for_stdin_end();
        }
        Some((_, program)) => {
            let command = subprocess::role_command(name, "hardened", Path::new("/"), &RunAs::SelfExe);
            let running = LiveProcess::start(command, "@hardened");
            let pid = running.child.id();
            assert!(fs::read(format!("/proc/{pid}/environ")).is_err());
            assert!(fs::read_link(format!("/proc/{pid}/exe")).is_err());
            let found = running_programs(program.to_str().unwrap(), "PATH").unwrap();
            let found: Vec<_> = found.iter().filter(|process| process.pid == pid).collect();
            assert_eq!(found.len(), 1, "it is found all the same");
            assert_eq!(found[0].variable, ProcessVariable::Unreadable);
            let refused = rustix::process::kill_process(Pid::from_child(&running.child), Signal::CONT);
            assert_eq!(refused, Ok(()), "signals are another matter");
            return subprocess::report_done();
        }
        None => {}
    }
    // The name that the grandchild runs under; root could read its files anyway.
    subprocess::run_role(name, "observer", Path::new(subprocess::OTHER_NAME), &RunAs::OtherUser);
}
