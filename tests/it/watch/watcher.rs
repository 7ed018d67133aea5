//! Runs `codex watch --json` as another process and reads its events.

use std::process::Command;

use serde_json::Value;

use crate::support::{Guarded, Lines, Run};

/// The command that starts a process in a user namespace with this limit.
// Linux: inotify.
#[cfg(target_os = "linux")]
macro_rules! limited {
    ($limit:literal, $value:literal) => {
        [
            "unshare",
            "--user",
            "--map-current-user",
            "--keep-caps",
            "sh",
            "-euc",
            concat!("echo ", $value, " >/proc/sys/user/", $limit, "; exec \"$0\" \"$@\""),
        ]
    };
}

/// How a process notices changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchMode {
    /// By events of the system.
    Native,
    /// By polling, because the limit on inotify instances is zero.
    // Linux: inotify.
    #[cfg(target_os = "linux")]
    Polling,
    /// By polling, because the limit on inotify watches is below the number of folders.
    // Linux: inotify.
    #[cfg(target_os = "linux")]
    FewWatches,
}

impl WatchMode {
    /// Returns the command that a process is started through for this mode.
    pub fn wrapper(self) -> &'static [&'static str] {
        match self {
            Self::Native => &["env"],
            // The limit of a new user namespace, which no other process is in.
            // Linux: inotify.
            #[cfg(target_os = "linux")]
            Self::Polling => &limited!("max_inotify_instances", "0"),
            // Linux: inotify.
            #[cfg(target_os = "linux")]
            Self::FewWatches => &limited!("max_inotify_watches", "1"),
        }
    }
}

/// A running `codex watch --json`, killed on drop.
pub struct Watcher {
    process: Guarded,
    stdout: Lines,
    stderr: Lines,
}

impl Watcher {
    /// Starts `run`, a `codex watch --json`, and returns it with its first event.
    pub fn start(run: Run, mode: WatchMode) -> (Self, Value) {
        let mut child = run.through(mode.wrapper().iter().copied()).start();
        let output = Lines::of(child.stdout.take().unwrap());
        let stderr = Lines::of(child.stderr.take().unwrap());
        let watcher = Self { process: Guarded(child), stdout: output, stderr };
        let first = watcher.next_event();
        assert_eq!(first["event"], "present", "{first}");
        (watcher, first)
    }

    /// Waits for the next event.
    #[track_caller]
    pub fn next_event(&self) -> Value {
        let line = self.stdout.next().expect("the program is running");
        serde_json::from_str(&line).unwrap()
    }

    /// Waits for the next event, checks that it is `event`, and returns it.
    #[track_caller]
    pub fn expect_event(&self, event: &str) -> Value {
        let output = self.next_event();
        assert_eq!(output["event"], event, "{output}");
        output
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// Sends a signal, given as an option of kill(1).
    pub fn signal(&self, signal: &str) {
        let killed = Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap();
        assert!(killed.success());
    }

    /// Interrupts the program and returns its lines on stderr.
    #[track_caller]
    pub fn interrupt(self) -> Vec<String> {
        self.signal("-INT");
        let (code, output, stderr) = self.wait();
        assert_eq!((code, output), (Some(130), Vec::<String>::new()), "{stderr:#?}");
        stderr
    }

    /// Waits for its end and returns the exit code and the remaining lines on stdout and stderr.
    #[track_caller]
    pub fn wait(mut self) -> (Option<i32>, Vec<String>, Vec<String>) {
        let (output, stderr) = (self.stdout.rest(), self.stderr.rest());
        (self.process.0.wait().unwrap().code(), output, stderr)
    }
}
