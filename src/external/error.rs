//! Why a provider gave no token, and whether to ask it again.

use std::time::Duration;

use crate::claims;
use crate::redaction::shown;
use crate::remedy::ErrorKind;

/// The longest message of a stranger's that is kept, in characters.
const LONGEST: usize = 300;

/// Why a provider gave no token. No token is in it: what a stranger says is cut to a line, and what looks like a token is
/// taken out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It could not, and may be able to when it is asked again.
    #[error("{provider} gave no token: {message}")]
    Transient {
        /// The provider.
        provider: String,
        /// What it said.
        message: String,
    },
    /// It will not, until something is changed.
    #[error("{provider} gives no token any more: {message}")]
    Permanent {
        /// The provider.
        provider: String,
        /// What it said.
        message: String,
    },
    /// It has one token and no way to get another.
    #[error("{provider} has one token only, and no way to get another")]
    NotRefreshable {
        /// The provider.
        provider: String,
    },
    /// A ChatGPT document cannot be made of a bare bearer token.
    #[error("a ChatGPT login needs the account id of its token, and the provider gave a bare bearer token")]
    NoAccount,
    /// A ChatGPT token says whose it is.
    #[error("the access token of a ChatGPT login must be a JWT: {0}")]
    NotAJwt(#[source] claims::Error),
    /// The command is not there, or may not be run.
    #[error("{program} cannot be started: {source}; see auth.command of the model provider in config.toml")]
    NotStarted {
        /// The program, as the configuration names it.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The command could not be listened to.
    #[error("{program} cannot be listened to: {source}")]
    OutputUnreadable {
        /// The program.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The command took too long, and was ended with all that it had started.
    #[error("{program} gave no token within {} ms and was ended{}", .limit.as_millis(), said(stderr))]
    TimedOut {
        /// The program.
        program: String,
        /// How long it might have taken.
        limit: Duration,
        /// What it said on standard error.
        stderr: String,
    },
    /// The command failed.
    #[error("{program} failed with {status}{}", said(stderr))]
    Failed {
        /// The program.
        program: String,
        /// How it ended, in the system's words.
        status: String,
        /// What it said on standard error.
        stderr: String,
    },
    /// What the command printed is not one token.
    #[error("{program} did not print one token: {problem}{}", said(stderr))]
    NotAToken {
        /// The program.
        program: String,
        /// What is wrong with it.
        problem: &'static str,
        /// What it said on standard error.
        stderr: String,
    },
}

/// Whether asking again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "it may or it may not")]
pub enum Persistence {
    /// Not before something is changed: the provider is left alone.
    Permanent,
    /// It may.
    Transient,
}

impl Error {
    /// For a provider that could not give a token now.
    #[must_use]
    pub fn transient(provider: impl Into<String>, message: &str) -> Self {
        Self::Transient { provider: provider.into(), message: shown(message, LONGEST) }
    }

    /// For a provider that will give no token, however often it is asked.
    #[must_use]
    pub fn permanent(provider: impl Into<String>, message: &str) -> Self {
        Self::Permanent { provider: provider.into(), message: shown(message, LONGEST) }
    }

    /// Whether asking again may help.
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

    /// What to do.
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

/// What a command said on standard error, fit for a message.
pub(super) fn stderr(bytes: &[u8]) -> String {
    shown(&String::from_utf8_lossy(bytes), LONGEST)
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!("; it said: {stderr}") }
}
