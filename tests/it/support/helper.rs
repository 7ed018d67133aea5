//! A part of a test that another process plays: this very program once more, for the one test.
//!
//! Such a test asks for its [`part`] first. The other process plays it and returns; words go both ways, a line each, and
//! the end of its standard input is the last cue that it gets.

use std::io::Write as _;
use std::process::{ChildStdin, Command, Stdio};

use super::program::Guarded;
use super::{Lines, TestHome};

const PART: &str = "TEST_PART";

/// The part that this process is to play; none in the test's own process.
pub fn part() -> Option<String> {
    std::env::var(PART).ok()
}

/// Tells the test something.
pub fn tell(word: &str) {
    println!("@{word}");
}

/// Waits for the test to give the cue, or to be gone.
pub fn await_cue() {
    hear();
}

/// The next word of the test; none when it has given its last cue.
pub fn hear() -> Option<String> {
    std::io::stdin().lines().next().map(Result::unwrap)
}

/// Another process that plays a part; killed on drop.
pub struct Actor {
    process: Guarded,
    cue: Option<ChildStdin>,
    words: Lines,
}

impl Actor {
    /// Starts a process that plays `part` of `test` in `home`.
    pub fn start(test: &str, part: &str, home: &TestHome) -> Self {
        Self::start_through(&["env"], test, part, home)
    }

    /// Starts one by another program: `way` is its command line, up to ours.
    pub fn start_through(way: &[&str], test: &str, part: &str, home: &TestHome) -> Self {
        let mut command = Command::new(way[0]);
        command.args(&way[1..]).arg(std::env::current_exe().unwrap());
        command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
        command.envs(home.variables()).env(PART, part);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let cue = child.stdin.take();
        let words = Lines::of(child.stdout.take().unwrap());
        Self { process: Guarded(child), cue, words }
    }

    /// Starts one and waits for its first word, which is `word`.
    pub fn until(test: &str, part: &str, home: &TestHome, word: &str) -> Self {
        let mut actor = Self::start(test, part, home);
        actor.await_word(word);
        actor
    }

    /// Waits until it says `word`.
    #[track_caller]
    pub fn await_word(&mut self, word: &str) {
        let word = format!("@{word}");
        self.words.until(|line| line.contains(&word));
    }

    /// What it says next.
    #[track_caller]
    pub fn next_word(&mut self) -> String {
        let seen = self.words.until(|line| line.contains('@'));
        seen.last().and_then(|line| line.split_once('@')).unwrap().1.to_owned()
    }

    /// What it says next; none where it has ended.
    #[track_caller]
    pub fn next_word_or_end(&mut self) -> Option<String> {
        std::iter::from_fn(|| self.words.next()).find_map(|line| Some(line.split_once('@')?.1.to_owned()))
    }

    /// Tells it something.
    pub fn say(&mut self, word: &str) {
        writeln!(self.cue.as_mut().unwrap(), "{word}").unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// Gives the cue.
    pub fn cue(&mut self) {
        self.cue = None;
    }

    /// Gives the cue and waits until it has played its part to the end.
    pub fn finish(mut self) {
        self.cue();
        let rest = self.words.rest();
        assert!(self.process.0.wait().unwrap().success(), "{rest:#?}");
    }
}
