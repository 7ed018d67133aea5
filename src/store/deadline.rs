//! The limit of the time that a command waits for locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The total time that one command may wait for locks. Clones share it.
///
/// Only waiting for locks counts: a slow response of the authority is stored all the same. [`Self::cancel`] ends the
/// current wait, unless a change has begun that must be completed.
#[derive(Clone, Debug)]
pub struct LockDeadline(Arc<DeadlineShared>);

#[derive(Debug)]
struct DeadlineShared {
    left: AtomicU64,
    cancelled: AtomicBool,
    finishing: AtomicBool,
}

impl LockDeadline {
    /// Allows waits of `limit` in total.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        let left = AtomicU64::new(micros(limit));
        Self(Arc::new(DeadlineShared {
            left,
            cancelled: AtomicBool::new(false),
            finishing: AtomicBool::new(false),
        }))
    }

    /// Returns the time left.
    #[must_use]
    pub fn left(&self) -> Duration {
        Duration::from_micros(self.0.left.load(Ordering::Relaxed))
    }

    /// Deducts the time that another process waited for this command.
    pub fn deduct(&self, waited: Duration) {
        let less = |left: u64| Some(left.saturating_sub(micros(waited)));
        // The closure always returns a value, so this cannot fail.
        let _ = self.0.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Reduces the time left to at most `limit`.
    pub(crate) fn at_most(&self, limit: Duration) -> &Self {
        self.0.left.fetch_min(micros(limit), Ordering::Relaxed);
        self
    }

    /// Ends the current wait and all later ones, for a command that was interrupted.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }

    /// Returns whether waits must end now.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Relaxed) && !self.0.finishing.load(Ordering::Relaxed)
    }

    /// Ignores cancellation from now on, because a change has begun that must be completed.
    pub(crate) fn ignore_cancel(&self) {
        self.0.finishing.store(true, Ordering::Relaxed);
    }

    /// Runs `wait` with the time left, at most `most`, and deducts the time that it took.
    pub(super) fn run_timed<T>(&self, most: Duration, wait: impl FnOnce(Duration) -> T) -> T {
        let began = Instant::now();
        let done = wait(self.left().min(most));
        self.deduct(began.elapsed());
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
    fn all_waits_together_are_bounded_by_the_limit() {
        let deadline = LockDeadline::after(Duration::from_secs(60));
        deadline.deduct(Duration::from_secs(55));
        assert_eq!(deadline.run_timed(Duration::from_secs(10), |most| most), Duration::from_secs(5));
        deadline.clone().deduct(Duration::from_secs(100));
        assert_eq!(deadline.left(), Duration::ZERO);
    }

    #[test]
    fn a_change_that_must_be_completed_is_not_cancelled() {
        let deadline = LockDeadline::after(Duration::ZERO);
        deadline.cancel();
        assert!(deadline.is_cancelled());
        deadline.ignore_cancel();
        assert!(!deadline.is_cancelled());
    }
}
