//! `codex sync run` as a process: its log lines, signals and exit code.

use std::process::Command;

use crate::manager::world::World;
use crate::support::{Guarded, Lines, Run};

/// A keeper logs this when it holds the lock.
pub const AT_WORK: &str = "keeping the login fresh";
/// A standby logs this.
pub const STANDING_BY: &str = "standing by for";

/// A keeper; killed on drop.
pub struct Process {
    process: Guarded,
    log: Lines,
}

impl Process {
    /// Starts `run`, a `codex sync run`.
    pub fn start(run: Run) -> Self {
        let mut child = run.start();
        let log = Lines::of(child.stderr.take().unwrap());
        Self { process: Guarded(child), log }
    }

    /// Starts the keeper of `world`, and waits until it holds the lock.
    #[track_caller]
    pub fn of(world: &World<'_>) -> Self {
        let keeper = Self::start(world.codex(["sync", "run"]));
        keeper.until(AT_WORK);
        keeper
    }

    /// Waits until its log contains `words`, and returns all lines until then.
    #[track_caller]
    pub fn until(&self, words: &str) -> Vec<String> {
        self.log.until(|line| line.contains(words))
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// Sends it a signal, named as for kill(1).
    pub fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap().success());
    }

    /// Waits until it exits, and returns the exit code and the rest of its log.
    #[track_caller]
    pub fn wait(mut self) -> (Option<i32>, Vec<String>) {
        let rest = self.log.rest();
        (self.process.0.wait().unwrap().code(), rest)
    }
}
