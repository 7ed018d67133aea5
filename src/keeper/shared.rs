//! What the timer, the sockets and the exports of a keeper share: the login, and one refresh at a time.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use super::member::MemberHandle;
use super::schedule::{Due, due};
use super::singleton::KeeperLock;
use crate::clock::Clock;
use crate::home::Home;
use crate::manager::{self, AuthManager, JobFailure, RefreshReason, Snapshot};
use crate::remedy::ErrorKind;
use crate::secret::Fingerprint;
use crate::store::HomeState;
use crate::watch::WatchThread;

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

/// What the timer, the sockets and the exports of a keeper share.
pub(super) struct KeeperShared {
    pub(super) lock: KeeperLock,
    pub(super) home: Home,
    pub(super) manager: AuthManager,
    pub(super) refresher: Box<dyn Refresher>,
    pub(super) clock: Clock,
    /// Watches sockets and lists of exports.
    pub(super) files: WatchThread,
    /// Held while refreshing, so that concurrent callers share one refresh.
    pub(super) flight: Mutex<()>,
    /// This keeper's random share of the spread of refresh times, from 0 to 1.
    pub(super) spread: f64,
    /// Takes part in the fleet of the home.
    pub(super) member: MemberHandle,
}

/// Until when a token is not refreshed again after an attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetryTimes {
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) until: Instant,
}

impl KeeperShared {
    /// Tries to refresh once, and returns when to try again.
    pub(super) async fn attempt(self: &Arc<Self>, snapshot: Arc<Snapshot>) -> Option<RetryTimes> {
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
    pub(super) async fn refresh(
        self: &Arc<Self>,
        reason: RefreshReason,
        base: Arc<Snapshot>,
    ) -> Result<(), JobFailure> {
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

    /// Returns when the keeper refreshes `snapshot`.
    pub(super) fn next_refresh(&self, snapshot: &Snapshot) -> Option<Timestamp> {
        match due(snapshot, self.spread, self.clock.now()) {
            Due::At(moment) => Some(moment),
            Due::Never => None,
        }
    }
}
