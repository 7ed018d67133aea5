//! Somebody else's lock on a file, taken with perl's flock as any program might, Codex among them.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::program::Guarded;

/// Opens the file, which is made if it is not there.
const OPEN: &str = r#"use Fcntl ":flock"; open my $file, "+>>", $ARGV[0] or die "$ARGV[0]: $!";"#;
/// Locks it, says so, and holds it until the input ends.
const HOLD: &str = r#"flock $file, LOCK_EX or die $!; $| = 1; print "held\n"; <STDIN>"#;
/// Locks it if that can be done without waiting.
const TRY: &str = "exit !flock $file, LOCK_EX | LOCK_NB";

/// A lock that another process holds until this is dropped.
pub struct Flock(#[expect(dead_code, reason = "it holds while it lives")] Guarded);

impl Flock {
    /// Locks `path`, which is made if it is not there, and returns when the lock is held.
    pub fn hold(path: &Path) -> Self {
        let mut command = perl(HOLD, path);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("perl is installed");
        let mut word = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut word).unwrap();
        assert_eq!(word, "held\n");
        Self(Guarded(child))
    }

    /// Whether nobody holds a lock on `path`.
    pub fn is_free(path: &Path) -> bool {
        perl(TRY, path).status().expect("perl is installed").success()
    }
}

fn perl(script: &str, path: &Path) -> Command {
    let mut command = Command::new("perl");
    command.args(["-e", &format!("{OPEN} {script}")]).arg(path);
    command
}
