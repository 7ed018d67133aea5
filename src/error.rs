//! The roof: one public error over those of the modules, sorted by what its receiver should do.

use crate::config;
use crate::store::{self, FileError, KeychainError, LockError};

/// Why something about a login could not be done.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Cause);

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Config(config::Error),
    #[error(transparent)]
    Store(store::Error),
}

/// What the receiver of an [`Error`] should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Read the message; nothing general can be said.
    Failed,
    /// Wait for the process that the message names, or try again later.
    LockTimeout,
    /// Make the store available: it is locked, missing, full or not writable.
    StoreUnavailable,
    /// Do the same again.
    TryAgain,
}

impl Error {
    /// What to do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        let Cause::Store(error) = &self.0 else { return ErrorKind::Failed };
        match error {
            store::Error::Lock(LockError::Held { .. }) => ErrorKind::LockTimeout,
            store::Error::CommitTooSlow | store::Error::Contended => ErrorKind::TryAgain,
            store::Error::Config { .. }
            | store::Error::Document { .. }
            | store::Error::EphemeralConfigured
            | store::Error::Home { .. } => ErrorKind::Failed,
            store::Error::File(FileError::NotAFile { .. } | FileError::TooLarge { .. }) => ErrorKind::Failed,
            store::Error::File(_)
            | store::Error::Keychain(_)
            | store::Error::Lock(_)
            | store::Error::NoSealingKey
            | store::Error::NotKept { .. }
            | store::Error::Random(_)
            | store::Error::Sealing => ErrorKind::StoreUnavailable,
        }
    }

    /// What would mend it, where that can be said.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        let Cause::Store(error) = &self.0 else { return None };
        Some(match error {
            store::Error::Keychain(KeychainError::Locked { .. }) => Remedy::UnlockKeychain,
            store::Error::Keychain(
                KeychainError::Unavailable { .. }
                | KeychainError::NeverUnlocked { .. }
                | KeychainError::TimedOut { .. },
            ) => Remedy::UseFileStore,
            store::Error::File(FileError::MountPoint { .. }) => Remedy::MountFolder,
            store::Error::File(FileError::NoSpace { .. }) => Remedy::FreeSpace,
            store::Error::File(error) if error.is_read_only() => Remedy::MakeWritable,
            store::Error::Lock(LockError::ReadOnly { .. }) => Remedy::MakeWritable,
            store::Error::Lock(LockError::Held { .. }) | store::Error::Contended => Remedy::Wait,
            store::Error::Document { .. } | store::Error::NotKept { .. } => Remedy::LogInAgain,
            store::Error::EphemeralConfigured => Remedy::ChooseStore,
            _ => return None,
        })
    }
}

/// What would mend an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Remedy {
    /// Name a store that keeps a login.
    ChooseStore,
    /// Free some space on the disk.
    FreeSpace,
    /// Log in again: what is stored is of no use.
    LogInAgain,
    /// Let this user write to the place.
    MakeWritable,
    /// Mount the folder into the container, not the file.
    MountFolder,
    /// Unlock the keychain.
    UnlockKeychain,
    /// Keep the login in the file where there is no keychain.
    UseFileStore,
    /// Wait until the other process has finished.
    Wait,
}

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        Self(Cause::Config(error))
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self(Cause::Store(error))
    }
}
