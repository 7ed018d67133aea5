//! Checking whether a refresh could be saved, before a token is spent.

use super::rescue::RescueReservation;
use super::{DocumentTarget, Error, Stores};
use crate::config::StoreKind;

impl Stores {
    /// Checks whether a refresh of the document in the store of `kind` could be saved now: in the rescue, under Codex's
    /// commit locks, and in the store itself. Creates, changes and locks nothing, and ignores who holds a lock.
    ///
    /// # Errors
    /// The error that the refresh would return before spending a token, where a check without a trial finds it.
    pub fn check_refresh(&self, kind: StoreKind) -> Result<(), Error> {
        let target = self.pinned.clone().map_or_else(|| DocumentTarget::of(&self.home), Ok)?;
        let store = self.store(kind);
        store.check_write(self.deadline())?;
        if kind == StoreKind::Keychain {
            // A missing sealing key is created by the refresh; one that cannot be read is an error.
            self.keychain().sealing_key(&target.records(), self.deadline())?;
            self.file().check_locks()?;
        }
        RescueReservation::check(&target.records())
    }
}
