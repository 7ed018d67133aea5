//! The keychain where it is usable, else the file; it always says which and why.

use std::time::Duration;

use codex_auth_platform::keychain;
use codex_auth_platform::private_file::Removal;

use super::{Commit, Error, FileStore, KeychainStore, Note, Store, Stored, Written, preference};
use crate::config::StoreKind;
use crate::document::AuthDocument;

/// The automatic store of a home: reads the keychain, then the file.
///
/// A read never removes a copy. A write goes to where the document was read; a first one to the keychain, and to the
/// file only when the keychain refused it, which the note says. A keychain that may hold the login and cannot be looked
/// into is an error unless the file has one: "not logged in" would be a guess.
#[derive(Clone, Debug)]
pub struct AutoStore {
    file: FileStore,
    keychain: KeychainStore,
    recorded: Option<StoreKind>,
}

impl AutoStore {
    /// The automatic store over these two; `recorded` is the store that `state.json` names.
    #[must_use]
    pub fn new(file: FileStore, keychain: KeychainStore, recorded: Option<StoreKind>) -> Self {
        Self { file, keychain, recorded }
    }
}

impl Store for AutoStore {
    fn kind(&self) -> StoreKind {
        StoreKind::Auto
    }

    fn load(&self, within: Duration) -> Result<Option<Stored>, Error> {
        match (self.keychain.load(within), self.file.load(within)) {
            (Ok(None), file) => file,
            (Ok(Some(keychain)), Ok(None)) => Ok(Some(keychain)),
            (Ok(Some(keychain)), Ok(Some(file))) => {
                let (mut stored, other, preference) = preference::choose(keychain, file, self.recorded);
                stored.notes.push(Note::OtherCopy { other, preference });
                Ok(Some(stored))
            }
            (Ok(Some(mut keychain)), Err(error)) => {
                keychain.notes.push(Note::OtherUnreadable { reason: error.to_string() });
                Ok(Some(keychain))
            }
            (Err(error), Ok(Some(mut file))) => {
                file.notes.push(Note::KeychainPassedOver { reason: error.to_string() });
                Ok(Some(file))
            }
            (Err(error), file @ (Ok(None) | Err(_))) if self.nothing_in(&error) => file,
            (Err(error), _) => Err(error),
        }
    }

    fn write(&self, commit: &Commit<'_>, document: &AuthDocument) -> Result<Written, Error> {
        if let Ok(Some(stored)) = self.load(commit.remaining()?) {
            return match stored.location.kind() {
                StoreKind::File => self.file.write(commit, document),
                _ => self.keychain.write(commit, document),
            };
        }
        match self.keychain.write(commit, document) {
            Ok(written) => Ok(written),
            // It may be in there after all: a second copy in the file would be worse than an error.
            Err(error) if error.is_unknown() => Err(error),
            Err(error) => {
                let mut written = self.file.write(commit, document)?;
                written.notes.push(Note::KeychainPassedOver { reason: error.to_string() });
                Ok(written)
            }
        }
    }

    fn remove(&self, commit: &Commit<'_>) -> Result<Removal, Error> {
        // Each is tried whatever became of the other, so that a failing keychain leaves no file behind.
        let file = self.file.remove(commit);
        let keychain = match self.keychain.remove(commit) {
            Err(error) if self.nothing_in(&error) => Ok(Removal::Absent),
            other => other,
        };
        match (file?, keychain?) {
            (Removal::Absent, Removal::Absent) => Ok(Removal::Absent),
            _ => Ok(Removal::Removed),
        }
    }
}

impl AutoStore {
    /// Whether a keychain that fails like this holds nothing of ours: it is not there at all, and our record does not
    /// say otherwise.
    fn nothing_in(&self, error: &Error) -> bool {
        let absent = matches!(
            error,
            Error::Keychain(keychain::Error::Unavailable { .. } | keychain::Error::NeverUnlocked { .. })
        );
        absent && self.recorded != Some(StoreKind::Keychain)
    }
}
