//! Removals for a logout: checks, unparsable files, and forced removals.

use std::time::Instant;

use super::{CommitLocks, Error, Removal, Store as _, WriteIntent, Writer};
use crate::config::{StoreKind, StoreSelection, StoreSetting};

impl Writer<'_> {
    /// Returns whether a login is, or was, in the keychain, according to `state.json` or `config.toml`.
    pub(crate) fn uses_keychain(&self) -> bool {
        self.state.store == Some(StoreKind::Keychain)
            || matches!(
                self.stores.settings().config.store,
                StoreSetting::Selected(selection) if selection != StoreSelection::File
            )
    }

    /// Returns whether a keychain that failed with `error` may hold a login of this home.
    pub(crate) fn keychain_may_hold_login(&self, error: &Error) -> bool {
        let automatic = self.stores.settings().config.store.selection() == Some(StoreSelection::Auto);
        let named = self.state.store == Some(StoreKind::Keychain) || !automatic;
        self.state.left_in_keychain || (self.uses_keychain() && (named || error.may_hide_login()))
    }

    /// Checks, without a trial, whether [`Self::remove`] could succeed now. Changes nothing.
    ///
    /// # Errors
    /// The error that the removal would return.
    pub fn check_remove(&self, kind: StoreKind) -> Result<(), Error> {
        self.stores.store(kind).check_remove(self.stores.deadline())?;
        self.stores.file().check_locks()
    }

    /// Removes the document's file if it holds exactly `bytes`, which are too large for [`Self::read`] or not a
    /// document. Returns `None` if the content has changed.
    ///
    /// # Errors
    /// As [`Self::remove`].
    pub(crate) fn remove_unparsable_file(&mut self, bytes: &[u8]) -> Result<Option<Removal>, Error> {
        let removed = {
            let commit = CommitLocks::acquire(self.lease(), WriteIntent::Save)?;
            let now = self.stores.raw_file()?;
            if now.is_none_or(|now| now[..] != *bytes) {
                return Ok(None);
            }
            self.stores.file().remove(&commit)
        };
        self.record_removal(removed).map(Some)
    }

    /// Removes the content of the store of `kind`, whatever it is, for a forced logout. Goes on without a commit lock
    /// that is not free before `ends`.
    ///
    /// # Errors
    /// The store cannot be used.
    pub fn force_remove(&mut self, kind: StoreKind, ends: Instant) -> Result<Removal, Error> {
        let store = self.stores.store(kind);
        let removed = store.remove(&CommitLocks::force(self.lease(), ends));
        self.record_removal(removed)
    }
}
