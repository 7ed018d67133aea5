//! The error type of the crate, which wraps those of the modules.

use std::error::Error as StdError;

#[cfg(feature = "fleet")]
use crate::fleet;
pub use crate::remedy::{ErrorKind, Remedy};
use crate::{accounts, config, login, manager, store};

/// Any error of this crate.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(ErrorCause);

#[derive(Debug, thiserror::Error)]
enum ErrorCause {
    #[error(transparent)]
    Accounts(accounts::Error),
    #[error(transparent)]
    Config(config::Error),
    #[cfg(feature = "fleet")]
    #[error(transparent)]
    Fleet(Box<fleet::MemberError>),
    #[error(transparent)]
    Login(login::Error),
    #[error(transparent)]
    Manager(manager::Error),
    #[error(transparent)]
    Store(store::Error),
}

impl Error {
    /// Returns what the receiver should do about the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match &self.0 {
            ErrorCause::Accounts(error) => error.kind(),
            ErrorCause::Config(_) => ErrorKind::Failed,
            #[cfg(feature = "fleet")]
            ErrorCause::Fleet(error) => error.kind(),
            ErrorCause::Login(error) => error.kind(),
            ErrorCause::Manager(error) => error.kind(),
            ErrorCause::Store(error) => error.kind(),
        }
    }

    /// Returns the error of a module that this one wraps: an [`accounts::Error`], [`config::Error`], [`login::Error`], [`manager::Error`],
    /// [`store::Error`] or, of a fleet, a `MemberError`; `None` if it wraps an error of another type.
    ///
    /// ```
    /// use codex_auth::{Error, manager};
    ///
    /// let error = Error::from(manager::Error::LoggedOut);
    /// assert!(matches!(error.downcast_ref(), Some(manager::Error::LoggedOut)));
    /// assert!(error.downcast_ref::<codex_auth::store::Error>().is_none());
    /// ```
    #[must_use]
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        let wrapped: &(dyn StdError + 'static) = match &self.0 {
            ErrorCause::Accounts(error) => error,
            ErrorCause::Config(error) => error,
            #[cfg(feature = "fleet")]
            ErrorCause::Fleet(error) => &**error,
            ErrorCause::Login(error) => error,
            ErrorCause::Manager(error) => error,
            ErrorCause::Store(error) => error,
        };
        wrapped.downcast_ref()
    }

    /// Returns the action that fixes the error, if there is one.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        match &self.0 {
            ErrorCause::Accounts(error) => error.remedy(),
            ErrorCause::Config(_) => None,
            #[cfg(feature = "fleet")]
            ErrorCause::Fleet(error) => error.remedy(),
            ErrorCause::Login(error) => error.remedy(),
            ErrorCause::Manager(error) => error.remedy(),
            ErrorCause::Store(error) => error.remedy(),
        }
    }
}

impl From<accounts::Error> for Error {
    fn from(error: accounts::Error) -> Self {
        Self(ErrorCause::Accounts(error))
    }
}

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        Self(ErrorCause::Config(error))
    }
}

#[cfg(feature = "fleet")]
impl From<fleet::MemberError> for Error {
    fn from(error: fleet::MemberError) -> Self {
        Self(ErrorCause::Fleet(Box::new(error)))
    }
}

#[cfg(feature = "fleet")]
impl From<fleet::Error> for Error {
    fn from(error: fleet::Error) -> Self {
        fleet::MemberError::from(error).into()
    }
}

impl From<login::Error> for Error {
    fn from(error: login::Error) -> Self {
        Self(ErrorCause::Login(error))
    }
}

impl From<manager::Error> for Error {
    fn from(error: manager::Error) -> Self {
        Self(ErrorCause::Manager(error))
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self(ErrorCause::Store(error))
    }
}
