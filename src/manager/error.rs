//! Why there is no token, and what to do about it.

use std::sync::Arc;

use jiff::SignedDuration;

use super::unusable::{Unusable, dead};
use crate::authority;
use crate::external;
use crate::remedy::{ErrorKind, Remedy};
use crate::store::{self, Poison};

/// Why the manager has no token to give. It can be cloned: everybody who waited for one refresh gets it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody is logged in, or somebody has logged out.
    #[error("not logged in")]
    LoggedOut,
    /// Another account has logged in here.
    #[error("another account has logged in here since")]
    OtherAccount,
    /// What is stored yields no token, and cannot be refreshed.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The refresh token is known to be dead.
    #[error("{}", poisoned(.0))]
    Poisoned(Box<Poison>),
    /// What is stored is an old copy whose refresh token has been spent.
    #[error("the stored login is an old copy: its refresh token has been spent already")]
    OldCopy,
    /// The authority could not be asked a moment ago, and is left alone for a while.
    #[error("the authority is not asked again before {} s: {message}", .left.as_secs().max(1))]
    BackingOff {
        /// For how long still.
        left: SignedDuration,
        /// What went wrong then.
        message: String,
    },
    /// A token was received moments ago, and is of no use already.
    #[error("a token was received less than a minute ago; it is not refreshed again by itself")]
    JustReceived,
    /// The authority answered with tokens of another account; they were taken back.
    #[error("the authority answered with tokens of another account")]
    WrongAccount,
    /// The authority answered without an access token. What it did send is stored.
    #[error("the authority answered without an access token; what it did send is stored, try again")]
    NoAccessToken,
    /// The new tokens are safe in the rescue, and not in the store yet.
    #[error("new tokens arrived and are kept safe, but could not be stored yet: {0}")]
    Uncommitted(#[source] Arc<store::Error>),
    /// The wait for the lease was ended by the caller; nothing was changed.
    #[error("interrupted while waiting for another process; nothing was changed")]
    Interrupted,
    /// The authority could not be asked, or gave no answer.
    #[error(transparent)]
    Authority(Arc<authority::Error>),
    /// The provider gave no token.
    #[error(transparent)]
    Provider(Arc<external::Error>),
    /// The store, or a lock, could not be used.
    #[error(transparent)]
    Store(Arc<store::Error>),
    /// The thread that did it broke down.
    #[error("the refresh broke down; try again")]
    BrokeDown,
}

impl Error {
    /// What to do.
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
            | Self::BrokeDown
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

    /// What would mend it, where that can be said.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        match (self, self.kind()) {
            (Self::Store(error) | Self::Uncommitted(error), _) => error.remedy(),
            (_, ErrorKind::LogInAgain | ErrorKind::NotLoggedIn) => Some(Remedy::LogInAgain),
            _ => None,
        }
    }

    /// Whether only a new login helps.
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
    let told = dead(poison.cause);
    match &poison.code {
        Some(code) => format!("{told} ({code})"),
        None => told.to_owned(),
    }
}
