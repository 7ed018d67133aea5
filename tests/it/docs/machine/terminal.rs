//! A shell that commands are typed into, one after the other, as a reader of a document types them.

use std::io::{Read as _, Write as _};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::support::Guarded;

/// Says that a command has ended, and how.
const END: &str = "\u{1}ended";
/// Far more than anything takes but a build.
const PATIENCE: Duration = Duration::from_secs(60);

/// A shell whose two output streams are one.
pub struct Terminal {
    input: ChildStdin,
    shown: Receiver<Vec<u8>>,
    screen: String,
    _process: Guarded,
}

/// What became of a command.
pub struct Outcome {
    pub code: i32,
    pub shown: String,
}

impl Terminal {
    /// Opens one by the command line of a `bash`.
    pub fn open(mut bash: Command) -> Self {
        let mut process = Guarded(bash.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
        let (input, mut output) = (process.0.stdin.take().unwrap(), process.0.stdout.take().unwrap());
        let (tell, shown) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                if tell.send(bytes[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        let mut terminal = Self { input, shown, screen: String::new(), _process: process };
        terminal.write("exec 2>&1\n");
        terminal
    }

    /// Types a command and waits for its end.
    #[track_caller]
    pub fn run(&mut self, command: &str) -> Outcome {
        self.run_within(PATIENCE, command)
    }

    /// The same for one that may take longer.
    #[track_caller]
    pub fn run_within(&mut self, patience: Duration, command: &str) -> Outcome {
        self.type_in(command);
        self.await_on_screen(patience, command, |screen| screen.contains(END) && screen.ends_with('\n'));
        let (shown, code) = self.screen.split_once(END).unwrap();
        let outcome = Outcome { code: code.trim().parse().unwrap(), shown: shown.to_owned() };
        self.screen.clear();
        outcome
    }

    /// Types a command and goes on.
    pub fn type_in(&mut self, command: &str) {
        self.write(&format!("{{ {command}\n}} </dev/null; printf '{END} %s\\n' $?\n"));
    }

    /// Waits until the screen is as it should be.
    #[track_caller]
    pub fn await_on_screen(&mut self, patience: Duration, what: &str, is_it: impl Fn(&str) -> bool) {
        while !is_it(&self.screen) {
            let bytes = self.shown.recv_timeout(patience);
            let bytes = bytes.unwrap_or_else(|error| panic!("{what}: {error}; it showed\n{}", self.screen));
            self.screen.push_str(&String::from_utf8_lossy(&bytes));
        }
    }

    fn write(&mut self, text: &str) {
        self.input.write_all(text.as_bytes()).unwrap();
    }
}
