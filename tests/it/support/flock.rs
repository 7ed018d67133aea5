//! Somebody else's lock on a file, taken with flock(1) as any program might, Codex among them.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::program::Guarded;

/// A lock that a process of flock(1) holds until this is dropped.
pub struct Flock(#[expect(dead_code, reason = "it holds while it lives")] Guarded);

impl Flock {
    /// Locks `path`, which is made if it is not there, and returns when the lock is held.
    pub fn hold(path: &Path) -> Self {
        let mut command = Command::new("flock");
        // Without a fork the process that is killed is the one that holds.
        command.args(["--exclusive", "--no-fork"]).arg(path).args(["sh", "-c", "echo held; read end"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("flock(1) is installed");
        let mut word = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut word).unwrap();
        assert_eq!(word, "held\n");
        Self(Guarded(child))
    }
}
