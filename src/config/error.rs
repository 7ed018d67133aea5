//! Invalid settings.

use crate::redaction::is_plain_word;

/// An invalid setting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The value of a variable is not a duration.
    #[error("{name} must be a duration such as 5s, 500ms or 2m")]
    Duration {
        /// The variable.
        name: &'static str,
    },
    /// The value of a variable is not a log level.
    #[error("{name} must be one of error, warn, info, debug and trace")]
    LogLevel {
        /// The variable.
        name: &'static str,
    },
    /// The value of a variable is neither `on` nor `off`.
    #[error("{name} must be on or off")]
    Switch {
        /// The variable.
        name: &'static str,
    },
    /// `CODEX_AUTH_CONFIG` cannot be parsed.
    #[error("CODEX_AUTH_CONFIG is invalid: {0}")]
    Overrides(#[source] Box<Self>),
    /// The named model provider does not exist or has no token command.
    #[error("{}", no_provider(name, known))]
    NoProvider {
        /// The name.
        name: String,
        /// The providers that have a token command.
        known: Vec<String>,
    },
    /// A key of a model provider has an invalid value.
    #[error("{key} of the model provider must be {expected}")]
    Provider {
        /// The key, relative to the provider.
        key: &'static str,
        /// The required value.
        expected: &'static str,
    },
    /// The text is not TOML.
    #[error("line {line} is not valid TOML: {problem}")]
    Toml {
        /// The line number, from one.
        line: usize,
        /// The message of the parser, which does not quote the text.
        problem: String,
    },
    /// A key that concerns the login has an invalid value.
    #[error("{key} must be {expected}")]
    Key {
        /// The key.
        key: &'static str,
        /// The required value.
        expected: &'static str,
    },
}

/// Names the provider unless `name` may be a secret that was given by mistake.
fn no_provider(name: &str, known: &[String]) -> String {
    let (missing, table) = match is_plain_word(name) {
        true => (format!("no token command for the model provider '{name}'"), name),
        false => ("no token command for this model provider".to_owned(), "NAME"),
    };
    match known {
        [] => format!("{missing}: there is no [model_providers.{table}.auth]"),
        known => format!("{missing}; the providers with one are {}", known.join(", ")),
    }
}
