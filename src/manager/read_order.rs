//! Orders the reads of the store, so that an earlier read never replaces a later one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
