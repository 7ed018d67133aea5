//! The errors of a manager.

use std::sync::Arc;

use jiff::SignedDuration;

use super::unusable::{Unusable, poison_message};
use crate::authority;
use crate::external;
use crate::remedy::{ErrorKind, Remedy};
use crate::store::{self, Poison};

/// An error of [`super::AuthManager`]. It can be cloned, because all callers that waited for one refresh get it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no login.
    #[error("not logged in")]
    LoggedOut,
    /// Another account is logged in now.
    #[error("another account has logged in since")]
    OtherAccount,
    /// The stored document holds no usable token and cannot be refreshed.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The refresh token failed permanently.
    #[error("{}", poisoned(.0))]
    Poisoned(Box<Poison>),
    /// The stored document is an old copy, whose refresh token was spent.
    #[error("the stored login is an old copy: its refresh token was already used")]
    OldCopy,
    /// A request failed, and the back-off after it has not ended.
    #[error("not retrying for another {} s after: {message}", .left.as_secs().max(1))]
    BackingOff {
        /// How long the back-off still lasts.
        left: SignedDuration,
        /// The message of the failed request.
        message: String,
    },
    /// A token was received less than a minute ago, but has expired or was refused already.
    #[error("the token was refreshed less than a minute ago and is not refreshed again automatically")]
    JustReceived,
    /// The authority issued tokens of another account; they were revoked.
    #[error("the authority issued tokens of another account")]
    WrongAccount,
    /// The response held no access token. The new refresh token is stored.
    #[error("the authority sent no access token; the new refresh token is stored, try again")]
    NoAccessToken,
    /// The new tokens are saved in the rescue and not in the store yet.
    #[error("new tokens were received and saved to disk, but could not be stored yet: {0}")]
    Uncommitted(#[source] Arc<store::Error>),
    /// The caller ended the wait for the lease; nothing was changed.
    #[error("interrupted while waiting for another process; nothing was changed")]
    Interrupted,
    /// The request to the authority failed.
    #[error(transparent)]
    Authority(Arc<authority::Error>),
    /// The provider failed.
    #[error(transparent)]
    Provider(Arc<external::Error>),
    /// The store or a lock failed.
    #[error(transparent)]
    Store(Arc<store::Error>),
    /// A thread could not be started, or panicked.
    #[error("the refresh failed unexpectedly (internal error); run with -v and report it")]
    Internal,
}

impl Error {
    /// Returns the kind of this error, which says what the caller should do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::LoggedOut | Self::Unusable(Unusable::NotLoggedIn | Unusable::LoggingOut) => {
                ErrorKind::NotLoggedIn
            }
            Self::Unusable(Unusable::NotABearer(_) | Unusable::NotRefreshable(_)) => ErrorKind::Failed,
            Self::OldCopy
            | Self::OtherAccount
            | Self::Poisoned(_)
            | Self::Unusable(_)
            | Self::WrongAccount => ErrorKind::LogInAgain,
            Self::BackingOff { .. }
            | Self::Internal
            | Self::Interrupted
            | Self::JustReceived
            | Self::NoAccessToken => ErrorKind::TryAgain,
            Self::Authority(error) => match error.kind() {
                authority::RetryAdvice::NotSent => ErrorKind::Failed,
                authority::RetryAdvice::Permanent => ErrorKind::LogInAgain,
                _ => ErrorKind::TryAgain,
            },
            Self::Provider(error) => error.kind(),
            Self::Store(error) | Self::Uncommitted(error) => error.kind(),
        }
    }

    /// Returns how to fix it, if known.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        match (self, self.kind()) {
            (Self::Store(error) | Self::Uncommitted(error), _) => error.remedy(),
            (_, ErrorKind::LogInAgain | ErrorKind::NotLoggedIn) => Some(Remedy::LogInAgain),
            _ => None,
        }
    }

    /// Whether only a new login can help.
    #[must_use]
    pub fn wants_login(&self) -> bool {
        matches!(self.kind(), ErrorKind::LogInAgain | ErrorKind::NotLoggedIn)
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<external::Error> for Error {
    fn from(error: external::Error) -> Self {
        Self::Provider(Arc::new(error))
    }
}

impl From<authority::Error> for Error {
    fn from(error: authority::Error) -> Self {
        Self::Authority(Arc::new(error))
    }
}

fn poisoned(poison: &Poison) -> String {
    let message = poison_message(poison.cause);
    match &poison.code {
        Some(code) => format!("{message} ({code})"),
        None => message.to_owned(),
    }
}
