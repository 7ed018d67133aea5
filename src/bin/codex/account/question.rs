//! Questions on a terminal before a login that other programs use is changed.

use std::io::{self, BufRead as _, IsTerminal as _};

use codex_auth::diagnosis::CodexProcess;

use crate::error::{CommandError, CommandOutcome, Exit};
use crate::output::Output;

/// Returns whether a person can answer a question.
pub(super) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks `question` on a terminal while `others` use the active login; `effect` says what happens to them.
pub(super) fn confirm(
    others: &[CodexProcess],
    effect: &str,
    question: &str,
    output: &Output,
) -> CommandOutcome {
    if others.is_empty() || !can_ask() {
        return Ok(());
    }
    output.say(&format!("Codex is running with the active login ({})", pids(others)));
    output.say(effect);
    ask(question, output)
}

/// Asks `question`; any answer but yes is an error.
pub(super) fn ask(question: &str, output: &Output) -> CommandOutcome {
    output.say(&format!("{question} [y/N]"));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match ["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
        true => Ok(()),
        false => Err(CommandError::new(Exit::Failed, "nothing was changed: not confirmed")),
    }
}

/// Returns the process ids of programs, for a message.
pub(super) fn pids(programs: &[CodexProcess]) -> String {
    let pids: Vec<_> = programs.iter().map(|program| program.pid.to_string()).collect();
    format!("pid {}", pids.join(", "))
}
