//! Where a document lives, and how it is read, replaced and removed there.
//!
//! Four stores obey the one contract of [`Store`]: [`FileStore`], [`KeychainStore`], [`AutoStore`] and
//! [`EphemeralStore`]. [`Stores`] knows them all and finds the login among them. Reading takes no lock. Every write
//! goes the same way, whatever the store ([`save`], [`delete`]):
//!
//! 1. the [`Lease`] of the home, which no two processes of ours hold at once;
//! 2. Codex's own two locks, for the moment of the commit ([`Commit`]);
//! 3. a compare-and-swap: the store is read again under the locks, and if it does not hold what the caller saw, nothing
//!    is written and the caller is told what is there ([`Saved::Moved`]).
//!
//! A [`Store`]'s own write takes the [`Commit`], which only a lease can begin: a write without the locks does not
//! compile.

mod auto;
mod commit;
mod ephemeral;
mod error;
mod file;
pub mod inspection;
mod keychain;
mod lease;
mod locate;
mod login_note;
pub mod migrate;
mod outcome;
mod preference;
pub mod rescue;
mod selection;
mod settings;
mod settle;
mod state;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use codex_auth_platform::keychain::{
    Changes as KeychainChanges, Client as KeychainClient, Error as KeychainError, HOW_TO_UNLOCK, LastModified,
};
pub use codex_auth_platform::lock::{Error as LockError, Holder, Standing as LockStanding, Waiting};
pub use codex_auth_platform::private_file::{Error as FileError, Removal, Stamp};

pub use self::auto::AutoStore;
pub use self::commit::{
    Advanced, Commit, Deleted, Intent, Saved, Seen, advance, delete, look_between_commits, save,
};
pub use self::ephemeral::EphemeralStore;
pub use self::error::Error;
pub use self::file::FileStore;
pub use self::keychain::{Dialogues, KeychainStore, Sealing};
pub use self::lease::{Lease, Leased, holder, make_folders};
pub use self::locate::{is_home, locate, stamps, watched};
pub use self::login_note::{LoginNote, RunningLogin};
pub use self::outcome::{Cause, Ending, LONGEST_BACK_OFF, Outcome, Poison};
pub use self::preference::Preference;
pub use self::selection::{Because, Choice, Found, Stores};
pub use self::settings::Settings;
pub use self::settle::{Committed, Settled, commit, record, settle};
pub use self::state::{Author, State};
use crate::config::StoreKind;
use crate::document::{AuthDocument, Oddity};

/// A place to keep one document.
///
/// # Contract
/// - `load` sees what the last successful `write` wrote, from any process, or what another program put there since.
/// - After `write`, `load` yields a document of the same [`crate::document::Revision`], unknown fields included.
/// - `remove` of nothing is [`Removal::Absent`], not an error; after it `load` yields `None`.
/// - A call that fails leaves the old document whole. The one exception says so: [`Error::is_unknown`].
/// - No call prompts, and none takes longer than the deadline it is given by much more than one disk access.
pub trait Store: fmt::Debug + Send + Sync {
    /// Which kind of store this is.
    fn kind(&self) -> StoreKind;

    /// The document, if there is one, within `within`. Takes no lock.
    ///
    /// # Errors
    /// [`Error::Document`] when something is there that is no document; otherwise the store cannot be read, which
    /// never means that nobody is logged in.
    fn load(&self, within: Duration) -> Result<Option<Stored>, Error>;

    /// Replaces the document, whatever is there. Callers go through [`save`], which looks first.
    ///
    /// # Errors
    /// The store cannot be written; the old document is untouched unless [`Error::is_unknown`].
    fn write(&self, commit: &Commit<'_>, document: &AuthDocument) -> Result<Written, Error>;

    /// Removes the document. Callers go through [`delete`], which looks first.
    ///
    /// # Errors
    /// The store cannot be written; the document is still there unless [`Error::is_unknown`].
    fn remove(&self, commit: &Commit<'_>) -> Result<Removal, Error>;
}

/// A document and where it was found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stored {
    /// The document.
    pub document: AuthDocument,
    /// Where it is.
    pub location: Location,
    /// What a person should hear about how it is kept.
    pub notes: Vec<Note>,
}

/// What a write has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Where the document is now.
    pub location: Location,
    /// What a person should hear about it.
    pub notes: Vec<Note>,
}

/// Where a document is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// A file, with links followed.
    File(PathBuf),
    /// An item of the system's keychain.
    Keychain {
        /// The service it is filed under.
        service: String,
        /// The account it is filed under.
        account: String,
    },
    /// The memory of this process.
    Memory,
}

impl Location {
    /// The store it belongs to; never [`StoreKind::Auto`].
    #[must_use]
    pub fn kind(&self) -> StoreKind {
        match self {
            Self::File(_) => StoreKind::File,
            Self::Keychain { .. } => StoreKind::Keychain,
            Self::Memory => StoreKind::Ephemeral,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Keychain { service, account } => write!(f, "item \"{service}\" of {account}"),
            Self::Memory => f.write_str("memory of this process"),
        }
    }
}

/// Something a person should hear about how the login is kept. `Display` is one line that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Note {
    /// Others could read the file.
    #[error("{} has mode {mode:03o}, so other users can read it; the next write makes it 600, or run: chmod 600 {}", path.display(), path.display())]
    Loose {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others could read the file until now.
    #[error("{} had mode {mode:03o}, so other users could read the old login; it is 600 now", path.display())]
    Tightened {
        /// The file.
        path: PathBuf,
        /// What its permission bits were.
        mode: u32,
    },
    /// The file is a mount point, so it could not be replaced as a whole.
    #[error("{} is a mount point and was written in place{}; mount its folder instead", path.display(), kept(backup.as_ref()))]
    InPlace {
        /// The file.
        path: PathBuf,
        /// Where the old content is, if there was any and the folder could take it.
        backup: Option<PathBuf>,
    },
    /// More than one item has the name that the login goes by.
    #[error(
        "the keychain holds {copies} items for this login, which Codex refuses; using one of them ({preference}); run `codex migrate --to keychain` to remove the others"
    )]
    Duplicates {
        /// How many there are.
        copies: usize,
        /// Why the one in use was preferred.
        preference: Preference,
    },
    /// The automatic store could not use the keychain.
    #[error("the keychain is not used: {reason}")]
    KeychainPassedOver {
        /// What the keychain said.
        reason: String,
    },
    /// There are two copies of the login.
    #[error(
        "there is another copy in {other}, which is not used ({preference}); `codex logout` removes both"
    )]
    OtherCopy {
        /// Where the copy is that is not used.
        other: Location,
        /// Why the other one is used.
        preference: Preference,
    },
    /// Somebody else has logged in at the same time, and came last.
    #[error("another login has taken its place in {location} since")]
    Overtaken {
        /// Where.
        location: Location,
    },
    /// A copy of the old login is still there.
    #[error("the copy in the {kind} store could not be removed: {reason}")]
    NotRemoved {
        /// The store.
        kind: StoreKind,
        /// What it said.
        reason: String,
    },
    /// The copy that is not used cannot be read.
    #[error("another copy is not used and cannot be read: {reason}")]
    OtherUnreadable {
        /// What is wrong with it.
        reason: String,
    },
    /// Something strange in the document.
    #[error("{0}")]
    Oddity(#[from] Oddity),
    /// What is found where the configuration does not point.
    #[error(
        "the login is in the {found} store, where Codex does not look (config.toml says {configured}); run `codex migrate --to {found}`"
    )]
    Misplaced {
        /// Where it is.
        found: StoreKind,
        /// Where `config.toml` points, by its default if it says nothing.
        configured: StoreKind,
    },
    /// The `auth_token` of old builds.
    #[error("{} still holds the auth_token of an old version; `codex logout` removes it", path.display())]
    LegacyToken {
        /// The configuration file.
        path: PathBuf,
    },
    /// New tokens had come and were not stored yet, and what they were kept in can be read by nobody any more.
    #[error(
        "new tokens had come that were not stored yet, and nobody can read them any more; if the login has ended, run: codex login"
    )]
    TokensLost,
    /// Our own record cannot be read, and counts as empty.
    #[error("{} cannot be read and is started afresh: {reason}", path.display())]
    StateUnreadable {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

fn kept(backup: Option<&PathBuf>) -> String {
    backup.map(|path| format!(" (the old content is in {})", path.display())).unwrap_or_default()
}
