//! The roof: one public error over those of the modules, sorted by what its receiver should do.

pub use crate::remedy::{ErrorKind, Remedy};
use crate::{config, login, manager, store};

/// Why something about a login could not be done.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Cause);

#[derive(Debug, thiserror::Error)]
enum Cause {
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
            Cause::Config(_) => ErrorKind::Failed,
            Cause::Login(error) => error.kind(),
            Cause::Manager(error) => error.kind(),
            Cause::Store(error) => error.kind(),
        }
    }

    /// What would mend it, where that can be said.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        match &self.0 {
            Cause::Config(_) => None,
            Cause::Login(error) => error.remedy(),
            Cause::Manager(error) => error.remedy(),
            Cause::Store(error) => error.remedy(),
        }
    }
}

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        Self(Cause::Config(error))
    }
}

impl From<login::Error> for Error {
    fn from(error: login::Error) -> Self {
        Self(Cause::Login(error))
    }
}

impl From<manager::Error> for Error {
    fn from(error: manager::Error) -> Self {
        Self(Cause::Manager(error))
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self(Cause::Store(error))
    }
}
