//! A step of a transaction at which the program stands still while a test meddles.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::Run;

/// Only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// One step, for one run.
pub struct Pause {
    step: String,
    folder: tempfile::TempDir,
}

impl Pause {
    /// At this step; the names are those of the table in `tests/it/README.md`.
    pub fn at(step: &str) -> Self {
        let pause = Self { step: step.to_owned(), folder: tempfile::tempdir().unwrap() };
        assert!(Command::new("mkfifo").arg(pause.fifo()).status().unwrap().success());
        pause
    }

    /// `run`, which will stand still there.
    pub fn apply_to(&self, run: Run) -> Run {
        run.env("CODEX_AUTH_FAILPOINT", self.failpoint())
    }

    /// The variable that has a process stand still there, as `env(1)` takes it.
    pub fn variable(&self) -> String {
        format!("CODEX_AUTH_FAILPOINT={}", self.failpoint())
    }

    fn failpoint(&self) -> String {
        format!("{}=wait:{}", self.step, self.fifo().display())
    }

    /// Waits until the program stands there. It goes on when what this gives back is dropped.
    pub fn wait(&self) -> File {
        let (tell, told) = channel();
        let fifo = self.fifo();
        // Opening it waits for the other end, for ever if need be.
        thread::spawn(move || tell.send(File::options().write(true).open(fifo)));
        told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("nobody came to {}", self.step)).unwrap()
    }

    fn fifo(&self) -> PathBuf {
        self.folder.path().join("fifo")
    }
}
