//! The keeper: the one process of a home that refreshes its login ahead of time, so that no other process has to.
//!
//! It refreshes a token when a tenth of its lifetime is left (at least ten minutes, at most a day), so that programs
//! that do not take the lease do not find it stale either. A failed refresh is logged and retried after the back-off
//! that all processes of the home share. A poisoned refresh token is not retried; the next login replaces it.
//!
//! Other keepers stand by, and one of them takes over when the first exits. The keeper also serves a local socket
//! ([`KeeperSocket`], [`Client`]); a process that can reach it needs neither file nor keychain.

mod client;
mod connections;
mod response;
mod schedule;
mod singleton;
mod socket;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

pub use self::client::{Client, ClientError, RefreshPolicy};
pub use self::response::{IssuedToken, KeeperAccount, KeeperRefusal, KeeperStatus};
use self::schedule::{Due, due};
use self::singleton::LockCheck;
pub use self::singleton::{Error, KeeperLock};
pub use self::socket::KeeperSocket;
use crate::backoff::random_fraction;
use crate::clock::Clock;
use crate::home::Home;
use crate::manager::{self, AuthManager, JobFailure, RefreshReason, Snapshot, WatchHandle};
use crate::remedy::ErrorKind;
use crate::secret::Fingerprint;
use crate::store::HomeState;
use crate::watch::WatchTrigger;

/// The pause after an attempt that refreshed nothing because the damper or a missing login prevents it.
const DAMPER_PAUSE: Duration = Duration::from_secs(60);
/// The pause after a failure without a recorded back-off.
const DEFAULT_PAUSE: Duration = Duration::from_secs(5);
/// The pause after the store was unavailable, unless it changes.
const STORE_PAUSE: Duration = Duration::from_secs(30);

/// Runs the refreshes of a keeper.
pub trait Refresher: Send + Sync {
    /// Refreshes `base` for `reason`, or adopts what another process has refreshed. The outcome is in the store.
    /// Dropping the future must not stop a refresh that has begun.
    fn refresh(&self, reason: RefreshReason, base: Arc<Snapshot>) -> RefreshFuture;
}

/// A running refresh.
pub type RefreshFuture = Pin<Box<dyn Future<Output = Result<(), JobFailure>> + Send>>;

/// Refreshes in this process, on a thread of the manager.
impl Refresher for AuthManager {
    fn refresh(&self, reason: RefreshReason, _base: Arc<Snapshot>) -> RefreshFuture {
        let manager = self.clone();
        Box::pin(
            async move { manager.refresh(reason).await.map(drop).map_err(|error| JobFailure::from(&error)) },
        )
    }
}

/// The keeper of a home.
pub struct Keeper {
    shared: Arc<KeeperShared>,
    watch: WatchHandle,
}

/// State that the timer and the socket share.
struct KeeperShared {
    lock: KeeperLock,
    home: Home,
    manager: AuthManager,
    refresher: Box<dyn Refresher>,
    clock: Clock,
    /// Held while refreshing, so that concurrent callers share one refresh.
    flight: Mutex<()>,
    /// This keeper's random share of the spread of refresh times, from 0 to 1.
    spread: f64,
}

/// Until when a token is not refreshed again after an attempt.
#[derive(Clone, Copy, Debug)]
struct RetryTimes {
    fingerprint: Option<Fingerprint>,
    until: Instant,
}

impl Keeper {
    /// Returns the keeper that holds `lock`, and starts to watch the login.
    #[must_use]
    pub fn new(lock: KeeperLock, manager: AuthManager, refresher: Box<dyn Refresher>, clock: Clock) -> Self {
        let watch = manager.watch();
        let spread = random_fraction();
        let home = lock.home().clone();
        let shared = KeeperShared { lock, home, manager, refresher, clock, flight: Mutex::new(()), spread };
        Self { shared: Arc::new(shared), watch }
    }

    /// Returns a trigger that makes the keeper read the store now.
    #[must_use]
    pub fn watch_trigger(&self) -> WatchTrigger {
        self.watch.trigger()
    }

    /// Keeps the login fresh and serves `socket` until `ended` completes. Then it waits for a running refresh, so that
    /// the new token is stored before this returns.
    ///
    /// Between refreshes it wakes at every read of the store, at least every 30 s, and so also detects a changed clock
    /// and a suspended machine.
    ///
    /// # Errors
    /// - [`Error::LockLost`]: the folder of the home was removed or replaced; another keeper may run there.
    /// - [`Error::TakenOver`]: another keeper has taken over, because this process did not respond.
    /// - [`Error::Repointed`]: the path of the home leads to another folder.
    /// - [`Error::WatchStopped`]: the thread that watches the login has ended.
    pub async fn run(
        self,
        listener: Option<KeeperSocket>,
        ended: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let answering = listener.map(|listener| {
            let reads = self.watch.reads();
            listener.answer(Arc::clone(&self.shared), reads)
        });
        let answering = async {
            match answering {
                Some(answering) => answering.await,
                None => std::future::pending().await,
            }
        };
        let done = tokio::select! {
            outcome = self.keep() => outcome,
            error = answering => Err(error),
            () = ended => Ok(()),
        };
        // Held by a running refresh.
        drop(self.shared.flight.lock().await);
        self.shared.manager.wait_idle().await;
        done
    }

    async fn keep(&self) -> Result<(), Error> {
        let mut snapshots = self.shared.manager.subscribe();
        let mut reads = self.watch.reads();
        let mut retry: Option<RetryTimes> = None;
        loop {
            let check = self.shared.lock.check()?;
            let snapshot = snapshots.borrow_and_update().clone();
            reads.mark_unchanged();
            if let LockCheck::Missing { left } = check {
                // Ended by the next read if the folder comes back.
                if let Ok(Err(_)) = tokio::time::timeout(left, reads.changed()).await {
                    return Err(Error::WatchStopped);
                }
                continue;
            }
            retry = retry.filter(|retry| retry.fingerprint == snapshot.fingerprint());
            let now = self.shared.clock.now();
            let wait = match due(&snapshot, self.shared.spread, now) {
                Due::Never => None,
                Due::At(moment) => {
                    let left = moment.duration_since(now);
                    let retry = retry.map(|retry| retry.until.saturating_duration_since(Instant::now()));
                    Some(Duration::try_from(left).unwrap_or_default().max(retry.unwrap_or_default()))
                }
            };
            if wait.is_some_and(|wait| wait.is_zero()) {
                retry = self.shared.attempt(snapshot).await;
                continue;
            }
            let deadline = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = deadline => {}
                _ = snapshots.changed() => {}
                result = reads.changed() => if result.is_err() {
                    return Err(Error::WatchStopped);
                }
            }
        }
    }
}

impl KeeperShared {
    /// Tries to refresh once, and returns when to try again.
    async fn attempt(self: &Arc<Self>, snapshot: Arc<Snapshot>) -> Option<RetryTimes> {
        let before = snapshot.fingerprint();
        let outcome = self.refresh(RefreshReason::Keeper, snapshot).await;
        let after = self.manager.current();
        let pause = match &outcome {
            Ok(()) if after.fingerprint() != before => {
                let next = self.next_refresh(&after).map(|moment| moment.to_string());
                let expires_at = after.expires_at(self.clock.now()).map(|end| end.to_string());
                tracing::info!(?expires_at, next, "refreshed");
                return None;
            }
            Ok(()) => DAMPER_PAUSE,
            Err(failure) => {
                tracing::warn!(causes = ?failure.causes, "not refreshed: {}", failure.message);
                match failure.kind {
                    ErrorKind::StoreUnavailable => STORE_PAUSE,
                    ErrorKind::LogInAgain | ErrorKind::NotLoggedIn => DAMPER_PAUSE,
                    _ => self.back_off(before).unwrap_or(DEFAULT_PAUSE),
                }
            }
        };
        Some(RetryTimes { fingerprint: after.fingerprint(), until: Instant::now() + pause })
    }

    /// Refreshes once for all concurrent callers, and reloads the snapshot. Dropping the future does not stop the
    /// refresh.
    async fn refresh(self: &Arc<Self>, reason: RefreshReason, base: Arc<Snapshot>) -> Result<(), JobFailure> {
        let shared = Arc::clone(self);
        let flight = tokio::spawn(async move {
            let _flight = shared.flight.lock().await;
            if shared.manager.current().fingerprint() != base.fingerprint() {
                return Ok(());
            }
            let outcome = shared.refresher.refresh(reason, base).await;
            // If the store cannot be read now, the watch reads it later.
            let _ = shared.manager.reload().await;
            outcome
        });
        flight.await.unwrap_or_else(|_| Err(JobFailure::from(&manager::Error::Internal)))
    }

    /// Returns the rest of the back-off that is recorded for all processes of the home.
    fn back_off(&self, fingerprint: Option<Fingerprint>) -> Option<Duration> {
        let (state, _) = HomeState::read(&self.home).ok()?;
        let outcome = state.outcome.filter(|outcome| Some(outcome.fingerprint) == fingerprint)?;
        let left = outcome.remaining_back_off(self.clock.now())?;
        // Rounded up, so that it has also ended for readers with coarser clocks.
        Duration::try_from(left + SignedDuration::from_millis(1)).ok()
    }

    fn next_refresh(&self, snapshot: &Snapshot) -> Option<Timestamp> {
        match due(snapshot, self.spread, self.clock.now()) {
            Due::At(moment) => Some(moment),
            Due::Never => None,
        }
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("lock", &self.shared.lock).finish_non_exhaustive()
    }
}
