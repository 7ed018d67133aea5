//! A lock of another program on a file, acquired with perl's `flock` as Codex does with its own.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::program::Guarded;

/// Opens the file, creating it if needed.
const OPEN: &str = r#"use Fcntl ":flock"; open my $file, "+>>", $ARGV[0] or die "$ARGV[0]: $!";"#;
/// Locks it, prints that, and holds the lock until the input ends.
const HOLD: &str = r#"flock $file, LOCK_EX or die $!; $| = 1; print "held\n"; <STDIN>"#;
/// Locks it if that is possible without waiting.
const TRY: &str = "exit !flock $file, LOCK_EX | LOCK_NB";

/// A lock that another process holds until this is dropped.
pub struct Flock(#[expect(dead_code, reason = "held for its drop")] Guarded);

impl Flock {
    /// Creates `path` if needed, locks it, and returns when the lock is held.
    pub fn hold(path: &Path) -> Self {
        let mut command = perl(HOLD, path);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("perl is installed");
        let mut word = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut word).unwrap();
        assert_eq!(word, "held\n");
        Self(Guarded(child))
    }

    /// Whether no process holds a lock on `path`.
    pub fn is_free(path: &Path) -> bool {
        perl(TRY, path).status().expect("perl is installed").success()
    }
}

fn perl(script: &str, path: &Path) -> Command {
    let mut command = Command::new("perl");
    command.args(["-e", &format!("{OPEN} {script}")]).arg(path);
    command
}
