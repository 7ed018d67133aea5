//! What shows that a look at the store would find what the last one has found, without looking.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{AuthManager, Snapshot};
use crate::store::{self, DocumentLocation, Stamp};

/// A keychain tells of no change for nothing; it is asked this often at most by those who have no use for the answer.
const KEYCHAIN_LOOK: Duration = Duration::from_secs(2);

/// The last look of a manager.
#[derive(Debug, Default)]
pub(super) struct StampCheck(Mutex<Option<CheckedStamps>>);

#[derive(Debug)]
pub(super) struct CheckedStamps {
    at: Instant,
    files: Vec<Option<Stamp>>,
}

impl AuthManager {
    /// Loads what is stored. When that is published, [`Self::remember`] how its files were just before; not earlier, or
    /// an older snapshot would be taken for what the files say.
    pub(super) fn load(&self) -> Result<(Snapshot, CheckedStamps), store::Error> {
        let looked = CheckedStamps { at: Instant::now(), files: store::stamps(&self.0.engine.home) };
        Ok((self.0.engine.load()?, looked))
    }

    /// Makes `looked` the last look, unless a later one is.
    pub(super) fn remember(&self, looked: CheckedStamps) {
        let mut last = self.0.looked.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|last| last.at <= looked.at) {
            *last = Some(looked);
        }
    }

    /// Whether a file of the home is not what it was at the last look: every commit of ours changes one.
    pub(super) fn files_have_changed(&self) -> bool {
        let looked = self.0.looked.0.lock().unwrap_or_else(PoisonError::into_inner);
        looked.as_ref().is_none_or(|look| look.files != store::stamps(&self.0.engine.home))
    }

    /// Whether a look may find anything else than the last one: a file of the home is not what it was, or the login may
    /// be in a keychain that was not looked into for a while. Looks at a few files and opens none.
    pub(super) fn may_have_changed(&self) -> bool {
        let looked = self.0.looked.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(look) = looked.as_ref() else { return true };
        if look.files != store::stamps(&self.0.engine.home) {
            return true;
        }
        let in_file = matches!(self.current().location(), Some(DocumentLocation::File(_)));
        !in_file && look.at.elapsed() >= KEYCHAIN_LOOK
    }
}
