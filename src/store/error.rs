//! The error type of stores, locks and records of a home.

use std::path::PathBuf;

use codex_auth_platform::{keychain, lock, private_file};

use super::content::DocumentLocation;
use crate::remedy::{ErrorKind, Remedy};
use crate::{config, document};

/// The error of a store, lock or record. The message names the file or service; `source` is the cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder that `CODEX_HOME` names cannot be used.
    #[error("CODEX_HOME points to {}, which {problem}", path.display())]
    Home {
        /// The folder.
        path: PathBuf,
        /// Why it cannot be used, and how to fix it.
        problem: &'static str,
    },
    /// The home can be read, but not written.
    #[error("{} is read-only: a login in it can be used, but not stored, refreshed or removed", path.display())]
    ReadOnlyHome {
        /// The folder.
        path: PathBuf,
    },
    /// A keeper elsewhere hands in the login, and would not replace another copy of it.
    #[error(
        "the login in {location} is handed in by a keeper elsewhere, which writes it there; a copy of it would expire"
    )]
    HandedIn {
        /// Where it is.
        location: DocumentLocation,
    },
    /// A migration would overwrite another login.
    #[error("{location} holds another login, which this would overwrite")]
    Occupied {
        /// Where the other login is.
        location: DocumentLocation,
    },
    /// A login would replace that of another user, in the home of an account.
    #[error("{location} holds the login of another user, which was not replaced")]
    AnotherUser {
        /// Where the other login is.
        location: DocumentLocation,
    },
    /// The login that was obtained is one of another account of the home.
    #[error("that user is logged in already, in {location}; the new login was not kept")]
    LoggedInAlready {
        /// Where the login is.
        location: DocumentLocation,
    },
    /// The wait for a lock was cancelled by the caller.
    #[error("interrupted while waiting for another process; nothing was changed")]
    Interrupted,
    /// `auth.json` links to a file where a login was stored before; that file and our folder beside it are gone.
    #[error("{} links to {}, where a login was stored before, but that file and the codex-auth folder beside it are gone", link.display(), target.display())]
    LinkEmptied {
        /// The link.
        link: PathBuf,
        /// The file that it links to.
        target: PathBuf,
    },
    /// `auth.json` links to a file with a name that this library uses for its own files.
    #[error("{} links to {}, a file name that codex-auth reserves; rename that file", link.display(), target.display())]
    ReservedName {
        /// The link.
        link: PathBuf,
        /// The file that it links to.
        target: PathBuf,
    },
    /// The stored content is not a document.
    #[error("cannot parse {location}: {source}")]
    Document {
        /// Where it is stored.
        location: DocumentLocation,
        /// The parse error.
        source: document::Error,
    },
    /// `config.toml` cannot be parsed.
    #[error("cannot parse {}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The parse error.
        source: config::Error,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] private_file::Error),
    /// A lock cannot be acquired.
    #[error(transparent)]
    Lock(#[from] lock::Error),
    /// The keychain cannot be used.
    #[error(transparent)]
    Keychain(#[from] keychain::Error),
    /// Codex's commit locks were held for as long as they may be.
    #[error("the store took too long; nothing was written, try again")]
    CommitTooSlow,
    /// The content that was read back is not what was written.
    #[error("{location} does not hold what was just written to it")]
    WriteLost {
        /// Where it was written.
        location: DocumentLocation,
    },
    /// A rescue is sealed with a key that cannot be read now, and no other login is stored.
    #[error("{} holds new tokens that can only be decrypted with a key from the keychain", path.display())]
    RescueSealed {
        /// The rescue.
        path: PathBuf,
        /// Why the keychain cannot be used.
        #[source]
        source: keychain::Error,
    },
    /// The process that received a token response could not commit it.
    #[error("new tokens are saved in {} but could not be stored yet", path.display())]
    NotCommitted {
        /// The rescue.
        path: PathBuf,
    },
    /// A rescue could not be encoded or encrypted.
    #[error("cannot encrypt a token response")]
    Sealing,
    /// Another program kept changing the login.
    #[error("another program keeps changing the login; try again")]
    Contended,
    /// Another program stored another login during a logout.
    #[error("another login was stored in {location} during the logout; log out again to remove it too")]
    AnotherLogin {
        /// Where it was stored.
        location: DocumentLocation,
    },
    /// The folder of the login was replaced by another one during the command.
    #[error("{} was replaced by another folder during this command; the login that was there is untouched", path.display())]
    FolderReplaced {
        /// The folder.
        path: PathBuf,
    },
    /// `CODEX_HOME` is not set and the user has no home directory.
    #[error("cannot find the home directory of this user; set CODEX_HOME to the folder of the login")]
    UnknownHomeDirectory,
    /// The home directory of the user, which contains the default home, does not exist.
    #[error("the home directory {} does not exist; create it, or set HOME or CODEX_HOME", path.display())]
    NoHomeDirectory {
        /// The home directory.
        path: PathBuf,
    },
    /// The configuration keeps logins in memory only, which this library does not support.
    #[error("{by} says cli_auth_credentials_store = \"ephemeral\", which keeps a login in memory only")]
    EphemeralConfigured {
        /// `config.toml` or `-c`.
        by: &'static str,
    },
    /// Codex has encrypted the login, so that this library cannot read it.
    #[error("Codex has encrypted the login in {}, which codex-auth cannot read", path.display())]
    EncryptedLogin {
        /// The file of Codex.
        path: PathBuf,
    },
    /// Codex would not read a login that this library stores in the keychain.
    #[error(
        "{by} says features.secret_auth_storage = true, so Codex would not find a login that codex-auth stores in the keychain"
    )]
    EncryptionConfigured {
        /// The configuration file, or the command line.
        by: String,
    },
    /// The operating system returned no random bytes.
    #[error("cannot read random bytes from the operating system: {0}")]
    Random(std::io::Error),
}

impl Error {
    /// Returns whether the call may have taken effect all the same; read the store before deciding anything.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::Keychain(error) => error.effect() == keychain::CallEffect::Unknown,
            Self::File(private_file::Error::Unsynced { .. }) => true,
            _ => false,
        }
    }

    /// Returns whether the keychain exists but cannot be read now, so that it may hold a login.
    #[must_use]
    pub fn may_hide_login(&self) -> bool {
        matches!(
            self,
            Self::Keychain(
                keychain::Error::Locked { .. }
                    | keychain::Error::PromptRequired { .. }
                    | keychain::Error::TimedOut { .. }
                    | keychain::Error::Failed { .. }
                    | keychain::Error::Panicked { .. }
            )
        )
    }

    /// Returns the kind of error, for callers that react to it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Lock(lock::Error::Held { .. }) => ErrorKind::LockTimeout,
            Self::AnotherLogin { .. } | Self::CommitTooSlow | Self::Contended | Self::Interrupted => {
                ErrorKind::TryAgain
            }
            Self::Config { .. }
            | Self::Document { .. }
            | Self::EphemeralConfigured { .. }
            | Self::AnotherUser { .. }
            | Self::HandedIn { .. }
            | Self::LoggedInAlready { .. }
            | Self::Occupied { .. }
            | Self::ReservedName { .. }
            | Self::Home { .. }
            | Self::UnknownHomeDirectory
            | Self::NoHomeDirectory { .. } => ErrorKind::Failed,
            Self::File(
                private_file::Error::NotAFile { .. }
                | private_file::Error::NoParent { .. }
                | private_file::Error::TooLarge { .. },
            ) => ErrorKind::Failed,
            Self::File(_)
            | Self::Keychain(_)
            | Self::Lock(_)
            | Self::LinkEmptied { .. }
            | Self::EncryptedLogin { .. }
            | Self::EncryptionConfigured { .. }
            | Self::RescueSealed { .. }
            | Self::NotCommitted { .. }
            | Self::WriteLost { .. }
            | Self::FolderReplaced { .. }
            | Self::ReadOnlyHome { .. }
            | Self::Random(_)
            | Self::Sealing => ErrorKind::StoreUnavailable,
        }
    }

    /// Returns how the user can fix it, where that is known.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        Some(match self {
            Self::Keychain(keychain::Error::Locked { .. } | keychain::Error::PromptRequired { .. }) => {
                Remedy::UnlockKeychain
            }
            Self::Keychain(
                keychain::Error::Unavailable { .. }
                | keychain::Error::NotSetUp { .. }
                | keychain::Error::TimedOut { .. },
            ) => Remedy::UseFileStore,
            Self::File(private_file::Error::MountPoint { .. }) => Remedy::MountFolder,
            Self::File(private_file::Error::DanglingLink { link, .. }) if !link.ends_with("auth.json") => {
                Remedy::MountVolume
            }
            Self::File(private_file::Error::DanglingLink { .. }) | Self::LinkEmptied { .. } => {
                Remedy::RestoreLink
            }
            Self::File(private_file::Error::NoSpace { .. }) => Remedy::FreeSpace,
            // The message already has the command.
            Self::File(private_file::Error::Flagged { .. }) => return None,
            Self::File(error) if error.is_read_only() => Remedy::MakeWritable,
            Self::Lock(lock::Error::ReadOnly { .. }) => Remedy::MakeWritable,
            Self::Lock(lock::Error::Unsupported { .. }) => Remedy::ChangeDisk,
            Self::Lock(lock::Error::Held { .. }) | Self::Contended => Remedy::Wait,
            Self::Document { .. } | Self::WriteLost { .. } => Remedy::LogInAgain,
            Self::EphemeralConfigured { .. } => Remedy::ChooseStore,
            Self::EncryptedLogin { .. } | Self::EncryptionConfigured { .. } => Remedy::ShareFile,
            Self::RescueSealed { .. } => Remedy::UnlockKeychain,
            Self::Occupied { .. } => Remedy::LogOutThere,
            Self::ReadOnlyHome { .. } => Remedy::MakeWritable,
            _ => return None,
        })
    }
}
