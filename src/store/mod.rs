//! Reading, replacing and removing the document in its store, a file or a keychain item.
//!
//! [`FileStore`] and [`KeychainStore`] implement [`Store`]; [`Stores`] holds both and finds the login in them. Reading
//! takes no lock. Every write goes through the [`Writer`], in this order:
//!
//! 1. the [`Lease`] of the home, which one process using this library holds at a time;
//! 2. Codex's own two locks, for the duration of the commit ([`CommitLocks`]);
//! 3. a compare-and-swap: the store is read again under the locks, and if it does not hold what the caller saw, nothing
//!    is written or removed and the caller gets the current content;
//! 4. `state.json` with a new generation, which all other processes notice.

mod choice;
#[cfg(feature = "keychain")]
mod cipher;
#[cfg(not(feature = "keychain"))]
#[path = "no_cipher.rs"]
mod cipher;
mod commit;
mod content;
mod deadline;
mod encrypted;
mod error;
mod file;
mod find;
mod keychain;
mod lease;
mod locate;
mod login_note;
mod login_record;
mod login_recovery;
mod logout;
pub mod migrate;
mod orphan;
mod preference;
mod recover;
pub mod rescue;
mod seal;
mod settings;
mod state;
mod writer;

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

pub use codex_auth_platform::keychain::{
    CallContext, CallEffect, ChangeListener as KeychainChanges, Client as KeychainClient,
    Error as KeychainError, Item as KeychainItem, ItemId, ItemName, ItemSelection, ItemSharing, ItemWrite,
    Keychain, LastModified, Operation as KeychainOperation, WriteTarget,
};
pub use codex_auth_platform::lock::{Error as LockError, Holder, LockState, Waiting};
pub use codex_auth_platform::private_file::{
    Error as FileError, Flag as FileFlag, Removal, Stamp, UnsafeLink,
};

pub use self::choice::{LoginSpace, StoreChoice};
pub use self::commit::{CommitLocks, WriteIntent};
pub use self::content::{
    ChoiceReason, DocumentLocation, FindReport, RescueRecovery, SeenRevision, StorageNote, StoreContent,
    StoredDocument, WriteReport,
};
pub use self::deadline::LockDeadline;
pub use self::error::Error;
pub use self::file::FileStore;
pub use self::find::Stores;
pub use self::keychain::{KeychainStore, PromptPolicy};
pub use self::lease::{Lease, LeaseOutcome, create_folders, holder};
pub use self::locate::{
    DocumentTarget, commit_lock_holder, is_home, links_to, locate, watched_files, watched_stamps, written_at,
};
pub use self::login_note::{LoginNote, RunningLogin};
pub use self::login_record::{LoginCommit, LoginRecorder, ResponseSpace, SentCode};
pub use self::login_recovery::UnfinishedExchange;
pub use self::orphan::{OrphanContent, OrphanRescue};
pub use self::preference::CopyPreference;
pub use self::recover::CommitOutcome;
pub use self::seal::{Seal, SealingKey};
pub use self::settings::{SettingChange, SettingsFile, over_profile};
pub use self::state::{
    ChangeAuthor, HomeState, MAX_BACK_OFF, Poison, PoisonCause, SettingRecord, SpendOutcome, SpendRecord,
    owner_of,
};
pub use self::writer::{RemoveOutcome, ReplaceOutcome, StoreSettings, Writer};
use crate::document::AuthDocument;

/// Storage for one document. Only this crate implements it.
///
/// # Contract
/// - `read` returns what the last successful `write` of any process wrote, or what another program stored since.
/// - After `write`, `read` returns a document of the same [`crate::document::Revision`], unknown fields included.
/// - `remove` of nothing is [`Removal::Absent`], not an error; after it `read` returns [`StoreContent::Nothing`].
/// - A call that fails leaves the old document whole, except where [`Error::is_unknown`] is true.
/// - No call prompts, and none exceeds its deadline by much more than one disk access.
pub trait Store: sealed::Sealed + fmt::Debug + Send + Sync {
    /// Reads the store, within `within`. Takes no lock.
    ///
    /// # Errors
    /// The store cannot be read; it may still hold a login.
    fn read(&self, within: Duration) -> Result<StoreContent, Error>;

    /// Checks, without a trial write, whether the document could be replaced now. Changes nothing.
    ///
    /// # Errors
    /// The error that a write would return.
    fn check_write(&self, within: Duration) -> Result<(), Error>;

    /// Checks by a trial that changes no document, beyond [`Self::check_write`], whether the document could be
    /// replaced.
    ///
    /// # Errors
    /// The error that a write would return.
    fn prove_write(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Checks, without a trial, whether the document could be removed now. Changes nothing.
    ///
    /// # Errors
    /// The error that the removal would return.
    fn check_remove(&self, within: Duration) -> Result<(), Error>;

    /// Replaces the document unconditionally. Use the [`Writer`], which compares first.
    ///
    /// # Errors
    /// The store cannot be written; the old document is unchanged unless [`Error::is_unknown`].
    fn write(&self, commit: &CommitLocks<'_>, document: &AuthDocument) -> Result<WriteReport, Error> {
        self.write_bytes(commit, &self.encode(document))
    }

    /// Returns the bytes that [`Self::write`] stores for `document`.
    fn encode(&self, document: &AuthDocument) -> Zeroizing<Vec<u8>>;

    /// As [`Self::write`], with the stored bytes: to restore a content that is not a document.
    ///
    /// # Errors
    /// As [`Self::write`].
    fn write_bytes(&self, commit: &CommitLocks<'_>, bytes: &[u8]) -> Result<WriteReport, Error>;

    /// Removes the document unconditionally. Use the [`Writer`], which compares first.
    ///
    /// # Errors
    /// The store cannot be written; the document is still there unless [`Error::is_unknown`].
    fn remove(&self, commit: &CommitLocks<'_>) -> Result<Removal, Error>;

    /// Returns the document, if one is stored, within `within`. Takes no lock.
    ///
    /// # Errors
    /// As [`Self::read`]; [`Error::Document`] if the content is not a document.
    fn load(&self, within: Duration) -> Result<Option<StoredDocument>, Error> {
        match self.read(within)? {
            StoreContent::Nothing => Ok(None),
            StoreContent::Document(stored) => Ok(Some(*stored)),
            StoreContent::Unparsable { location, source, .. } => Err(Error::Document { location, source }),
        }
    }
}

/// Keeps other crates from implementing [`Store`], so that a new method breaks none.
mod sealed {
    #[expect(unnameable_types, reason = "this is what seals a trait")]
    pub trait Sealed {}
}
