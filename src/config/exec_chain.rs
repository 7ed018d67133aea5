//! Detects loops when a command line is passed on to the next program called `codex`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Display;

use jiff::Timestamp;

use super::variables::{PASS, PATH, VISITED};

/// The greatest depth of programs that start one another; beyond it we assume a loop.
const MAX_DEPTH: u32 = 16;

/// Milliseconds after which an entry no longer counts: agents start one another, and a daemon keeps the variable.
const MAX_AGE: i64 = 10_000;

/// Separates the programs that this process has visited, those that its ancestors have visited, and those that it skips.
const SEPARATOR: &str = "-";

/// The programs called `codex` that a command line has been passed through.
///
/// Programs that replace one another by `exec` are one process, and each is visited once. A program that one of them
/// starts as a child, for example an agent, may visit them all again, until the depth shows a loop: a script that starts
/// this program as a child, for example. Then those that its ancestors have visited are skipped too, which leads to the
/// program behind the script. Entries older than 10 seconds are dropped.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ExecChain {
    /// The search path for programs.
    pub path: OsString,
    /// The programs that were visited in this process, as the caller identifies them.
    pub visited: Vec<String>,
    /// Whether every command line is to be passed on.
    pub pass_on: bool,
    /// The programs that the ancestors of this process have visited, itself included.
    ancestors: BTreeSet<String>,
    /// The programs that this process and its descendants skip.
    skipped: BTreeSet<String>,
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
        let words: Vec<_> = words.collect();
        let mut sections = words.split(|word| *word == SEPARATOR);
        let mut section = || sections.next().unwrap_or_default().iter().map(|word| (*word).to_owned());
        // A process id can be that of a process that has ended since.
        let visited: Vec<_> = section().filter(|_| is_recent(last) && id == process).collect();
        if !is_recent(first) {
            return Self { visited, ..start };
        }
        let (ancestors, skipped) = (section().collect(), section().collect());
        let depth = if id == process { depth } else { depth.saturating_add(1) };
        Self { visited, ancestors, skipped, depth, first: Some(first), ..start }
    }

    /// Returns whether programs probably start one another in a loop.
    #[must_use]
    pub fn is_too_deep(&self) -> bool {
        self.depth > MAX_DEPTH
    }

    /// Returns whether this process has visited the program, or an ancestor if they start one another in a loop.
    #[must_use]
    pub fn is_skipped(&self, program: impl Display) -> bool {
        let program = program.to_string();
        self.visited.contains(&program)
            || self.skipped.contains(&program)
            || (self.is_too_deep() && self.ancestors.contains(&program))
    }

    /// Returns the value of [`Self::VARIABLE`] for a program that replaces this one by `exec`. `visited` are both of
    /// them: a script that starts this program again is not started twice.
    #[must_use]
    pub fn variable_for_exec(&self, visited: impl IntoIterator<Item = impl Display>) -> String {
        if self.is_too_deep() {
            // The next program is the one behind the loop. What it starts goes there at once.
            let out = Self { skipped: self.ancestors.clone(), ..Self::default() };
            return out.value([""; 0]);
        }
        self.value(visited)
    }

    /// Returns the value of [`Self::VARIABLE`] for a program that this one starts as a child in its place. The child and
    /// all that it starts skip `skipped`, and what this process has visited.
    #[must_use]
    pub fn variable_for_child(&self, skipped: impl IntoIterator<Item = impl Display>) -> String {
        let mut chain = self.clone();
        chain.skipped.extend(chain.visited.drain(..));
        chain.skipped.extend(skipped.into_iter().map(|program| program.to_string()));
        chain.value([""; 0])
    }

    fn value(&self, visited: impl IntoIterator<Item = impl Display>) -> String {
        let now = Timestamp::now().as_millisecond();
        let visited: Vec<_> = self
            .visited
            .iter()
            .cloned()
            .chain(visited.into_iter().map(|program| program.to_string()))
            .collect();
        let mut words = vec![std::process::id().to_string(), self.depth.to_string()];
        words.extend([self.first.unwrap_or(now), now].map(|time| time.to_string()));
        words.extend(visited.iter().cloned());
        words.push(SEPARATOR.to_owned());
        words.extend(visited.into_iter().chain(self.ancestors.iter().cloned()).collect::<BTreeSet<_>>());
        words.push(SEPARATOR.to_owned());
        words.extend(self.skipped.iter().cloned());
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
        assert!(child.visited.is_empty() && child.depth == 1 && !child.is_skipped("1:3"));
        let stands_in = read(&second.variable_for_child(["1:3"]), 0);
        assert!(["1:2", "1:3", "1:4"].iter().all(|program| stands_in.is_skipped(program)));
        assert_eq!(stands_in.depth, 1);
    }

    #[test]
    fn a_loop_of_child_processes_leads_to_the_program_behind_it() {
        let mut chain = read("", 0);
        while !chain.is_too_deep() {
            assert!(!chain.is_skipped("1:2"));
            chain = read(&chain.variable_for_exec(["1:1", "1:2"]), 0);
        }
        assert_eq!(["1:1", "1:2", "1:3"].map(|program| chain.is_skipped(program)), [true, true, false]);
        // What the program behind it starts, and so on, is not too deep, and goes there too.
        let inner = read(&chain.variable_for_exec(["1:1", "1:3"]), 0);
        for inner in [&inner, &read(&inner.variable_for_exec(["1:1", "1:3"]), 0)] {
            assert_eq!(["1:1", "1:2", "1:3"].map(|program| inner.is_skipped(program)), [true, true, false]);
            assert!(!inner.is_too_deep());
        }
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
