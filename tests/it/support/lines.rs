//! The output lines of another process, read with a timeout.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Far longer than any step takes on a loaded machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The output of a process, by line.
pub struct Lines(Receiver<String>);

impl Lines {
    /// Reads `output` on a thread until it ends.
    pub fn of(output: impl Read + Send + 'static) -> Self {
        let (sender, lines) = channel();
        thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
        });
        Self(lines)
    }

    /// The next line; `None` at the end of the output.
    #[track_caller]
    pub fn next(&self) -> Option<String> {
        match self.0.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line within {PATIENCE:?}"),
        }
    }

    /// Waits for a line that `matches`, and returns it with those before it.
    #[track_caller]
    pub fn until(&self, matches: impl Fn(&str) -> bool) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let Some(line) = self.next() else { panic!("the output ended after {seen:#?}") };
            let found = matches(&line);
            seen.push(line);
            if found {
                return seen;
            }
        }
    }

    /// Waits for the end of the output and returns all remaining lines.
    #[track_caller]
    pub fn rest(&self) -> Vec<String> {
        std::iter::from_fn(|| self.next()).collect()
    }
}
