//! Why a store, a lock or a record of a home could not be used.

use std::path::PathBuf;

use codex_auth_platform::{keychain, lock, private_file};

use super::DocumentLocation;
use crate::remedy::{ErrorKind, Remedy};
use crate::{config, document};

/// What went wrong. The message names the file or service; `source` is the cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder that `CODEX_HOME` names cannot be used.
    #[error("CODEX_HOME points to {}, which {problem}", path.display())]
    Home {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The place can be read and not written.
    #[error("{} cannot be changed here; a login in it can be read, and neither written nor refreshed", path.display())]
    ReadOnlyHome {
        /// The folder.
        path: PathBuf,
    },
    /// A move would write over a login.
    #[error("{location} holds another login, which would be lost")]
    Occupied {
        /// Where that is.
        location: DocumentLocation,
    },
    /// The wait for a lock was cancelled by the caller.
    #[error("interrupted while waiting for another process; nothing was changed")]
    Interrupted,
    /// A link to the document leads to where a login was stored before, and our folder there is gone.
    #[error("the link {} leads to {}, where a login was stored before and nothing of it is left; mount the volume it is on, or remove the link to start afresh", link.display(), target.display())]
    LinkEmptied {
        /// The link.
        link: PathBuf,
        /// What it leads to.
        target: PathBuf,
    },
    /// A link leads to a file whose name is one of ours.
    #[error("the link {} leads to {}, and files of that name are ours; give it another name", link.display(), target.display())]
    ReservedName {
        /// The link.
        link: PathBuf,
        /// What it leads to.
        target: PathBuf,
    },
    /// Something is stored that is no document.
    #[error("{location} cannot be understood: {source}")]
    Document {
        /// Where it is.
        location: DocumentLocation,
        /// Why not.
        source: document::Error,
    },
    /// The configuration cannot be understood.
    #[error("{} cannot be understood: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: config::Error,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] private_file::Error),
    /// A lock cannot be had.
    #[error(transparent)]
    Lock(#[from] lock::Error),
    /// The keychain cannot be used.
    #[error(transparent)]
    Keychain(#[from] keychain::Error),
    /// Codex's commit locks are ours, but the time for which we may hold them is up.
    #[error("the store took too long; nothing was written, try again")]
    CommitTooSlow,
    /// What was read back is not what was written.
    #[error("{location} does not hold what was just written to it")]
    NotKept {
        /// Where it should be.
        location: DocumentLocation,
    },
    /// A token response is sealed with a key that cannot be read now, and no other login is stored.
    #[error("{} holds new tokens that cannot be read without the keychain", path.display())]
    RescueSealed {
        /// The rescue.
        path: PathBuf,
        /// Why the keychain cannot be used.
        #[source]
        source: keychain::Error,
    },
    /// A token response could not be committed by the process that got it.
    #[error("new tokens are in {} and could not be stored yet", path.display())]
    NotCommitted {
        /// The rescue.
        path: PathBuf,
    },
    /// A rescue could not be put into its form.
    #[error("a token response could not be sealed")]
    Sealing,
    /// Another program kept changing the login.
    #[error("another program keeps changing the login; try again")]
    Contended,
    /// Another program has stored another login in the place of the one that was to be ended.
    #[error("another login was stored in {location} meanwhile; log out again to end that one too")]
    AnotherLogin {
        /// Where.
        location: DocumentLocation,
    },
    /// The folder of the login was moved away and another one is in its place.
    #[error("{} was replaced by another folder during this command; the login that was there is untouched", path.display())]
    Replaced {
        /// The folder.
        path: PathBuf,
    },
    /// A setting that the program cannot follow.
    #[error(
        "config.toml says cli_auth_credentials_store = \"ephemeral\", which keeps a login in memory only"
    )]
    EphemeralConfigured,
    /// No random number could be had from the operating system.
    #[error("the operating system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

impl Error {
    /// Whether the call may have taken effect all the same: look before deciding anything.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::Keychain(error) => error.outcome() == keychain::CallEffect::Unknown,
            Self::File(private_file::Error::Unsynced { .. }) => true,
            _ => false,
        }
    }

    /// Whether it says that the keychain exists and cannot be looked into now, so that a login may be in there.
    #[must_use]
    pub fn hides_a_login(&self) -> bool {
        matches!(
            self,
            Self::Keychain(
                keychain::Error::Locked { .. }
                    | keychain::Error::TimedOut { .. }
                    | keychain::Error::Failed { .. }
                    | keychain::Error::Panicked { .. }
            )
        )
    }

    /// What to do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Lock(lock::Error::Held { .. }) => ErrorKind::LockTimeout,
            Self::AnotherLogin { .. } | Self::CommitTooSlow | Self::Contended | Self::Interrupted => {
                ErrorKind::TryAgain
            }
            Self::Config { .. }
            | Self::Document { .. }
            | Self::EphemeralConfigured
            | Self::Occupied { .. }
            | Self::ReservedName { .. }
            | Self::Home { .. } => ErrorKind::Failed,
            Self::File(
                private_file::Error::NotAFile { .. }
                | private_file::Error::NoParent { .. }
                | private_file::Error::TooLarge { .. },
            ) => ErrorKind::Failed,
            Self::File(_)
            | Self::Keychain(_)
            | Self::Lock(_)
            | Self::LinkEmptied { .. }
            | Self::RescueSealed { .. }
            | Self::NotCommitted { .. }
            | Self::NotKept { .. }
            | Self::Replaced { .. }
            | Self::ReadOnlyHome { .. }
            | Self::Random(_)
            | Self::Sealing => ErrorKind::StoreUnavailable,
        }
    }

    /// What would mend it, where that can be said.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        Some(match self {
            Self::Keychain(keychain::Error::Locked { .. }) => Remedy::UnlockKeychain,
            Self::Keychain(
                keychain::Error::Unavailable { .. }
                | keychain::Error::NeverUnlocked { .. }
                | keychain::Error::TimedOut { .. },
            ) => Remedy::UseFileStore,
            Self::File(private_file::Error::MountPoint { .. }) => Remedy::MountFolder,
            Self::File(private_file::Error::NoSpace { .. }) => Remedy::FreeSpace,
            // The message has the command.
            Self::File(private_file::Error::Flagged { .. }) => return None,
            Self::File(error) if error.is_read_only() => Remedy::MakeWritable,
            Self::Lock(lock::Error::ReadOnly { .. }) => Remedy::MakeWritable,
            Self::Lock(lock::Error::Unsupported { .. }) => Remedy::ChangeDisk,
            Self::Lock(lock::Error::Held { .. }) | Self::Contended => Remedy::Wait,
            Self::Document { .. } | Self::NotKept { .. } => Remedy::LogInAgain,
            Self::EphemeralConfigured => Remedy::ChooseStore,
            Self::RescueSealed { .. } => Remedy::UnlockKeychain,
            Self::Occupied { .. } => Remedy::LogOutThere,
            Self::ReadOnlyHome { .. } => Remedy::MakeWritable,
            _ => return None,
        })
    }
}
