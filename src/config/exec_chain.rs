//! What a program needs to hand a command line on to the next program of its name; read without judging anything.

use std::ffi::OsString;
use std::fmt::Display;

use super::environment::{PATH, VISITED};

/// A command line never goes on for longer than this through programs that start one another; it goes in circles.
const FURTHEST: u32 = 16;

/// In the place of a process id, where that of a child is not known before it starts.
const ANY: u32 = 0;

/// The way of a command line through programs of one name.
///
/// Programs that replace one another, as by `exec`, are one process, and each is passed through once. A program that is
/// started by one of them, as by an agent at work, begins anew; only how deep that goes is remembered.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ExecChain {
    /// The search path for programs.
    pub path: OsString,
    /// What was passed through in this very process, as the caller names it.
    pub visited: Vec<String>,
    depth: u32,
}

impl ExecChain {
    /// The variable that [`Self::onward`] is for.
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
            (Some(id), Some(depth)) if id == process || id == ANY => {
                Self { path, visited: words.map(str::to_owned).collect(), depth }
            }
            (Some(_), Some(depth)) => Self { path, visited: Vec::new(), depth: depth.saturating_add(1) },
            _ => Self { path, visited: Vec::new(), depth: 0 },
        }
    }

    /// Whether programs start one another without end.
    #[must_use]
    pub fn goes_in_circles(&self) -> bool {
        self.depth > FURTHEST
    }

    /// What the next program finds in [`Self::VARIABLE`] when this one, `visited`, is replaced by it.
    #[must_use]
    pub fn onward(&self, visited: impl Display) -> String {
        self.told(std::process::id(), self.depth, visited)
    }

    /// What the next program finds there when this one, `visited`, starts it as a child that stands for it.
    #[must_use]
    pub fn downward(&self, visited: impl Display) -> String {
        self.told(ANY, self.depth.saturating_add(1), visited)
    }

    fn told(&self, process: u32, depth: u32, visited: impl Display) -> String {
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
    fn one_process_is_one_way_and_another_process_begins_anew() {
        let first = read("", 7);
        assert!(first.visited.is_empty() && !first.goes_in_circles());
        let second = read(&first.onward("1:2"), std::process::id());
        assert_eq!(second.visited, ["1:2"]);
        let third = read(&second.onward("1:3"), std::process::id());
        assert_eq!(third.visited, ["1:2", "1:3"]);
        let child = read(&second.onward("1:3"), 0);
        assert!(child.visited.is_empty() && child.depth == 1);
    }

    #[test]
    fn programs_that_start_one_another_are_stopped() {
        let mut passage = read("", 0);
        for _ in 0..=FURTHEST {
            assert!(!passage.goes_in_circles());
            passage = read(&passage.onward("1:2"), 0);
        }
        assert!(passage.goes_in_circles());
        for strange in ["x", "1", "1 x", "-1 2", " "] {
            let passage = read(strange, 1);
            assert!(passage.visited.is_empty() && passage.depth == 0, "{strange:?}");
        }
    }
}
