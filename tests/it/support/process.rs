//! What the system tells anybody of processes.

use std::process::Command;

/// The processes that `parent` has started and that it has not collected yet.
pub fn children(parent: u32) -> Vec<u32> {
    let told = told("pgrep", &["-P", &parent.to_string()]);
    told.lines().map(|line| line.trim().parse().unwrap()).collect()
}

/// Whether this process is there, and not merely waiting to be collected.
pub fn is_alive(pid: u32) -> bool {
    let state = told("ps", &["-o", "state=", "-p", &pid.to_string()]);
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

/// The resident memory of a process in bytes; nothing if it has ended.
pub fn resident(pid: u32) -> u64 {
    told("ps", &["-o", "rss=", "-p", &pid.to_string()]).trim().parse().unwrap_or(0) * 1024
}

fn told(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("procps is installed");
    String::from_utf8(output.stdout).unwrap()
}
