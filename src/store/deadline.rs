//! How long a command may still wait for locks, all of them together, and whether it is to stop waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The limit of all waits for locks of one command, made when it starts. Clones share it.
///
/// Only waiting uses it up: the time in which the authority answers does not keep the answer from being stored. It can be
/// cancelled, which ends a wait within a moment, until something was begun that has to be finished.
#[derive(Clone, Debug)]
pub struct LockDeadline(Arc<DeadlineShared>);

#[derive(Debug)]
struct DeadlineShared {
    left: AtomicU64,
    cancelled: AtomicBool,
    finishing: AtomicBool,
}

impl LockDeadline {
    /// Waits of `limit` in all.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        let left = AtomicU64::new(micros(limit));
        Self(Arc::new(DeadlineShared {
            left,
            cancelled: AtomicBool::new(false),
            finishing: AtomicBool::new(false),
        }))
    }

    /// How much is left.
    #[must_use]
    pub fn left(&self) -> Duration {
        Duration::from_micros(self.0.left.load(Ordering::Relaxed))
    }

    /// Counts a wait that another process did for this command.
    pub fn count(&self, waited: Duration) {
        let less = |left: u64| Some(left.saturating_sub(micros(waited)));
        // It always has a next value.
        let _ = self.0.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Shortens what is left to `limit`.
    pub(crate) fn at_most(&self, limit: Duration) -> &Self {
        self.0.left.fetch_min(micros(limit), Ordering::Relaxed);
        self
    }

    /// Ends the waiting, for a command that was interrupted.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether waiting is to end now.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Relaxed) && !self.0.finishing.load(Ordering::Relaxed)
    }

    /// What was begun has to be finished: from now on nothing cancels it.
    pub(crate) fn finish(&self) {
        self.0.finishing.store(true, Ordering::Relaxed);
    }

    /// Runs `wait` with the time that it may take, which is what is left and at most `most`, and counts the time that it took.
    pub(super) fn during<T>(&self, most: Duration, wait: impl FnOnce(Duration) -> T) -> T {
        let began = Instant::now();
        let done = wait(self.left().min(most));
        self.count(began.elapsed());
        done
    }
}

impl From<Duration> for LockDeadline {
    fn from(limit: Duration) -> Self {
        Self::after(limit)
    }
}

impl From<&Self> for LockDeadline {
    fn from(deadline: &Self) -> Self {
        deadline.clone()
    }
}

fn micros(span: Duration) -> u64 {
    span.as_micros().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_together_take_no_longer_than_the_limit() {
        let deadline = LockDeadline::after(Duration::from_secs(60));
        deadline.count(Duration::from_secs(55));
        assert_eq!(deadline.during(Duration::from_secs(10), |most| most), Duration::from_secs(5));
        deadline.clone().count(Duration::from_secs(100));
        assert_eq!(deadline.left(), Duration::ZERO);
    }

    #[test]
    fn what_has_to_be_finished_is_not_cancelled() {
        let deadline = LockDeadline::after(Duration::ZERO);
        deadline.cancel();
        assert!(deadline.is_cancelled());
        deadline.finish();
        assert!(!deadline.is_cancelled());
    }
}
