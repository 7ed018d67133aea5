//! The handle that wakes a watch.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Weak};

/// A handle that ends the current or next [`Watch::wait`](super::Watch::wait). Several wake-ups before that count as one.
#[derive(Clone, Debug)]
pub struct WatchTrigger {
    sender: SyncSender<()>,
    /// Set for the member of a thread that is to be woken; the others are not.
    member: Option<Weak<AtomicBool>>,
}

impl WatchTrigger {
    pub(super) fn new(sender: SyncSender<()>) -> Self {
        Self { sender, member: None }
    }

    /// Returns a trigger that sets `member` before it wakes the watch.
    pub(super) fn of_member(&self, member: &Arc<AtomicBool>) -> Self {
        Self { sender: self.sender.clone(), member: Some(Arc::downgrade(member)) }
    }

    /// Wakes the watch.
    pub fn wake(&self) {
        let _ = self.try_wake();
    }

    /// Wakes the watch; returns `false` if it was dropped.
    #[must_use]
    pub fn try_wake(&self) -> bool {
        if let Some(member) = &self.member {
            let Some(member) = member.upgrade() else { return false };
            member.store(true, Ordering::SeqCst);
        }
        // A full channel means that a wake-up is pending already.
        !matches!(self.sender.try_send(()), Err(TrySendError::Disconnected(())))
    }
}
