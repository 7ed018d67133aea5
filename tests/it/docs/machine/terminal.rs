//! A shell that runs the commands of a document one after the other.

use std::io::{Read as _, Write as _};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::support::Guarded;

/// Printed after every command, followed by its exit code.
const END: &str = "\u{1}ended";
/// Far longer than any command except a build takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A shell with combined output streams.
pub struct Terminal {
    input: ChildStdin,
    shown: Receiver<Vec<u8>>,
    screen: String,
    _process: Guarded,
}

/// The output and exit code of a command.
pub struct Outcome {
    pub code: i32,
    pub shown: String,
}

impl Terminal {
    /// Starts the command `bash` as the shell.
    pub fn open(mut bash: Command) -> Self {
        let mut process = Guarded(bash.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
        let (input, mut output) = (process.0.stdin.take().unwrap(), process.0.stdout.take().unwrap());
        let (sender, shown) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                if sender.send(bytes[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        let mut terminal = Self { input, shown, screen: String::new(), _process: process };
        terminal.write("exec 2>&1\n");
        terminal
    }

    /// Runs a command.
    #[track_caller]
    pub fn run(&mut self, command: &str) -> Outcome {
        self.run_within(PATIENCE, command)
    }

    /// As [`Self::run`], with another timeout.
    #[track_caller]
    pub fn run_within(&mut self, timeout: Duration, command: &str) -> Outcome {
        self.type_in(command);
        self.await_on_screen(timeout, command, |screen| screen.contains(END) && screen.ends_with('\n'));
        let (shown, code) = self.screen.split_once(END).unwrap();
        let outcome = Outcome { code: code.trim().parse().unwrap(), shown: shown.to_owned() };
        self.screen.clear();
        outcome
    }

    /// Types a command and does not wait for it.
    pub fn type_in(&mut self, command: &str) {
        self.write(&format!("{{ {command}\n}} </dev/null; printf '{END} %s\\n' $?\n"));
    }

    /// Waits until the output `matches`.
    #[track_caller]
    pub fn await_on_screen(&mut self, timeout: Duration, what: &str, matches: impl Fn(&str) -> bool) {
        while !matches(&self.screen) {
            let bytes = self.shown.recv_timeout(timeout);
            let bytes = bytes.unwrap_or_else(|error| panic!("{what}: {error}; it showed\n{}", self.screen));
            self.screen.push_str(&String::from_utf8_lossy(&bytes));
        }
    }

    fn write(&mut self, text: &str) {
        self.input.write_all(text.as_bytes()).unwrap();
    }
}
