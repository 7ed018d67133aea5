//! A step of a transaction at which the program waits while a test acts.

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
    /// A pause at `step`; the table in `tests/it/README.md` lists the names.
    pub fn at(step: &str) -> Self {
        let pause = Self { step: step.to_owned(), folder: tempfile::tempdir().unwrap() };
        assert!(Command::new("mkfifo").arg(pause.fifo()).status().unwrap().success());
        pause
    }

    /// `run` with this pause.
    pub fn apply_to(&self, run: Run) -> Run {
        run.env("CODEX_AUTH_FAILPOINT", self.failpoint())
    }

    /// The environment variable for this pause, as an argument of `env(1)`.
    pub fn variable(&self) -> String {
        format!("CODEX_AUTH_FAILPOINT={}", self.failpoint())
    }

    fn failpoint(&self) -> String {
        format!("{}=wait:{}", self.step, self.fifo().display())
    }

    /// Waits until the program reaches the step. It continues when the returned file is dropped.
    pub fn wait(&self) -> File {
        let (sender, reached) = channel();
        let fifo = self.fifo();
        // Opening a FIFO blocks until the other end is opened.
        thread::spawn(move || sender.send(File::options().write(true).open(fifo)));
        reached.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no process reached {}", self.step)).unwrap()
    }

    fn fifo(&self) -> PathBuf {
        self.folder.path().join("fifo")
    }
}
