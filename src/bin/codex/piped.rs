//! Reads credentials from a pipe.

use std::io::{self, IsTerminal as _, Read as _};

use codex_auth::Secret;
use codex_auth::secret::INPUT_LIMIT;
use zeroize::Zeroizing;

use crate::error::{CommandError, Exit};

/// Reads a credential from standard input, which must not be a terminal: text typed there is visible and may be logged.
pub(crate) fn secret(what: &str, usage: &str) -> Result<Secret, CommandError> {
    let input = read(what, usage)?;
    parse(&input, what, usage)
}

/// A credential, and the one in the next line if there is one.
type TwoSecrets = (Secret, Result<Option<Secret>, CommandError>);

/// Reads a credential and that in the next line from standard input, which must not be a terminal.
pub(crate) fn two_secrets(what: &str, usage: &str) -> Result<TwoSecrets, CommandError> {
    let input = read(what, usage)?;
    let mut lines = input.trim_ascii().splitn(2, |byte| *byte == b'\n');
    let first = parse(lines.next().unwrap_or_default(), what, usage)?;
    let second = lines.next().filter(|rest| !rest.trim_ascii().is_empty());
    Ok((first, second.map(|rest| parse(rest, "password", usage)).transpose()))
}

fn read(what: &str, usage: &str) -> Result<Zeroizing<Vec<u8>>, CommandError> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(CommandError::new(
            Exit::Usage,
            format!("the {what} must come from a pipe, but standard input is a terminal"),
        )
        .hint(usage));
    }
    // One byte more than the limit shows that the input is too long. A buffer that grows would leave copies.
    let mut input = Zeroizing::new(Vec::with_capacity(INPUT_LIMIT + 1));
    let read = stdin.lock().take(INPUT_LIMIT as u64 + 1).read_to_end(&mut input);
    read.map_err(|error| CommandError::new(Exit::Failed, format!("cannot read standard input: {error}")))?;
    Ok(input)
}

fn parse(input: &[u8], what: &str, usage: &str) -> Result<Secret, CommandError> {
    Secret::from_input(input).map_err(|error| {
        CommandError::new(Exit::Failed, format!("no {what} on standard input: {error}")).hint(usage)
    })
}
