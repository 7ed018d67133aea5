//! A helper process of a test: this test program again, running the one test.
//!
//! Such a test checks its [`role`] first; the helper process performs it and returns. Both exchange words, one per
//! line, and the end of its standard input is the last signal that the helper gets.

use std::io::Write as _;
use std::process::{ChildStdin, Command, Stdio};

use super::program::Guarded;
use super::{Lines, TestHome};

const ROLE: &str = "TEST_PART";

/// The role of this process; `None` in the test's own process.
pub fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// Sends a word to the test.
pub fn report(word: &str) {
    println!("@{word}");
}

/// Waits for a word of the test, or for the end of the input.
pub fn wait_for_input() {
    read_word();
}

/// The next word of the test; `None` at the end of the input.
pub fn read_word() -> Option<String> {
    std::io::stdin().lines().next().map(Result::unwrap)
}

/// A helper process; killed on drop.
pub struct HelperProcess {
    process: Guarded,
    input: Option<ChildStdin>,
    words: Lines,
}

impl HelperProcess {
    /// Starts a helper process for `role` of `test` in `home`.
    pub fn start(test: &str, role: &str, home: &TestHome) -> Self {
        Self::start_through(&["env"], test, role, home)
    }

    /// As [`Self::start`], by the program of the command line `wrapper`.
    pub fn start_through(wrapper: &[&str], test: &str, role: &str, home: &TestHome) -> Self {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(std::env::current_exe().unwrap());
        command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
        command.envs(home.variables()).env(ROLE, role);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take();
        let words = Lines::of(child.stdout.take().unwrap());
        Self { process: Guarded(child), input, words }
    }

    /// Starts a helper process and waits for `word`.
    pub fn until(test: &str, role: &str, home: &TestHome, word: &str) -> Self {
        let mut helper = Self::start(test, role, home);
        helper.await_word(word);
        helper
    }

    /// Waits for `word`.
    #[track_caller]
    pub fn await_word(&mut self, word: &str) {
        let word = format!("@{word}");
        self.words.until(|line| line.contains(&word));
    }

    /// The next word that it sends.
    #[track_caller]
    pub fn next_word(&mut self) -> String {
        let seen = self.words.until(|line| line.contains('@'));
        seen.last().and_then(|line| line.split_once('@')).unwrap().1.to_owned()
    }

    /// The next word that it sends; `None` if it has exited.
    #[track_caller]
    pub fn next_word_or_end(&mut self) -> Option<String> {
        std::iter::from_fn(|| self.words.next()).find_map(|line| Some(line.split_once('@')?.1.to_owned()))
    }

    /// Sends it a word.
    pub fn send(&mut self, word: &str) {
        writeln!(self.input.as_mut().unwrap(), "{word}").unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// Sends it a signal, such as `-STOP`.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.pid().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Closes its input.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Closes its input and waits until it exits successfully.
    pub fn finish(mut self) {
        self.close_input();
        let rest = self.words.rest();
        assert!(self.process.0.wait().unwrap().success(), "{rest:#?}");
    }
}
