//! The limit of the time that a command waits for locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// The total time that one command may wait for locks. Clones share it.
///
/// Only waiting for locks counts: a slow response of the authority is stored all the same. [`Self::cancel`] ends the
/// current wait, unless a change has begun that must be completed.
#[derive(Clone, Debug)]
pub struct LockDeadline(Arc<DeadlineShared>);

#[derive(Debug)]
struct DeadlineShared {
    left: AtomicU64,
    /// [`WAITING`], [`CANCELLED`] or [`CHANGING`].
    state: AtomicU8,
    changed: Notify,
}

/// Waits may be cancelled.
const WAITING: u8 = 0;
/// Waits must end.
const CANCELLED: u8 = 1;
/// A change has begun that must be completed.
const CHANGING: u8 = 2;

impl LockDeadline {
    /// Allows waits of `limit` in total.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        let left = AtomicU64::new(micros(limit));
        Self(Arc::new(DeadlineShared { left, state: AtomicU8::new(WAITING), changed: Notify::new() }))
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

    /// Ends the current wait and all later ones, for a command that was interrupted. Returns `false` if a change has begun
    /// that must be completed.
    pub fn cancel(&self) -> bool {
        let cancelled = self.advance_to(CANCELLED);
        self.0.changed.notify_waiters();
        cancelled
    }

    /// Waits until it is cancelled.
    pub(crate) async fn cancelled(&self) {
        loop {
            let changed = self.0.changed.notified();
            if self.is_cancelled() {
                return;
            }
            changed.await;
        }
    }

    /// Returns whether waits must end now.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.state.load(Ordering::Relaxed) == CANCELLED
    }

    /// Ignores cancellation from now on, because a change has begun that must be completed.
    pub(crate) fn ignore_cancel(&self) {
        self.0.state.store(CHANGING, Ordering::Relaxed);
    }

    /// Begins a change that must be completed. Returns `false` if the waits were cancelled before.
    pub(super) fn begin_change(&self) -> bool {
        self.advance_to(CHANGING)
    }

    /// Leaves [`WAITING`] for `state`, and returns whether that is the state now.
    fn advance_to(&self, state: u8) -> bool {
        let advanced = self.0.state.compare_exchange(WAITING, state, Ordering::Relaxed, Ordering::Relaxed);
        advanced.is_ok() || advanced == Err(state)
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

    #[test]
    fn a_cancellation_and_the_begin_of_a_change_exclude_each_other() {
        let cancelled = LockDeadline::after(Duration::ZERO);
        assert!(cancelled.cancel() && cancelled.cancel());
        assert!(cancelled.is_cancelled() && !cancelled.begin_change());
        let changing = LockDeadline::after(Duration::ZERO);
        assert!(changing.begin_change() && changing.begin_change());
        assert!(!changing.cancel() && !changing.is_cancelled());
    }
}
