//! Follows the histories of the logins on a thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::accounts::{HistoryFollower, HomeRecord};
use crate::watch::{FALLBACK_POLL_INTERVAL, WatchTrigger};

/// A thread that follows the events of a home, ended by dropping this.
#[derive(Debug)]
pub(super) struct RecordFollower {
    stopped: Arc<AtomicBool>,
    trigger: WatchTrigger,
}

impl RecordFollower {
    /// Calls `recorded` for each new event, until it returns false.
    pub(super) fn start(
        mut events: HistoryFollower,
        recorded: impl Fn(HomeRecord) -> bool + Send + 'static,
    ) -> Self {
        let follower = Self { stopped: Arc::new(AtomicBool::new(false)), trigger: events.trigger() };
        let stopped = Arc::clone(&follower.stopped);
        let work = move || {
            while !stopped.load(Ordering::Relaxed) {
                if !events.wait(FALLBACK_POLL_INTERVAL).into_iter().all(&recorded) {
                    return;
                }
            }
        };
        if let Err(error) = thread::Builder::new().name("codex-auth events".to_owned()).spawn(work) {
            tracing::error!(%error, "events are not followed: cannot start a thread");
        }
        follower
    }
}

impl Drop for RecordFollower {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.trigger.wake();
    }
}
