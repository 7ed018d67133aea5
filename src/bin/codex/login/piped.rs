//! A credential that is piped in.

use std::io::{self, IsTerminal as _, Read as _};

use codex_auth::Secret;
use codex_auth::secret::INPUT_LIMIT;
use zeroize::Zeroizing;

use crate::error::{CommandError, Exit};

/// Reads a credential from standard input. A terminal is refused: what is typed there is seen, and ends in its history.
pub(super) fn secret(what: &str, usage: &str) -> Result<Secret, CommandError> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(CommandError::new(
            Exit::Usage,
            format!("the {what} is read from a pipe, and standard input is a terminal"),
        )
        .hint(usage));
    }
    // One more than the limit tells a long input from one that just fits; a buffer that grew would leave copies.
    let mut input = Zeroizing::new(Vec::with_capacity(INPUT_LIMIT + 1));
    let read = stdin.lock().take(INPUT_LIMIT as u64 + 1).read_to_end(&mut input);
    read.map_err(|error| CommandError::new(Exit::Failed, format!("cannot read standard input: {error}")))?;
    Secret::from_input(&input).map_err(|error| {
        CommandError::new(Exit::Failed, format!("no {what} on standard input: {error}")).hint(usage)
    })
}
