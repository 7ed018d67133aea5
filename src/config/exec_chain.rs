//! Detects loops when a command line is passed on to the next program called `codex`.

use std::ffi::OsString;
use std::fmt::Display;

use super::variables::{PATH, VISITED};

/// The greatest depth of programs that start one another; beyond it we assume a loop.
const MAX_DEPTH: u32 = 16;

/// Replaces the process id of a child, which is unknown before the child starts.
const UNKNOWN_PROCESS: u32 = 0;

/// The programs called `codex` that a command line has been passed through.
///
/// Programs that replace one another by `exec` are one process, and each is visited once. A program that one of them
/// starts as a child, for example an agent, starts with an empty list; only the depth is inherited.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ExecChain {
    /// The search path for programs.
    pub path: OsString,
    /// The programs that were visited in this process, as the caller identifies them.
    pub visited: Vec<String>,
    depth: u32,
}

impl ExecChain {
    /// The variable that carries the chain to the next program.
    pub const VARIABLE: &str = VISITED.name;

    /// Reads the variables of this process.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "config reads the environment")]
    pub fn of_process() -> Self {
        Self::read(|name| std::env::var_os(name), std::process::id())
    }

    fn read(lookup: impl Fn(&str) -> Option<OsString>, process: u32) -> Self {
        let path = lookup(PATH.name).unwrap_or_default();
        let text = lookup(VISITED.name).and_then(|text| text.into_string().ok()).unwrap_or_default();
        let mut words = text.split(' ');
        let mut number = || words.next().and_then(|word| word.parse::<u32>().ok());
        match (number(), number()) {
            (Some(id), Some(depth)) if id == process || id == UNKNOWN_PROCESS => {
                Self { path, visited: words.map(str::to_owned).collect(), depth }
            }
            (Some(_), Some(depth)) => Self { path, visited: Vec::new(), depth: depth.saturating_add(1) },
            _ => Self { path, visited: Vec::new(), depth: 0 },
        }
    }

    /// Returns whether programs probably start one another in a loop.
    #[must_use]
    pub fn is_too_deep(&self) -> bool {
        self.depth > MAX_DEPTH
    }

    /// Returns the value of [`Self::VARIABLE`] for a program that replaces this one, `visited`, by `exec`.
    #[must_use]
    pub fn variable_for_exec(&self, visited: impl Display) -> String {
        self.variable_value(std::process::id(), self.depth, visited)
    }

    /// Returns the value of [`Self::VARIABLE`] for a program that this one, `visited`, starts as a child in its place.
    #[must_use]
    pub fn variable_for_child(&self, visited: impl Display) -> String {
        self.variable_value(UNKNOWN_PROCESS, self.depth.saturating_add(1), visited)
    }

    fn variable_value(&self, process: u32, depth: u32, visited: impl Display) -> String {
        let words = [process.to_string(), depth.to_string()];
        let visited = self.visited.iter().cloned().chain([visited.to_string()]);
        words.into_iter().chain(visited).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, process: u32) -> ExecChain {
        ExecChain::read(|name| (name == VISITED.name).then(|| text.into()), process)
    }

    #[test]
    fn one_process_is_one_chain_and_another_process_starts_a_new_one() {
        let first = read("", 7);
        assert!(first.visited.is_empty() && !first.is_too_deep());
        let second = read(&first.variable_for_exec("1:2"), std::process::id());
        assert_eq!(second.visited, ["1:2"]);
        let third = read(&second.variable_for_exec("1:3"), std::process::id());
        assert_eq!(third.visited, ["1:2", "1:3"]);
        let child = read(&second.variable_for_exec("1:3"), 0);
        assert!(child.visited.is_empty() && child.depth == 1);
    }

    #[test]
    fn a_loop_of_programs_is_detected() {
        let mut chain = read("", 0);
        for _ in 0..=MAX_DEPTH {
            assert!(!chain.is_too_deep());
            chain = read(&chain.variable_for_exec("1:2"), 0);
        }
        assert!(chain.is_too_deep());
        for invalid in ["x", "1", "1 x", "-1 2", " "] {
            let chain = read(invalid, 1);
            assert!(chain.visited.is_empty() && chain.depth == 0, "{invalid:?}");
        }
    }
}
