//! Where a document lives, and how it is read, replaced and removed there.
//!
//! Two stores obey the one contract of [`Store`]: [`FileStore`] and [`KeychainStore`]. [`Stores`] knows both and finds the
//! login among them. Reading takes no lock. Every write goes through the [`Writer`], which holds to one order:
//!
//! 1. the [`Lease`] of the home, which no two processes of ours hold at once;
//! 2. Codex's own two locks, for the moment of the commit ([`CommitLocks`]);
//! 3. a compare-and-swap: the store is read again under the locks, and where it does not hold what the caller saw, nothing
//!    is written or removed, and the caller learns what is there;
//! 4. `state.json` under a new generation, which all other processes notice.

mod choice;
mod commit;
mod deadline;
mod error;
mod file;
mod find;
pub mod inspection;
mod keychain;
mod lease;
mod locate;
mod login_note;
pub mod migrate;
mod note;
mod outcome;
mod preference;
mod readiness;
mod recover;
mod removal;
pub mod rescue;
mod seal;
mod settings;
mod state;
mod target;
mod writer;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use codex_auth_platform::keychain::{
    ChangeListener as KeychainChanges, Client as KeychainClient, Error as KeychainError, HOW_TO_UNLOCK,
    LastModified,
};
pub use codex_auth_platform::lock::{Error as LockError, Holder, LockState as LockStanding, Waiting};
pub use codex_auth_platform::private_file::{Error as FileError, Removal, Stamp};
use zeroize::Zeroizing;

pub use self::choice::StoreChoice;
pub use self::commit::{CommitLocks, SeenRevision, WriteIntent};
pub use self::deadline::LockDeadline;
pub use self::error::Error;
pub use self::file::FileStore;
pub use self::find::{ChoiceReason, FindReport, Stores};
pub use self::keychain::{KeychainStore, PromptPolicy};
pub use self::lease::{Lease, LeaseOutcome, holder, make_folders};
pub use self::locate::{is_home, links_to, locate, stamps, watched};
pub use self::login_note::{LoginNote, RunningLogin};
pub use self::note::StorageNote;
pub use self::outcome::{LONGEST_BACK_OFF, Poison, PoisonCause, SpendOutcome, SpendRecord};
pub use self::preference::CopyPreference;
pub use self::recover::OrphanRescue;
pub use self::seal::Seal;
pub use self::settings::SettingsFile;
pub use self::state::{ChangeAuthor, HomeState};
pub use self::target::DocumentTarget;
pub use self::writer::{AdvanceOutcome, RemoveOutcome, ReplaceOutcome, StoreSettings, Writer};
use crate::config::StoreKind;
use crate::document::{self, AuthDocument};

/// A place to keep one document.
///
/// # Contract
/// - `read` sees what the last successful `write` wrote, from any process, or what another program put there since.
/// - After `write`, `read` yields a document of the same [`crate::document::Revision`], unknown fields included.
/// - `remove` of nothing is [`Removal::Absent`], not an error; after it `read` yields [`StoreContent::Nothing`].
/// - A call that fails leaves the old document whole. The one exception says so: [`Error::is_unknown`].
/// - No call prompts, and none takes longer than the deadline it is given by much more than one disk access.
pub trait Store: fmt::Debug + Send + Sync {
    /// Which store this is.
    fn kind(&self) -> StoreKind;

    /// What is stored, within `within`. Takes no lock.
    ///
    /// # Errors
    /// The store cannot be read, which never means that there is no login.
    fn read(&self, within: Duration) -> Result<StoreContent, Error>;

    /// Whether the document could be replaced now, as far as that can be told without a trial. Changes nothing.
    ///
    /// # Errors
    /// Why not: the error that a write would end with.
    fn check_write(&self, within: Duration) -> Result<(), Error>;

    /// Proves, beyond [`Self::check_write`], that the document could be replaced, by whatever trial changes no document.
    ///
    /// # Errors
    /// Why not.
    fn prove_write(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Whether the document could be removed now, as far as that can be told without a trial. Changes nothing.
    ///
    /// # Errors
    /// Why not: the error that the removal would end with.
    fn check_remove(&self, within: Duration) -> Result<(), Error>;

    /// Replaces the document, whatever is there. Callers go through the [`Writer`], which compares first.
    ///
    /// # Errors
    /// The store cannot be written; the old document is untouched unless [`Error::is_unknown`].
    fn write(&self, commit: &CommitLocks<'_>, document: &AuthDocument) -> Result<WriteReport, Error>;

    /// Removes the document. Callers go through the [`Writer`], which compares first.
    ///
    /// # Errors
    /// The store cannot be written; the document is still there unless [`Error::is_unknown`].
    fn remove(&self, commit: &CommitLocks<'_>) -> Result<Removal, Error>;

    /// The document, if there is one, within `within`. Takes no lock.
    ///
    /// # Errors
    /// As [`Self::read`]; and [`Error::Document`] for something that is no document.
    fn load(&self, within: Duration) -> Result<Option<StoredDocument>, Error> {
        match self.read(within)? {
            StoreContent::Nothing => Ok(None),
            StoreContent::Document(stored) => Ok(Some(*stored)),
            StoreContent::Unparsable { location, source, .. } => Err(Error::Document { location, source }),
        }
    }
}

/// What a store holds.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "every case is the caller's to handle")]
pub enum StoreContent {
    /// Nothing.
    Nothing,
    /// A document.
    Document(Box<StoredDocument>),
    /// Something that is no document.
    Unparsable {
        /// Where it is.
        location: DocumentLocation,
        /// What is wrong with it.
        source: document::Error,
        /// All of it, which may hold tokens.
        bytes: Zeroizing<Vec<u8>>,
    },
}

/// A document and where it was found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoredDocument {
    /// The document.
    pub document: AuthDocument,
    /// Where it is.
    pub location: DocumentLocation,
    /// What a person should hear about how it is kept.
    pub notes: Vec<StorageNote>,
}

/// What a write did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteReport {
    /// Where the document is now.
    pub location: DocumentLocation,
    /// What a person should hear about it.
    pub notes: Vec<StorageNote>,
}

/// Where a document is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DocumentLocation {
    /// A file, with links followed.
    File(PathBuf),
    /// An item of the system's keychain.
    Keychain {
        /// The service it is filed under.
        service: String,
        /// The account it is filed under.
        account: String,
    },
}

impl DocumentLocation {
    /// The store it belongs to.
    #[must_use]
    pub fn kind(&self) -> StoreKind {
        match self {
            Self::File(_) => StoreKind::File,
            Self::Keychain { .. } => StoreKind::Keychain,
        }
    }
}

impl fmt::Display for DocumentLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Keychain { service, account } => write!(f, "item \"{service}\" of {account}"),
        }
    }
}
