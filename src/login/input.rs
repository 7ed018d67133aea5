//! Validates a credential that a user pastes or pipes in.

use crate::secret::Secret;

/// The maximum length of a credential in bytes; real ones have a few kilobytes.
pub const INPUT_LIMIT: usize = 64 * 1024;

/// Validates a credential that a user pastes or pipes in, and trims white space around it.
///
/// # Errors
/// [`InputError`]; it quotes nothing of the input.
pub fn credential_from_input(input: &[u8]) -> Result<Secret, InputError> {
    if input.len() > INPUT_LIMIT {
        return Err(InputError::TooLong);
    }
    let text = std::str::from_utf8(input).map_err(|_| InputError::Encoding)?.trim();
    if text.is_empty() {
        return Err(InputError::Empty);
    }
    if text.contains(char::is_whitespace) {
        return Err(InputError::WhiteSpace);
    }
    if text.contains(char::is_control) {
        return Err(InputError::Control);
    }
    Ok(Secret::from(text))
}

/// Why an input is not a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// It contains control characters, such as a terminal's escape sequences.
    #[error("it contains control characters")]
    Control,
    /// It is empty or white space only.
    #[error("it is empty")]
    Empty,
    /// It is not UTF-8.
    #[error("it is not UTF-8")]
    Encoding,
    /// It is longer than [`INPUT_LIMIT`].
    #[error("it is longer than 64 KiB")]
    TooLong,
    /// It has several words or lines.
    #[error("it contains white space")]
    WhiteSpace,
}
