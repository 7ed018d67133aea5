//! `codex sync run` as a process: its log by line, its signals and its end.

use std::process::Command;

use crate::manager::world::World;
use crate::support::{Guarded, Lines, Run};

/// What a keeper says when it is the one.
pub const AT_WORK: &str = "keeping the login fresh";
/// What one says who waits for its turn.
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

    /// Starts the keeper of `world`, and waits until it is at work.
    #[track_caller]
    pub fn of(world: &World<'_>) -> Self {
        let keeper = Self::start(world.codex(["sync", "run"]));
        keeper.until(AT_WORK);
        keeper
    }

    /// Waits until its log says `words`, and gives back all lines up to then.
    #[track_caller]
    pub fn until(&self, words: &str) -> Vec<String> {
        self.log.until(|line| line.contains(words))
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// Sends it a signal, by the name that kill(1) has for it.
    pub fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap().success());
    }

    /// Waits for its end: the exit code, and the rest of its log.
    #[track_caller]
    pub fn ended(mut self) -> (Option<i32>, Vec<String>) {
        let rest = self.log.rest();
        (self.process.0.wait().unwrap().code(), rest)
    }
}
