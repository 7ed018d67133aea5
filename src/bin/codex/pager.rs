//! Shows a long text in the user's pager, as git does.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use codex_auth::Environment;
use codex_auth::config::TerminalKind;

use crate::output::Output;

/// The pager without `PAGER`, with the options that git gives it: it ends if the text fits on one screen.
const DEFAULT: &str = "less -FRX";

/// Shows `text` in the pager, or prints it if there is none or the terminal is dumb.
pub(crate) fn show(text: &str, environment: &Environment, output: &Output) -> io::Result<()> {
    let pager = environment.pager.as_deref().and_then(|pager| pager.to_str()).unwrap_or(DEFAULT);
    let pager = if pager == "less" { DEFAULT } else { pager };
    if text.is_empty() {
        return Ok(());
    }
    if pager == "cat" || environment.terminal.kind == TerminalKind::Plain {
        return output.data(text);
    }
    // A shell, because PAGER may have options.
    let started = Command::new("sh").arg("-c").arg(pager).stdin(Stdio::piped()).spawn();
    let Ok(mut child) = started else { return output.data(text) };
    if let Some(mut input) = child.stdin.take() {
        // The user may leave the pager before the end.
        let _ = writeln!(input, "{}", output.for_stdout(text));
    }
    match child.wait() {
        // The shell did not find it.
        Ok(status) if status.code() == Some(127) => output.data(text),
        outcome => outcome.map(drop),
    }
}
