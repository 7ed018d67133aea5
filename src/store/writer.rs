//! The writer: the one way to change the stores of a home, its state and its rescue.

use std::path::Path;

use codex_auth_platform::private_file::{self, Links, Removal};

use super::recover::{self, holds};
use super::rescue::Rescue;
use super::state::ChangeAuthor;
use super::{
    CommitLocks, Error, HomeState, Lease, SeenRevision, SpendRecord, StorageNote, Store, StoreContent,
    Stores, WriteIntent, WriteReport,
};
use crate::config::{LegacyToken, StoreKind, StoreSelection};
use crate::document::{AuthDocument, Revision};
use crate::failpoint;

/// Changes the stores of a home under its lease.
///
/// A change compares first: what the caller has not seen is neither replaced nor removed. Every change of a store is
/// followed by a new generation of the state before anything else happens, so that all processes notice it even if what
/// comes next fails.
#[derive(Debug)]
pub struct Writer<'lease> {
    lease: &'lease Lease,
    pub(super) stores: Stores,
    pub(super) state: HomeState,
    pub(super) notes: Vec<StorageNote>,
}

/// How [`Writer::replace`] ended.
#[derive(Debug)]
#[must_use = "it may not have been done"]
#[expect(clippy::exhaustive_enums, reason = "every outcome is the caller's to handle")]
pub enum ReplaceOutcome {
    /// The document is stored.
    Written(WriteReport),
    /// The store does not hold what the caller saw, but this; nothing was written.
    Moved(StoreContent),
}

/// How [`Writer::remove`] ended.
#[derive(Debug)]
#[must_use = "it may not have been done"]
#[expect(clippy::exhaustive_enums, reason = "every outcome is the caller's to handle")]
pub enum RemoveOutcome {
    /// Nothing is left in the store.
    Gone(Removal),
    /// The store does not hold what the caller saw, but this; nothing was removed.
    Moved(StoreContent),
}

/// How [`Writer::advance`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it may not have been done"]
#[expect(clippy::exhaustive_enums, reason = "every outcome is the caller's to handle")]
pub enum AdvanceOutcome {
    /// The successor is stored and was read back; the rescue is cleared.
    Stored,
    /// The successor was stored, and another program has replaced it since; the rescue is cleared.
    Overtaken,
    /// The store does not hold what was spent; nothing was written, and the rescue is as it was.
    Moved,
}

impl<'lease> Writer<'lease> {
    pub(super) fn new(lease: &'lease Lease, stores: Stores) -> Result<Self, Error> {
        let (state, note) = HomeState::read_at(&lease.records())?;
        Ok(Self { lease, stores, state, notes: note.into_iter().collect() })
    }

    /// The lease.
    pub fn lease(&self) -> &'lease Lease {
        self.lease
    }

    /// The stores, with the document's file as the lease found it.
    #[must_use]
    pub fn stores(&self) -> &Stores {
        &self.stores
    }

    /// The state as it was read or last written.
    #[must_use]
    pub fn state(&self) -> &HomeState {
        &self.state
    }

    /// What a person should hear about the home, and about token responses that were set aside.
    #[must_use]
    pub fn take_notes(&mut self) -> Vec<StorageNote> {
        let mut notes = std::mem::take(&mut self.notes);
        for aside in self.stores.set_aside() {
            if !notes.iter().any(|known| known.rescue().is_some() && known.rescue() == aside.rescue()) {
                notes.push(aside);
            }
        }
        notes
    }

    /// What the store of `kind` holds.
    ///
    /// # Errors
    /// As [`Store::read`] and [`Lease::check_folders`].
    pub fn read(&self, kind: StoreKind) -> Result<StoreContent, Error> {
        self.lease.check_folders()?;
        self.stores.store(kind).read(self.stores.deadline())
    }

    /// What the store of `kind` holds while no program is in the middle of a commit: read under the commit locks.
    ///
    /// # Errors
    /// As [`CommitLocks::begin`] and [`Store::read`].
    pub fn read_between_commits(&self, kind: StoreKind) -> Result<StoreContent, Error> {
        let commit = CommitLocks::begin(self.lease, WriteIntent::Keep)?;
        self.stores.store(kind).read(commit.remaining()?)
    }

    /// Replaces what the caller saw in the store of `kind` by `document`, records that with `change`, and reads it back.
    ///
    /// # Errors
    /// - The locks cannot be acquired or the store cannot be used; if [`Error::is_unknown`], read before deciding anything.
    /// - [`Error::NotKept`]: what was read back is not the document.
    pub fn replace(
        &mut self,
        kind: StoreKind,
        seen: SeenRevision,
        document: &AuthDocument,
        intent: WriteIntent,
        change: impl FnOnce(&mut HomeState),
    ) -> Result<ReplaceOutcome, Error> {
        let store = self.stores.store(kind);
        let written = {
            let commit = CommitLocks::begin(self.lease, intent)?;
            let now = store.read(commit.remaining()?)?;
            if now.seen() != seen || !(kind == StoreKind::Keychain || commit.is_on_target()) {
                return Ok(ReplaceOutcome::Moved(now));
            }
            store.write(&commit, document)
        };
        if written.as_ref().is_err_and(|error| !error.is_unknown()) {
            return Ok(ReplaceOutcome::Written(written?));
        }
        self.record(|state| {
            state.store = Some(kind);
            change(state);
        })?;
        let revision = document.revision();
        let now = store.read(self.stores.deadline());
        let mut written = match (written, &now) {
            (Ok(written), _) => written,
            // It may have arrived all the same: only the store itself can tell.
            (Err(_), Ok(StoreContent::Document(stored))) if stored.document.revision() == revision => {
                WriteReport { location: stored.location.clone(), notes: Vec::new() }
            }
            (Err(error), _) => return Err(error),
        };
        match now?.seen() {
            SeenRevision::Credential(now) if now == revision => {}
            now if now == seen || now == SeenRevision::Nothing => {
                return Err(Error::NotKept { location: written.location });
            }
            _ => written.notes.push(StorageNote::Overtaken { location: written.location.clone() }),
        }
        Ok(ReplaceOutcome::Written(written))
    }

    /// Removes what the caller saw from the store of `kind`. The document's file is the one that the lease found, also where
    /// a link leads elsewhere by now.
    ///
    /// # Errors
    /// The locks cannot be acquired or the store cannot be used; if [`Error::is_unknown`], read before deciding anything.
    pub fn remove(&mut self, kind: StoreKind, seen: SeenRevision) -> Result<RemoveOutcome, Error> {
        let store = self.stores.store(kind);
        let removed = {
            let commit = CommitLocks::begin(self.lease, WriteIntent::Keep)?;
            let now = store.read(commit.remaining()?)?;
            if now.seen() != seen {
                return Ok(RemoveOutcome::Moved(now));
            }
            store.remove(&commit)
        };
        if kind == StoreKind::Keychain && removed.is_ok() {
            self.state.left_in_keychain = false;
        }
        self.removed(removed).map(RemoveOutcome::Gone)
    }

    pub(super) fn removed(&mut self, removed: Result<Removal, Error>) -> Result<Removal, Error> {
        match &removed {
            Ok(Removal::Absent) => {}
            Err(error) if !error.is_unknown() => {}
            // What is gone is gone, and a file tells of it by itself.
            _ => drop(self.record(|_| {})),
        }
        removed
    }

    /// Merges `rescue` into the document that it descends from, whatever else was changed there meanwhile, and reads it
    /// back. Then it is recorded and cleared.
    ///
    /// The document's file is the one that the lease found: a link that leads elsewhere by now changes nothing.
    ///
    /// # Errors
    /// The store cannot be used; the rescue stays.
    pub fn advance(&mut self, rescue: &Rescue) -> Result<AdvanceOutcome, Error> {
        self.advance_from(&self.lease.records().rescue(), rescue)
    }

    /// As [`Self::advance`], for a rescue in the file `path`.
    pub(super) fn advance_from(&mut self, path: &Path, rescue: &Rescue) -> Result<AdvanceOutcome, Error> {
        let store = self.stores.store(rescue.kind());
        let Some(revision) = self.merge(&*store, rescue)? else { return Ok(AdvanceOutcome::Moved) };
        failpoint::at("committed");
        let now = store.read(self.stores.deadline())?;
        // If this cannot be written the rescue stays, and the next holder of the lease records it.
        if self.record(|state| state.committed(rescue)).is_ok() {
            failpoint::at("recorded");
            let _ = private_file::remove(path, Links::Refuse);
        }
        failpoint::at("cleared");
        let is_it = matches!(&now, StoreContent::Document(stored) if stored.document.revision() == revision);
        Ok(if is_it { AdvanceOutcome::Stored } else { AdvanceOutcome::Overtaken })
    }

    fn merge(&self, store: &dyn Store, rescue: &Rescue) -> Result<Option<Revision>, Error> {
        let commit = CommitLocks::begin(self.lease, WriteIntent::Keep)?;
        // A link that was put in its place is an error: the rescue stays for a process with the lease of its target.
        let StoreContent::Document(stored) = store.read(commit.remaining()?)? else { return Ok(None) };
        if !self.descends(&stored.document, rescue) {
            return Ok(None);
        }
        let successor = stored
            .document
            .with_successor(&rescue.tokens, rescue.received_at)
            .map_err(|source| Error::Document { location: stored.location.clone(), source })?;
        store.write(&commit, &successor)?;
        Ok(Some(successor.revision()))
    }

    /// Whether `document` holds what was spent for `rescue`, or an older state of that login that was put back.
    pub(super) fn descends(&self, document: &AuthDocument, rescue: &Rescue) -> bool {
        let Some(fingerprint) = document.fingerprint() else { return false };
        let old = fingerprint == rescue.parent || self.state.spent.contains(&fingerprint);
        old && !rescue.is_foreign_to(Some(document)) && !holds(document, rescue)
    }

    /// Removes all items of the keychain but the one in use, and those of other accounts. Returns how many were removed.
    ///
    /// # Errors
    /// As [`Self::remove`].
    pub fn remove_duplicates(&mut self) -> Result<usize, Error> {
        let removed =
            self.stores.keychain().remove_duplicates(&CommitLocks::begin(self.lease, WriteIntent::Keep)?)?;
        if removed > 0 {
            self.record(|_| {})?;
        }
        Ok(removed)
    }

    /// Makes `selection` what is read from now on, in `config.toml` where that does not say so already.
    ///
    /// # Errors
    /// [`Error::File`]: the file cannot be written; it is as it was.
    pub fn select(&mut self, selection: StoreSelection) -> Result<(), Error> {
        match self.stores.setting_for(selection) {
            Some(selection) => self.stores.settings.set_store(self.lease, selection),
            None => Ok(()),
        }
    }

    /// Puts `config.toml` and the recorded store back to what they were.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn restore_selection(&mut self, before: &StoreSettings) -> Result<(), Error> {
        self.stores.settings.restore(self.lease, &before.settings)?;
        let store = before.store;
        self.record(|state| state.store = store)
    }

    /// Undoes a [`Self::replace`] that was followed by a failure: puts back what was in the store, `config.toml` and the
    /// recorded store. What another program has changed since is its own, and stays.
    pub fn roll_back(
        &mut self,
        kind: StoreKind,
        wrote: SeenRevision,
        there: &StoreContent,
        before: &StoreSettings,
        intent: WriteIntent,
    ) {
        // Each is tried whatever became of the other; the caller has the error that matters.
        let _ = self.restore_selection(before);
        // What cannot be read now cannot be compared, and is not replaced.
        let Ok(now) = self.read(kind) else { return };
        let put_back = match there {
            _ if now.seen() != wrote || there.seen() == wrote => return,
            StoreContent::Document(old) => self.replace(kind, wrote, &old.document, intent, |_| {}).map(drop),
            _ => self.remove(kind, wrote).map(drop),
        };
        let _ = put_back.and_then(|()| self.restore_selection(before));
    }

    /// What [`Self::restore_selection`] puts back.
    #[must_use]
    pub fn selected(&self) -> StoreSettings {
        StoreSettings { settings: self.stores.settings.clone(), store: self.state.store }
    }

    /// Removes the `auth_token` of old builds from `config.toml`.
    ///
    /// # Errors
    /// [`Error::File`]: the file cannot be written; it is as it was.
    pub fn remove_legacy_token(&mut self) -> Result<LegacyToken, Error> {
        let before = self.stores.settings.config.legacy_token;
        if before == LegacyToken::Present {
            self.stores.settings.remove_legacy_token(self.lease)?;
        }
        Ok(before)
    }

    /// Changes the state, under a new generation, as this process's own report.
    ///
    /// # Errors
    /// [`Error::File`]: it cannot be written; the old state is untouched. [`Error::Random`].
    pub fn record(&mut self, change: impl FnOnce(&mut HomeState)) -> Result<(), Error> {
        change(&mut self.state);
        self.state.write(self.lease, Some(ChangeAuthor::this_process()))
    }

    /// As [`Self::record`], after adopting what another program committed.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub fn record_adopted(&mut self, change: impl FnOnce(&mut HomeState)) -> Result<(), Error> {
        change(&mut self.state);
        self.state.write(self.lease, None)
    }

    /// Removes the rescue: what was in it is stored, or revoked.
    ///
    /// # Errors
    /// [`Error::File`]: it is still there.
    pub fn clear_rescue(&self) -> Result<(), Error> {
        private_file::remove(&self.lease.records().rescue(), Links::Refuse)?;
        Ok(())
    }

    /// Removes the key that rescues are sealed with, unless one that it sealed is still there.
    ///
    /// # Errors
    /// [`Error::Keychain`].
    pub fn remove_sealing_key(&self) -> Result<(), Error> {
        if recover::set_aside(&self.lease.records())?.is_empty() {
            self.stores.keychain().remove_sealing_key(self.lease, self.stores.deadline())?;
        }
        Ok(())
    }
}

/// What is read: `config.toml` and the recorded store at one moment.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    settings: super::SettingsFile,
    store: Option<StoreKind>,
}

impl HomeState {
    /// A token was spent for what is in `rescue`.
    pub(super) fn committed(&mut self, rescue: &Rescue) {
        if rescue.child().is_some_and(|child| child != rescue.parent) {
            self.spend(rescue.parent);
        }
        self.received_at = Some(rescue.received_at);
        self.poison = None;
        self.outcome = Some(SpendRecord::committed(rescue.parent, rescue.received_at));
    }
}
