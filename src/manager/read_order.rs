//! The order of reads of the store, and the file stamps that show whether another read is needed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use codex_auth_platform::sync::lock;

use crate::home::Home;
use crate::store::{self, DocumentLocation, Stamp};

/// Minimum interval between keychain reads while logged out or poisoned.
const KEYCHAIN_READ_INTERVAL: Duration = Duration::from_secs(2);

/// Numbers the reads of one manager and its transactions.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadOrder(Arc<ReadCounts>);

#[derive(Debug, Default)]
struct ReadCounts {
    started: AtomicU64,
    published: AtomicU64,
}

/// The position of a read in the order. The default comes before all reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ReadTicket(u64);

impl ReadOrder {
    /// Returns the ticket of a new read. Call it before reading the store.
    pub(super) fn begin(&self) -> ReadTicket {
        ReadTicket(self.0.started.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// Marks the read as published and returns `true`, unless a later read was published already.
    pub(super) fn publish(&self, ticket: ReadTicket) -> bool {
        self.0.published.fetch_max(ticket.0, Ordering::SeqCst) <= ticket.0
    }
}

/// The stamps of the manager's last published read.
#[derive(Debug, Default)]
pub(super) struct StampCheck(Mutex<Option<CheckedStamps>>);

#[derive(Debug)]
pub(super) struct CheckedStamps {
    at: Instant,
    files: Vec<Option<Stamp>>,
}

impl StampCheck {
    /// Stats the files of `home`. Call it just before reading the store.
    pub(super) fn stat(home: &Home) -> CheckedStamps {
        CheckedStamps { at: Instant::now(), files: store::watched_stamps(home) }
    }

    /// Records the stamps of a read, unless a later read was recorded. Call it after the snapshot was published:
    /// before that, callers would take the older snapshot for the content of the files.
    pub(super) fn record(&self, stamps: CheckedStamps) {
        let mut last = lock(&self.0);
        if last.as_ref().is_none_or(|last| last.at <= stamps.at) {
            *last = Some(stamps);
        }
    }

    /// Returns whether a file of `home` has changed since the last read. Each commit of this library changes one.
    pub(super) fn files_have_changed(&self, home: &Home) -> bool {
        lock(&self.0).as_ref().is_none_or(|last| last.files != store::watched_stamps(home))
    }

    /// Returns whether a read may find a change: a file of `home` has changed, or the login at `location` may be in the
    /// keychain and the last read is [`KEYCHAIN_READ_INTERVAL`] ago. Stats a few files and opens none.
    pub(super) fn may_have_changed(&self, home: &Home, location: Option<&DocumentLocation>) -> bool {
        if self.files_have_changed(home) {
            return true;
        }
        let is_recent = lock(&self.0).as_ref().is_some_and(|last| last.at.elapsed() < KEYCHAIN_READ_INTERVAL);
        !matches!(location, Some(DocumentLocation::File(_))) && !is_recent
    }
}
