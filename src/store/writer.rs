//! The writer: the only way to change the stores, the state and the rescue of a home.

use codex_auth_platform::private_file::{self, Links, Removal};

use super::commit::{CommitLocks, WriteIntent};
use super::content::{RescueRecovery, SeenRevision, StorageNote, StoreContent, WriteReport};
use super::error::Error;
use super::find::Stores;
use super::lease::Lease;
use super::rescue::rescues_set_aside;
use super::settings::{SettingChange, SettingsFile};
use super::state::{ChangeAuthor, HomeState, SettingRecord};
use crate::config::{LegacyToken, StoreKind, StoreSelection};
use crate::document::AuthDocument;

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
    pub(super) recoveries: Vec<RescueRecovery>,
}

/// The outcome of [`Writer::replace`].
#[derive(Debug)]
#[must_use = "the store may have changed, so that nothing was written"]
#[expect(clippy::exhaustive_enums, reason = "a caller must handle every outcome")]
pub enum ReplaceOutcome {
    /// The document is stored.
    Written(WriteReport),
    /// The store holds this instead of what the caller saw; nothing was written.
    Changed(StoreContent),
}

/// The outcome of [`Writer::remove`].
#[derive(Debug)]
#[must_use = "the store may have changed, so that nothing was removed"]
#[expect(clippy::exhaustive_enums, reason = "a caller must handle every outcome")]
pub enum RemoveOutcome {
    /// Nothing is left in the store.
    Removed(Removal),
    /// The store holds this instead of what the caller saw; nothing was removed.
    Changed(StoreContent),
}

impl<'lease> Writer<'lease> {
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

    /// Takes what [`Self::recover`] found and did, for the history of the login.
    #[must_use]
    pub fn take_recoveries(&mut self) -> Vec<RescueRecovery> {
        std::mem::take(&mut self.recoveries)
    }

    /// Reads the store of `kind`.
    ///
    /// # Errors
    /// As [`super::Store::read`] and [`Lease::check_folders`].
    pub fn read(&self, kind: StoreKind) -> Result<StoreContent, Error> {
        self.lease.check_folders()?;
        self.stores.store(kind).read(self.stores.timeout())
    }

    /// Reads the store of `kind` under the commit locks, so that no program is in the middle of a commit.
    ///
    /// # Errors
    /// As [`CommitLocks::acquire`] and [`super::Store::read`].
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
            state.mark_current(document);
            change(state);
        })?;
        let revision = document.revision();
        let now = store.read(self.stores.timeout());
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

    /// Removes what the caller saw from the store of `kind`. The document's file is the one that the lease found, even
    /// if the link has been changed since.
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
    pub fn select(&mut self, selection: StoreSelection) -> Result<Option<SettingChange>, Error> {
        let Some(selection) = self.stores.setting_for(selection) else { return Ok(None) };
        let change = self.stores.settings.set_store(self.lease, selection)?;
        if let Some(change) = &change {
            tracing::info!("{change}");
            self.record(|state| state.remember_setting(change))?;
        }
        Ok(change)
    }

    /// Undoes the changes of [`Self::select`], unless the user has changed the value since. The caller records the state.
    ///
    /// # Errors
    /// [`Error::File`]: the file cannot be written; it is unchanged.
    pub fn undo_selection(&mut self) -> Result<Option<SettingChange>, Error> {
        let Some(SettingRecord { set, before, created }) = self.state.setting.take() else { return Ok(None) };
        self.stores.settings.unset_store(self.lease, &set, before.as_deref(), created)
    }

    /// Restores `config.toml` and the recorded store.
    ///
    /// # Errors
    /// [`Error::File`].
    fn restore_settings(&mut self, before: &StoreSettings) -> Result<(), Error> {
        self.stores.settings.restore(self.lease, &before.settings)?;
        let (store, setting) = (before.store, before.setting.clone());
        self.record(|state| (state.store, state.setting) = (store, setting))
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
            StoreContent::Unparsable { bytes, .. } => self.put_back(kind, wrote, bytes, intent),
            StoreContent::Nothing => self.remove(kind, wrote).map(drop),
        };
        let _ = put_back.and_then(|()| self.restore_settings(before));
    }

    /// Stores `bytes`, which are not a document, again in place of what this writer wrote.
    fn put_back(
        &mut self,
        kind: StoreKind,
        wrote: SeenRevision,
        bytes: &[u8],
        intent: WriteIntent,
    ) -> Result<(), Error> {
        let store = self.stores.store(kind);
        {
            let commit = CommitLocks::acquire(self.lease, intent)?;
            if store.read(commit.remaining()?)?.seen() != wrote {
                return Ok(());
            }
            store.write_bytes(&commit, bytes)?;
        }
        self.record(|_| {})
    }

    /// Returns the current settings, for a later [`Self::roll_back`].
    #[must_use]
    pub fn store_settings(&self) -> StoreSettings {
        StoreSettings {
            settings: self.stores.settings.clone(),
            store: self.state.store,
            setting: self.state.setting.clone(),
        }
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
        if rescues_set_aside(&self.lease.records())?.is_empty() {
            self.stores.keychain().remove_sealing_key(self.lease, self.stores.timeout())?;
        }
        Ok(())
    }
}

impl Stores {
    /// Returns the writer of the stores under `lease`. It reads the configuration again and writes to the document's
    /// file that the lease found.
    ///
    /// # Errors
    /// As [`SettingsFile::read`]; [`Error::File`]: `state.json` is there and cannot be read.
    pub fn writer<'lease>(&self, lease: &'lease Lease) -> Result<Writer<'lease>, Error> {
        let stores = self.under_lease(lease)?;
        let (state, note) = HomeState::read_at(&lease.records())?;
        let notes = note.into_iter().collect();
        Ok(Writer { lease, stores, state, notes, recoveries: Vec::new() })
    }
}

/// `config.toml` and the recorded store at one moment.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    settings: SettingsFile,
    store: Option<StoreKind>,
    setting: Option<SettingRecord>,
}
