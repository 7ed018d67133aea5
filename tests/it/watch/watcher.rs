//! `codex watch --json` as another process: what it tells, change by change.

use std::process::Command;

use serde_json::Value;

use crate::support::{Guarded, Lines, Run};

/// How a process notices changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchMode {
    /// The system tells it.
    Native,
    /// It has to look: the system's own limit leaves it no watch at all.
    // Linux: inotify.
    #[cfg(target_os = "linux")]
    Polling,
}

impl WatchMode {
    /// The command line that a process is started through to see like this.
    pub fn wrapper(self) -> &'static [&'static str] {
        match self {
            Self::Native => &["env"],
            // The limit is that of a user namespace of its own, where nobody else has watches to lose.
            // Linux: inotify.
            #[cfg(target_os = "linux")]
            Self::Polling => &[
                "unshare",
                "--user",
                "--map-current-user",
                "--keep-caps",
                "sh",
                "-euc",
                "echo 0 >/proc/sys/user/max_inotify_instances; exec \"$0\" \"$@\"",
            ],
        }
    }
}

/// A `codex watch --json` that runs; killed on drop.
pub struct Watcher {
    process: Guarded,
    stdout: Lines,
    stderr: Lines,
}

impl Watcher {
    /// Starts `run`, a `codex watch --json`, and gives back its first line too.
    pub fn start(run: Run, sight: WatchMode) -> (Self, Value) {
        let mut child = run.through(sight.wrapper().iter().copied()).start();
        let told = Lines::of(child.stdout.take().unwrap());
        let talk = Lines::of(child.stderr.take().unwrap());
        let watcher = Self { process: Guarded(child), stdout: told, stderr: talk };
        let first = watcher.next_event();
        assert_eq!(first["event"], "present", "{first}");
        (watcher, first)
    }

    /// The next change.
    #[track_caller]
    pub fn next_event(&self) -> Value {
        let line = self.stdout.next().expect("it goes on until it is ended");
        serde_json::from_str(&line).unwrap()
    }

    /// That the next change is `event`.
    #[track_caller]
    pub fn expect_event(&self, event: &str) -> Value {
        let told = self.next_event();
        assert_eq!(told["event"], event, "{told}");
        told
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// Sends it a signal, by the name that kill(1) has for it.
    pub fn signal(&self, signal: &str) {
        let killed = Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap();
        assert!(killed.success());
    }

    /// Interrupts it, and gives back what it has said on stderr.
    #[track_caller]
    pub fn interrupt(self) -> Vec<String> {
        self.signal("-INT");
        let (code, told, talk) = self.wait();
        assert_eq!((code, told), (Some(130), Vec::<String>::new()), "{talk:#?}");
        talk
    }

    /// Waits for its end: exit code, the lines that nobody took, and what it has said on stderr.
    #[track_caller]
    pub fn wait(mut self) -> (Option<i32>, Vec<String>, Vec<String>) {
        let (told, talk) = (self.stdout.rest(), self.stderr.rest());
        (self.process.0.wait().unwrap().code(), told, talk)
    }
}
