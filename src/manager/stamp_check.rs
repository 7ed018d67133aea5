//! Detects from file stamps alone whether the stored login may have changed since the last read.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{AuthManager, Snapshot};
use crate::store::{self, DocumentLocation, Stamp};

/// Minimum interval between keychain reads while logged out or poisoned.
const KEYCHAIN_READ_INTERVAL: Duration = Duration::from_secs(2);

/// The stamps of the manager's last published read.
#[derive(Debug, Default)]
pub(super) struct StampCheck(Mutex<Option<CheckedStamps>>);

#[derive(Debug)]
pub(super) struct CheckedStamps {
    at: Instant,
    files: Vec<Option<Stamp>>,
}

impl AuthManager {
    /// Reads the store, and returns the stamps from just before. Pass them to [`Self::remember`] after the snapshot was
    /// published; earlier, an older snapshot would pass for the content of the files.
    pub(super) fn load(&self) -> Result<(Snapshot, CheckedStamps), store::Error> {
        let stamps = CheckedStamps { at: Instant::now(), files: store::watched_stamps(&self.0.engine.home) };
        Ok((self.0.engine.load()?, stamps))
    }

    /// Records the stamps of a published read, unless a later read was recorded.
    pub(super) fn remember(&self, stamps: CheckedStamps) {
        let mut last = self.0.last_read.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|last| last.at <= stamps.at) {
            *last = Some(stamps);
        }
    }

    /// Whether a file of the home has changed since the last read. Each commit of this library changes one.
    pub(super) fn files_have_changed(&self) -> bool {
        let last = self.0.last_read.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().is_none_or(|last| last.files != store::watched_stamps(&self.0.engine.home))
    }

    /// Whether a read may find a change: a file of the home has changed, or the login may be in the keychain and the last
    /// read is [`KEYCHAIN_READ_INTERVAL`] ago. Stats a few files and opens none.
    pub(super) fn may_have_changed(&self) -> bool {
        let last = self.0.last_read.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = last.as_ref() else { return true };
        if last.files != store::watched_stamps(&self.0.engine.home) {
            return true;
        }
        let in_file = matches!(self.current().location(), Some(DocumentLocation::File(_)));
        !in_file && last.at.elapsed() >= KEYCHAIN_READ_INTERVAL
    }
}
