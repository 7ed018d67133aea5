//! Removals for a logout: whether one could succeed, and those of what [`Writer::read`] refuses or a person forces.

use std::time::Instant;

use super::{CommitLocks, Error, Removal, Store as _, WriteIntent, Writer};
use crate::config::{StoreKind, StoreSelection, StoreSetting};

impl Writer<'_> {
    /// Whether a login is, or was, in the keychain, by the state or by `config.toml`.
    pub(crate) fn uses_keychain(&self) -> bool {
        self.state.store == Some(StoreKind::Keychain)
            || matches!(
                self.stores.settings().config.store,
                StoreSetting::Selected(selection) if selection != StoreSelection::File
            )
    }

    /// Whether a keychain that cannot be read for `error` may hold a login of ours.
    pub(crate) fn may_hide_a_login(&self, error: &Error) -> bool {
        let automatic = self.stores.settings().config.store.selection() == Some(StoreSelection::Auto);
        let named = self.state.store == Some(StoreKind::Keychain) || !automatic;
        self.state.left_in_keychain || (self.uses_keychain() && (named || error.hides_a_login()))
    }

    /// Whether [`Self::remove`] could succeed now, as far as that can be told without a trial. Changes nothing.
    ///
    /// # Errors
    /// The error that the removal would end with.
    pub fn check_remove(&self, kind: StoreKind) -> Result<(), Error> {
        self.stores.store(kind).check_remove(self.stores.deadline())?;
        self.stores.file().check_locks()
    }

    /// Removes the document's file if it holds exactly `bytes`, which [`Self::read`] refuses.
    ///
    /// # Errors
    /// As [`Self::remove`].
    pub(crate) fn remove_file_of(&mut self, bytes: &[u8]) -> Result<Option<Removal>, Error> {
        let removed = {
            let commit = CommitLocks::begin(self.lease(), WriteIntent::Keep)?;
            let now = self.stores.whole_file()?;
            if now.is_none_or(|now| now[..] != *bytes) {
                return Ok(None);
            }
            self.stores.file().remove(&commit)
        };
        self.removed(removed).map(Some)
    }

    /// Removes whatever is in the store of `kind`, for a person who forces it: a commit lock that is not free before `ends`
    /// is done without.
    ///
    /// # Errors
    /// The store cannot be used.
    pub fn force_removal(&mut self, kind: StoreKind, ends: Instant) -> Result<Removal, Error> {
        let store = self.stores.store(kind);
        let removed = store.remove(&CommitLocks::force(self.lease(), ends));
        self.removed(removed)
    }
}
