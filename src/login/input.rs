//! A credential as a person pastes or pipes it.

use crate::secret::Secret;

/// A credential is a few kilobytes; what is pasted beyond this is something else.
pub const INPUT_LIMIT: usize = 64 * 1024;

/// Takes a credential as a person pastes or pipes it: white space around it is trimmed.
///
/// # Errors
/// [`InputError`]; none of the input is in it.
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

/// Why an input is no credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// Control characters, as of a terminal's escape sequences.
    #[error("there are control characters in it")]
    Control,
    /// Nothing, or only white space.
    #[error("it is empty")]
    Empty,
    /// Not UTF-8.
    #[error("it is not UTF-8")]
    Encoding,
    /// More than [`INPUT_LIMIT`].
    #[error("it is longer than 64 KiB")]
    TooLong,
    /// Several words or lines.
    #[error("there is white space inside it")]
    WhiteSpace,
}
