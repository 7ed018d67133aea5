//! Information about other processes.

use std::process::Command;

/// The resident memory of a process, in KiB.
#[allow(dead_code, reason = "not every benchmark uses it")]
pub fn resident(pid: u32) -> u64 {
    let output = Command::new("ps").args(["-o", "rss=", "-p", &pid.to_string()]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}
