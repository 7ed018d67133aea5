//! The errors and warnings of parsing a document.

use crate::claims;
use crate::redaction::printable;

/// A fault that does not keep a document from loading.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentWarning {
    /// The mode is unknown, perhaps of a newer Codex.
    #[error("auth_mode \"{}\" is not known to this version; Codex 0.169 cannot read the login", printable(.0, 40))]
    UnknownMode(String),
    /// The `id_token` cannot be decoded.
    #[error("the id_token cannot be decoded ({0}); Codex 0.169 cannot read the login")]
    IdToken(#[source] claims::Error),
    /// A field that Codex requires is missing.
    #[error("{0} is missing; Codex 0.169 cannot read the login")]
    Missing(&'static str),
    /// `tokens.oauth_provenance` does not have both fields.
    #[error(
        "tokens.oauth_provenance does not have the strings issuer and client_id; Codex 0.169 cannot read the login"
    )]
    Provenance,
    /// `last_refresh` is not an RFC 3339 time.
    #[error("last_refresh is not an RFC 3339 time; Codex 0.169 cannot read the login")]
    LastRefresh,
}

/// Why bytes are not a document. The message contains nothing of the bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no text.
    #[error("it is empty")]
    Empty,
    /// The text is not plain UTF-8.
    #[error("it {what}")]
    Encoding {
        /// What is wrong with the bytes.
        what: &'static str,
    },
    /// The text is a list, a string or another value of JSON.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// The text is not JSON, or has a duplicate key.
    #[error("it is not valid JSON")]
    Json(#[source] JsonError),
    /// A known field has the wrong type.
    #[error("{name} must be {expected}")]
    Field {
        /// The path of the field.
        name: &'static str,
        /// The required type.
        expected: &'static str,
    },
}

/// An error of the JSON parser, with line and column.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct JsonError(serde_json::Error);

impl JsonError {
    pub(super) fn new(error: serde_json::Error) -> Self {
        Self(error)
    }
}
