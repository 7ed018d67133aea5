//! The error type of the crate, which wraps those of the modules.

pub use crate::remedy::{ErrorKind, Remedy};
use crate::{config, login, manager, store};

/// Any error of this crate.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(ErrorCause);

#[derive(Debug, thiserror::Error)]
enum ErrorCause {
    #[error(transparent)]
    Config(config::Error),
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
            ErrorCause::Config(_) => ErrorKind::Failed,
            ErrorCause::Login(error) => error.kind(),
            ErrorCause::Manager(error) => error.kind(),
            ErrorCause::Store(error) => error.kind(),
        }
    }

    /// Returns the action that fixes the error, if there is one.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        match &self.0 {
            ErrorCause::Config(_) => None,
            ErrorCause::Login(error) => error.remedy(),
            ErrorCause::Manager(error) => error.remedy(),
            ErrorCause::Store(error) => error.remedy(),
        }
    }
}

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        Self(ErrorCause::Config(error))
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
