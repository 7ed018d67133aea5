//! The lines that another process prints, as they come, waited for no longer than is reasonable.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Far longer than anything takes on a loaded machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The output of a process, by line.
pub struct Lines(Receiver<String>);

impl Lines {
    /// The lines of `output`, read on a thread of their own until it ends.
    pub fn of(output: impl Read + Send + 'static) -> Self {
        let (tell, told) = channel();
        thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.take_while(|line| tell.send(line.clone()).is_ok()).for_each(drop);
        });
        Self(told)
    }

    /// The next line; none where the output has ended.
    #[track_caller]
    pub fn next(&self) -> Option<String> {
        match self.0.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line within {PATIENCE:?}"),
        }
    }

    /// Waits for the line that `is_it`, and gives it back with those before it.
    #[track_caller]
    pub fn until(&self, is_it: impl Fn(&str) -> bool) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let Some(line) = self.next() else { panic!("it ended after {seen:#?}") };
            let found = is_it(&line);
            seen.push(line);
            if found {
                return seen;
            }
        }
    }

    /// All that is left, once the output has ended.
    #[track_caller]
    pub fn rest(&self) -> Vec<String> {
        std::iter::from_fn(|| self.next()).collect()
    }
}
