//! The roof: one public error over those of the modules, sorted by what its receiver should do.

pub use crate::remedy::{ErrorKind, Remedy};
use crate::{config, login, manager, store};

/// Why something about a login could not be done.
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
    /// What to do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match &self.0 {
            ErrorCause::Config(_) => ErrorKind::Failed,
            ErrorCause::Login(error) => error.kind(),
            ErrorCause::Manager(error) => error.kind(),
            ErrorCause::Store(error) => error.kind(),
        }
    }

    /// What would mend it, where that can be said.
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
