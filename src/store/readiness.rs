//! Whether the successor of a login could be saved: asked before a token is spent, and by reports that spend none.

use super::rescue::RescueReservation;
use super::{DocumentTarget, Error, Stores};
use crate::config::StoreKind;

impl Stores {
    /// Checks whether a refresh of the document in the store of `kind` could be saved now: in the rescue, under Codex's
    /// commit locks, and in the store itself. Creates, changes and locks nothing; who holds a lock is no matter.
    ///
    /// # Errors
    /// The error that the refresh would end with before it spends a token, as far as a check without a trial finds it.
    pub fn check_refresh(&self, kind: StoreKind) -> Result<(), Error> {
        let target = self.pinned.clone().map_or_else(|| DocumentTarget::of(&self.home), Ok)?;
        let store = self.store(kind);
        store.check_write(self.deadline())?;
        if kind == StoreKind::Keychain {
            // A key that is missing is made; one that cannot be looked for cannot be used either.
            self.keychain().sealing_key(&target.records(), self.deadline())?;
            self.file().check_locks()?;
        }
        RescueReservation::check(&target.records())
    }
}
