//! Information about other processes.

use std::process::Command;

/// The child processes of `parent`, zombies included.
pub fn children(parent: u32) -> Vec<u32> {
    let ids = output_of("pgrep", &["-P", &parent.to_string()]);
    ids.lines().map(|line| line.trim().parse().unwrap()).collect()
}

/// Whether this process exists and is not a zombie.
pub fn is_alive(pid: u32) -> bool {
    let state = output_of("ps", &["-o", "state=", "-p", &pid.to_string()]);
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

/// The resident memory of a process in bytes; 0 if it has exited.
pub fn resident(pid: u32) -> u64 {
    output_of("ps", &["-o", "rss=", "-p", &pid.to_string()]).trim().parse().unwrap_or(0) * 1024
}

fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("procps is installed");
    String::from_utf8(output.stdout).unwrap()
}
