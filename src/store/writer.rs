//! The writer: the only way to change the stores, the state and the rescue of a home.

use std::path::Path;

use codex_auth_platform::private_file::{self, Links, Removal};

use super::recover::{self, has_tokens_of};
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
/// Every change compares first: content that the caller has not seen is neither replaced nor removed. Every change of a
/// store is followed at once by a new generation of the state, so that all processes notice it even if a later step
/// fails.
#[derive(Debug)]
pub struct Writer<'lease> {
    lease: &'lease Lease,
    pub(super) stores: Stores,
    pub(super) state: HomeState,
    pub(super) notes: Vec<StorageNote>,
}

/// The outcome of [`Writer::replace`].
#[derive(Debug)]
#[must_use = "the store may have changed, so that nothing was written"]
#[expect(clippy::exhaustive_enums, reason = "every outcome is the caller's to handle")]
pub enum ReplaceOutcome {
    /// The document is stored.
    Written(WriteReport),
    /// The store holds this instead of what the caller saw; nothing was written.
    Changed(StoreContent),
}

/// The outcome of [`Writer::remove`].
#[derive(Debug)]
#[must_use = "the store may have changed, so that nothing was removed"]
#[expect(clippy::exhaustive_enums, reason = "every outcome is the caller's to handle")]
pub enum RemoveOutcome {
    /// Nothing is left in the store.
    Removed(Removal),
    /// The store holds this instead of what the caller saw; nothing was removed.
    Changed(StoreContent),
}

/// The outcome of [`Writer::commit_rescue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the store may have changed, so that nothing was written"]
#[expect(clippy::exhaustive_enums, reason = "every outcome is the caller's to handle")]
pub enum CommitOutcome {
    /// The successor is stored and was read back; the rescue is removed.
    Stored,
    /// The successor was stored, and another program has replaced it since; the rescue is removed.
    ReplacedSince,
    /// The store does not hold the spent token; nothing was written, and the rescue stays.
    Changed,
}

impl<'lease> Writer<'lease> {
    pub(super) fn new(lease: &'lease Lease, stores: Stores) -> Result<Self, Error> {
        let (state, note) = HomeState::read_at(&lease.records())?;
        Ok(Self { lease, stores, state, notes: note.into_iter().collect() })
    }

    /// Returns the lease.
    pub fn lease(&self) -> &'lease Lease {
        self.lease
    }

    /// Returns the stores, with the document's file that the lease found.
    #[must_use]
    pub fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Returns the state as it was read or last written.
    #[must_use]
    pub fn state(&self) -> &HomeState {
        &self.state
    }

    /// Takes the warnings about the home and about rescues that were set aside, to show to the user.
    #[must_use]
    pub fn take_notes(&mut self) -> Vec<StorageNote> {
        let mut notes = std::mem::take(&mut self.notes);
        for aside in self.stores.rescues_set_aside() {
            if !notes.iter().any(|known| known.rescue().is_some() && known.rescue() == aside.rescue()) {
                notes.push(aside);
            }
        }
        notes
    }

    /// Reads the store of `kind`.
    ///
    /// # Errors
    /// As [`Store::read`] and [`Lease::check_folders`].
    pub fn read(&self, kind: StoreKind) -> Result<StoreContent, Error> {
        self.lease.check_folders()?;
        self.stores.store(kind).read(self.stores.deadline())
    }

    /// Reads the store of `kind` under the commit locks, so that no program is in the middle of a commit.
    ///
    /// # Errors
    /// As [`CommitLocks::acquire`] and [`Store::read`].
    pub fn read_between_commits(&self, kind: StoreKind) -> Result<StoreContent, Error> {
        let commit = CommitLocks::acquire(self.lease, WriteIntent::Save)?;
        self.stores.store(kind).read(commit.remaining()?)
    }

    /// Replaces what the caller saw in the store of `kind` with `document`, applies `change` to the state, and reads
    /// the document back.
    ///
    /// # Errors
    /// - The locks cannot be acquired or the store cannot be used; if [`Error::is_unknown`], read before deciding
    ///   anything.
    /// - [`Error::WriteLost`]: the document was not read back.
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
            let commit = CommitLocks::acquire(self.lease, intent)?;
            let now = store.read(commit.remaining()?)?;
            if now.seen() != seen || !(kind == StoreKind::Keychain || commit.is_on_target()) {
                return Ok(ReplaceOutcome::Changed(now));
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
            // The write may have succeeded all the same; the store was read to find out.
            (Err(_), Ok(StoreContent::Document(stored))) if stored.document.revision() == revision => {
                WriteReport { location: stored.location.clone(), notes: Vec::new() }
            }
            (Err(error), _) => return Err(error),
        };
        match now?.seen() {
            SeenRevision::Credential(now) if now == revision => {}
            now if now == seen || now == SeenRevision::Nothing => {
                return Err(Error::WriteLost { location: written.location });
            }
            _ => written.notes.push(StorageNote::ReplacedSince { location: written.location.clone() }),
        }
        Ok(ReplaceOutcome::Written(written))
    }

    /// Removes what the caller saw from the store of `kind`. The document's file is the one that the lease found, also
    /// if the link leads elsewhere by now.
    ///
    /// # Errors
    /// The locks cannot be acquired or the store cannot be used; if [`Error::is_unknown`], read before deciding anything.
    pub fn remove(&mut self, kind: StoreKind, seen: SeenRevision) -> Result<RemoveOutcome, Error> {
        let store = self.stores.store(kind);
        let removed = {
            let commit = CommitLocks::acquire(self.lease, WriteIntent::Save)?;
            let now = store.read(commit.remaining()?)?;
            if now.seen() != seen {
                return Ok(RemoveOutcome::Changed(now));
            }
            store.remove(&commit)
        };
        if kind == StoreKind::Keychain && removed.is_ok() {
            self.state.left_in_keychain = false;
        }
        self.record_removal(removed).map(RemoveOutcome::Removed)
    }

    pub(super) fn record_removal(&mut self, removed: Result<Removal, Error>) -> Result<Removal, Error> {
        match &removed {
            Ok(Removal::Absent) => {}
            Err(error) if !error.is_unknown() => {}
            // The removal cannot be undone, and watchers notice a removed file also without a new state.
            _ => drop(self.record(|_| {})),
        }
        removed
    }

    /// Merges `rescue` into the document that it descends from, keeping all other changes of that document, and reads
    /// it back. Then records the commit and removes the rescue.
    ///
    /// The document's file is the one that the lease found, also if the link leads elsewhere by now.
    ///
    /// # Errors
    /// The store cannot be used; the rescue stays.
    pub fn commit_rescue(&mut self, rescue: &Rescue) -> Result<CommitOutcome, Error> {
        self.commit_rescue_at(&self.lease.records().rescue(), rescue)
    }

    /// As [`Self::commit_rescue`], for a rescue in the file `path`.
    pub(super) fn commit_rescue_at(&mut self, path: &Path, rescue: &Rescue) -> Result<CommitOutcome, Error> {
        let store = self.stores.store(rescue.kind());
        let Some(revision) = self.merge(&*store, rescue)? else { return Ok(CommitOutcome::Changed) };
        failpoint::at("committed");
        let now = store.read(self.stores.deadline())?;
        // If the state cannot be written, the rescue stays, and the next holder of the lease records the commit.
        if self.record(|state| state.committed(rescue)).is_ok() {
            failpoint::at("recorded");
            let _ = private_file::remove(path, Links::Refuse);
        }
        failpoint::at("cleared");
        let is_it = matches!(&now, StoreContent::Document(stored) if stored.document.revision() == revision);
        Ok(if is_it { CommitOutcome::Stored } else { CommitOutcome::ReplacedSince })
    }

    fn merge(&self, store: &dyn Store, rescue: &Rescue) -> Result<Option<Revision>, Error> {
        let commit = CommitLocks::acquire(self.lease, WriteIntent::Save)?;
        // If a link has replaced the file, the read fails; the rescue stays for a process with the lease of the link's
        // target.
        let StoreContent::Document(stored) = store.read(commit.remaining()?)? else { return Ok(None) };
        if !self.can_merge(&stored.document, rescue) {
            return Ok(None);
        }
        let successor = stored
            .document
            .with_new_tokens(&rescue.tokens, rescue.received_at)
            .map_err(|source| Error::Document { location: stored.location.clone(), source })?;
        store.write(&commit, &successor)?;
        Ok(Some(successor.revision()))
    }

    /// Returns whether `document` holds the token that was spent for `rescue`, or is an older state of that login that
    /// was restored.
    pub(super) fn can_merge(&self, document: &AuthDocument, rescue: &Rescue) -> bool {
        let Some(fingerprint) = document.fingerprint() else { return false };
        let old = fingerprint == rescue.parent || self.state.spent.contains(&fingerprint);
        old && !rescue.is_foreign_to(Some(document)) && !has_tokens_of(document, rescue)
    }

    /// Removes the duplicates of the keychain item in use, except those that hold a login of another account. Returns
    /// how many were removed.
    ///
    /// # Errors
    /// As [`Self::remove`].
    pub fn remove_duplicates(&mut self) -> Result<usize, Error> {
        let removed = self
            .stores
            .keychain()
            .remove_duplicates(&CommitLocks::acquire(self.lease, WriteIntent::Save)?)?;
        if removed > 0 {
            self.record(|_| {})?;
        }
        Ok(removed)
    }

    /// Selects the store that is read from now on, in `config.toml` if that needs a change.
    ///
    /// # Errors
    /// [`Error::File`]: the file cannot be written; it is unchanged.
    pub fn select(&mut self, selection: StoreSelection) -> Result<(), Error> {
        match self.stores.setting_for(selection) {
            Some(selection) => self.stores.settings.set_store(self.lease, selection),
            None => Ok(()),
        }
    }

    /// Restores `config.toml` and the recorded store.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn restore_settings(&mut self, before: &StoreSettings) -> Result<(), Error> {
        self.stores.settings.restore(self.lease, &before.settings)?;
        let store = before.store;
        self.record(|state| state.store = store)
    }

    /// Undoes a [`Self::replace`] after a later failure: restores the content of the store, `config.toml` and the
    /// recorded store. Changes that another program made since are kept. Errors are ignored; the caller has the one
    /// that matters.
    pub fn roll_back(
        &mut self,
        kind: StoreKind,
        wrote: SeenRevision,
        there: &StoreContent,
        before: &StoreSettings,
        intent: WriteIntent,
    ) {
        // The content is restored also if the settings cannot be.
        let _ = self.restore_settings(before);
        // Content that cannot be read cannot be compared, and is not replaced.
        let Ok(now) = self.read(kind) else { return };
        let put_back = match there {
            _ if now.seen() != wrote || there.seen() == wrote => return,
            StoreContent::Document(old) => self.replace(kind, wrote, &old.document, intent, |_| {}).map(drop),
            _ => self.remove(kind, wrote).map(drop),
        };
        let _ = put_back.and_then(|()| self.restore_settings(before));
    }

    /// Returns the settings for a later [`Self::restore_settings`].
    #[must_use]
    pub fn store_settings(&self) -> StoreSettings {
        StoreSettings { settings: self.stores.settings.clone(), store: self.state.store }
    }

    /// Removes the `auth_token` of old builds from `config.toml`, and returns whether there was one.
    ///
    /// # Errors
    /// [`Error::File`]: the file cannot be written; it is unchanged.
    pub fn remove_legacy_token(&mut self) -> Result<LegacyToken, Error> {
        let before = self.stores.settings.config.legacy_token;
        if before == LegacyToken::Present {
            self.stores.settings.remove_legacy_token(self.lease)?;
        }
        Ok(before)
    }

    /// Changes the state and writes it with a new generation and this process as the author.
    ///
    /// # Errors
    /// [`Error::File`]: it cannot be written; the old file is unchanged. [`Error::Random`].
    pub fn record(&mut self, change: impl FnOnce(&mut HomeState)) -> Result<(), Error> {
        change(&mut self.state);
        self.state.write(self.lease, Some(ChangeAuthor::this_process()))
    }

    /// As [`Self::record`], without an author, after adopting what another program committed.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub fn record_adopted(&mut self, change: impl FnOnce(&mut HomeState)) -> Result<(), Error> {
        change(&mut self.state);
        self.state.write(self.lease, None)
    }

    /// Removes the rescue, whose tokens are stored or revoked.
    ///
    /// # Errors
    /// [`Error::File`]: it could not be removed.
    pub fn clear_rescue(&self) -> Result<(), Error> {
        private_file::remove(&self.lease.records().rescue(), Links::Refuse)?;
        Ok(())
    }

    /// Removes the key that seals rescues, unless a rescue that was set aside may need it.
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

/// `config.toml` and the recorded store at one moment.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    settings: super::SettingsFile,
    store: Option<StoreKind>,
}

impl HomeState {
    /// Records that `rescue` is committed.
    pub(super) fn committed(&mut self, rescue: &Rescue) {
        if rescue.child().is_some_and(|child| child != rescue.parent) {
            self.mark_spent(rescue.parent);
        }
        self.received_at = Some(rescue.received_at);
        self.poison = None;
        self.outcome = Some(SpendRecord::committed(rescue.parent, rescue.received_at));
    }
}
