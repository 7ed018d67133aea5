//! The errors of providers, and whether a retry may help.

use std::time::Duration;

use crate::claims;
use crate::redaction::redact;
use crate::remedy::ErrorKind;
use crate::secret::InputError;

/// The longest foreign message that is kept, in characters.
const MAX_MESSAGE: usize = 300;

/// An error of a provider. Foreign messages are cut to one line, and everything that looks like a token is removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The provider failed temporarily.
    #[error("{provider} issued no token: {message}")]
    Transient {
        /// The provider.
        provider: String,
        /// The provider's message.
        message: String,
    },
    /// The provider failed permanently.
    #[error("{provider} no longer issues tokens: {message}")]
    Permanent {
        /// The provider.
        provider: String,
        /// The provider's message.
        message: String,
    },
    /// The provider has one token and cannot get another.
    #[error("{provider} has only one token and cannot get another")]
    NotRefreshable {
        /// The provider.
        provider: String,
    },
    /// A ChatGPT document needs an account id, which a bare bearer token does not have.
    #[error("a ChatGPT login needs an account id, but the provider issued only a bearer token")]
    NoAccount,
    /// A ChatGPT document needs a JWT.
    #[error("the access token of a ChatGPT login must be a JWT: {0}")]
    NotAJwt(#[source] claims::Error),
    /// The command could not be started.
    #[error("cannot start {program}: {source}; see auth.command of the model provider in config.toml")]
    NotStarted {
        /// The program, as in the configuration.
        program: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The output of the command could not be read.
    #[error("cannot read the output of {program}: {source}")]
    OutputUnreadable {
        /// The program.
        program: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The command exceeded its time limit and was killed with its process group.
    #[error("{program} printed no token within {} ms and was killed{}", .limit.as_millis(), stderr_suffix(stderr))]
    TimedOut {
        /// The program.
        program: String,
        /// The time limit.
        limit: Duration,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// The command failed.
    #[error("{program} failed with {status}{}", stderr_suffix(stderr))]
    Failed {
        /// The program.
        program: String,
        /// The exit status.
        status: String,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// The command did not print exactly one token.
    #[error("{program} did not print a token: {problem}{}", stderr_suffix(stderr))]
    NotAToken {
        /// The program.
        program: String,
        /// What is wrong with its output.
        problem: InputError,
        /// What it wrote to standard error.
        stderr: String,
    },
}

/// Whether a retry may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there are only two cases")]
pub enum Persistence {
    /// A retry cannot help; the manager does not call the provider again.
    Permanent,
    /// A retry may help.
    Transient,
}

impl Error {
    /// Creates the error of a provider that failed temporarily.
    #[must_use]
    pub fn transient(provider: impl Into<String>, message: &str) -> Self {
        Self::Transient { provider: provider.into(), message: redact(message, MAX_MESSAGE) }
    }

    /// Creates the error of a provider that failed permanently.
    #[must_use]
    pub fn permanent(provider: impl Into<String>, message: &str) -> Self {
        Self::Permanent { provider: provider.into(), message: redact(message, MAX_MESSAGE) }
    }

    /// Returns whether a retry may help.
    #[must_use]
    pub fn persistence(&self) -> Persistence {
        match self {
            Self::NoAccount
            | Self::NotAJwt(_)
            | Self::NotRefreshable { .. }
            | Self::NotStarted { .. }
            | Self::Permanent { .. } => Persistence::Permanent,
            _ => Persistence::Transient,
        }
    }

    /// Returns what the receiver should do about the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Failed { .. }
            | Self::TimedOut { .. }
            | Self::Transient { .. }
            | Self::OutputUnreadable { .. } => ErrorKind::TryAgain,
            _ => ErrorKind::Failed,
        }
    }
}

/// Returns what a command wrote to standard error, shortened and redacted for a message.
pub(super) fn redacted_stderr(bytes: &[u8]) -> String {
    redact(&String::from_utf8_lossy(bytes), MAX_MESSAGE)
}

fn stderr_suffix(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!("; stderr: {stderr}") }
}
