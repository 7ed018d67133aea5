//! Detects loops when a command line is passed on to the next program called `codex`.

use std::ffi::OsString;
use std::fmt::Display;

use jiff::Timestamp;

use super::variables::{PASS, PATH, VISITED};

/// The greatest depth of programs that start one another; beyond it we assume a loop.
const MAX_DEPTH: u32 = 16;

/// Milliseconds after which an entry no longer counts: agents start one another, and a daemon keeps the variable.
const MAX_AGE: i64 = 10_000;

/// Replaces the process id of a child, which is unknown before the child starts.
const UNKNOWN_PROCESS: u32 = 0;

/// The programs called `codex` that a command line has been passed through.
///
/// Programs that replace one another by `exec` are one process, and each is visited once. A program that one of them
/// starts as a child, for example an agent, starts with an empty list; only the depth is inherited. Entries older than
/// 10 seconds are dropped.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ExecChain {
    /// The search path for programs.
    pub path: OsString,
    /// The programs that were visited in this process, as the caller identifies them.
    pub visited: Vec<String>,
    /// Whether every command line is to be passed on.
    pub pass_on: bool,
    depth: u32,
    /// When the first program of the loop was started, in milliseconds since 1970.
    first: Option<i64>,
}

impl ExecChain {
    /// The variable that carries the chain to the next program.
    pub const VARIABLE: &str = VISITED.name;
    /// The variable that makes the program pass every command line on.
    pub const PASS_VARIABLE: &str = PASS.name;

    /// Reads the variables of this process.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "config reads the environment")]
    pub fn of_process() -> Self {
        Self::read(|name| std::env::var_os(name), std::process::id(), Timestamp::now().as_millisecond())
    }

    fn read(lookup: impl Fn(&str) -> Option<OsString>, process: u32, now: i64) -> Self {
        let path = lookup(PATH.name).unwrap_or_default();
        let pass_on = lookup(PASS.name).is_some_and(|value| value == "1");
        let start = Self { path, pass_on, ..Self::default() };
        let text = lookup(VISITED.name).and_then(|text| text.into_string().ok()).unwrap_or_default();
        let mut words = text.split(' ');
        let (id, depth) = (words.next().and_then(number::<u32>), words.next().and_then(number::<u32>));
        let (first, last) = (words.next().and_then(number::<i64>), words.next().and_then(number::<i64>));
        let is_recent = |time: i64| (0..=MAX_AGE).contains(&now.saturating_sub(time));
        let (Some(id), Some(depth), Some(first), Some(last)) = (id, depth, first, last) else { return start };
        // A process id can be that of a process that has ended since.
        let visited = match is_recent(last) && (id == process || id == UNKNOWN_PROCESS) {
            true => words.map(str::to_owned).collect(),
            false => Vec::new(),
        };
        match is_recent(first) {
            false => Self { visited, ..start },
            true if id == process || id == UNKNOWN_PROCESS => {
                Self { visited, depth, first: Some(first), ..start }
            }
            true => Self { depth: depth.saturating_add(1), first: Some(first), ..start },
        }
    }

    /// Returns whether programs probably start one another in a loop.
    #[must_use]
    pub fn is_too_deep(&self) -> bool {
        self.depth > MAX_DEPTH
    }

    /// Returns the value of [`Self::VARIABLE`] for a program that replaces this one by `exec`. `visited` are both of
    /// them: a script that starts this program again is not started twice.
    #[must_use]
    pub fn variable_for_exec(&self, visited: impl IntoIterator<Item = impl Display>) -> String {
        self.variable_value(std::process::id(), self.depth, visited)
    }

    /// Returns the value of [`Self::VARIABLE`] for a program that this one, `visited`, starts as a child in its place.
    #[must_use]
    pub fn variable_for_child(&self, visited: impl Display) -> String {
        self.variable_value(UNKNOWN_PROCESS, self.depth.saturating_add(1), [visited])
    }

    fn variable_value(
        &self,
        process: u32,
        depth: u32,
        visited: impl IntoIterator<Item = impl Display>,
    ) -> String {
        let now = Timestamp::now().as_millisecond();
        let mut words = vec![process.to_string(), depth.to_string()];
        words.extend([self.first.unwrap_or(now), now].map(|time| time.to_string()));
        words.extend(self.visited.iter().cloned());
        words.extend(visited.into_iter().map(|id| id.to_string()));
        words.join(" ")
    }
}

fn number<T: std::str::FromStr>(word: &str) -> Option<T> {
    word.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_at(text: &str, process: u32, now: i64) -> ExecChain {
        ExecChain::read(|name| (name == VISITED.name).then(|| text.into()), process, now)
    }

    fn read(text: &str, process: u32) -> ExecChain {
        read_at(text, process, Timestamp::now().as_millisecond())
    }

    #[test]
    fn one_process_is_one_chain_and_another_process_starts_a_new_one() {
        let first = read("", 7);
        assert!(first.visited.is_empty() && !first.is_too_deep());
        let second = read(&first.variable_for_exec(["1:2", "1:4"]), std::process::id());
        assert_eq!(second.visited, ["1:2", "1:4"]);
        let third = read(&second.variable_for_exec(["1:3"]), std::process::id());
        assert_eq!(third.visited, ["1:2", "1:4", "1:3"]);
        let child = read(&second.variable_for_exec(["1:3"]), 0);
        assert!(child.visited.is_empty() && child.depth == 1);
        let stands_in = read(&second.variable_for_child("1:3"), 9);
        assert_eq!((stands_in.visited.len(), stands_in.depth), (3, 1));
    }

    #[test]
    fn a_loop_of_programs_is_detected() {
        let mut chain = read("", 0);
        for _ in 0..=MAX_DEPTH {
            assert!(!chain.is_too_deep());
            chain = read(&chain.variable_for_exec(["1:2"]), 0);
        }
        assert!(chain.is_too_deep());
        for invalid in ["x", "1", "1 x", "-1 2", " ", "1 16 0", "1 16 x 0"] {
            let chain = read(invalid, 1);
            assert!(chain.visited.is_empty() && chain.depth == 0, "{invalid:?}");
        }
    }

    #[test]
    fn old_entries_do_not_count() {
        let deep = |now| read_at("7 16 1000 1000 1:2", 8, now).is_too_deep();
        assert_eq!([999, 1_000, 11_000, 11_001].map(deep), [false, true, true, false]);
        let visited = |now| read_at("7 0 1000 9000 1:2", 7, now).visited.len();
        assert_eq!([9_000, 19_000, 19_001].map(visited), [1, 1, 0]);
    }
}
