//! The order of the looks at the store, by which what was found earlier never replaces what was found later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers the looks of one manager, those of its transactions included.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadOrder(Arc<ReadCounts>);

#[derive(Debug, Default)]
struct ReadCounts {
    begun: AtomicU64,
    published: AtomicU64,
}

/// The place of a look in that order. What no look has found comes before all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ReadTicket(u64);

impl ReadOrder {
    /// Begins a look. Call it before the store is read.
    pub(super) fn begin(&self) -> ReadTicket {
        ReadTicket(self.0.begun.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// Returns whether no later look was published before, and counts `look` as published if so.
    pub(super) fn publish(&self, look: ReadTicket) -> bool {
        self.0.published.fetch_max(look.0, Ordering::SeqCst) <= look.0
    }
}
