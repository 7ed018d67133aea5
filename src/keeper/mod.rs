//! The keeper: the one process of a home that refreshes its login ahead of time, so that no other ever has to.
//!
//! A token is refreshed while much of its life is left (a tenth, at least ten minutes, at most a day), so that even a
//! program which takes no lock of ours never finds it stale. What goes wrong is told to the log and tried again at the
//! pace that all processes of the home agree on; a refresh token that is known to be dead is left alone until somebody
//! logs in.
//!
//! Further keepers stand by, and one of them takes over when the first is gone. The keeper also answers at a local
//! socket ([`KeeperSocket`], [`Client`]): a process that can reach it needs neither the file nor the keychain.

mod answer;
mod client;
mod schedule;
mod singleton;
mod socket;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

pub use self::answer::{IssuedToken, KeeperAccount, KeeperRefusal, KeeperStatus};
pub use self::client::{Client, ClientError, RefreshPolicy};
use self::schedule::{Due, due};
pub use self::singleton::{Error, KeeperLock};
pub use self::socket::KeeperSocket;
use crate::clock::Clock;
use crate::home::Home;
use crate::manager::{self, AuthManager, JobFailure, RefreshReason, Snapshot, WatchHandle};
use crate::remedy::ErrorKind;
use crate::secret::Fingerprint;
use crate::store::HomeState;
use crate::watch::WatchTrigger;

/// How long to leave a token alone that was not refreshed though nothing failed: it was received a moment ago.
const DAMPED: Duration = Duration::from_secs(60);
/// How long to wait after a failure that names no time itself.
const PAUSE: Duration = Duration::from_secs(5);
/// How long to wait for a store to become available, unless something changes there.
const STORE_PAUSE: Duration = Duration::from_secs(30);

/// How a keeper has a token refreshed.
pub trait Refresher: Send + Sync {
    /// Refreshes what is known as `base`, for `reason`, or takes over what somebody else has refreshed. The store holds
    /// the outcome. Dropping the future must not stop what was begun.
    fn refresh(&self, reason: RefreshReason, base: Arc<Snapshot>) -> RefreshFuture;
}

/// A refresh under way.
pub type RefreshFuture = Pin<Box<dyn Future<Output = Result<(), JobFailure>> + Send>>;

/// In this process, on a thread of the manager's.
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
    watching: WatchHandle,
}

/// What the timer and the socket both use.
struct KeeperShared {
    post: KeeperLock,
    home: Home,
    manager: AuthManager,
    refresher: Box<dyn Refresher>,
    clock: Clock,
    /// Whoever refreshes holds it, so that one answer serves all who ask at once.
    flight: Mutex<()>,
    /// Where in the spread this keeper is, from 0 to 1.
    early: f64,
}

/// Until when a token is left alone after an attempt at it.
#[derive(Clone, Copy, Debug)]
struct RetryTimes {
    fingerprint: Option<Fingerprint>,
    until: Instant,
}

impl Keeper {
    /// The keeper of `singleton`'s place, over `manager` for as long as it lives.
    #[must_use]
    pub fn new(post: KeeperLock, manager: AuthManager, refresher: Box<dyn Refresher>, clock: Clock) -> Self {
        let watching = manager.watch();
        let mut random = [0; 4];
        // Without random numbers this one is the latest of its spread.
        let _ = getrandom::fill(&mut random);
        let early = f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX);
        let home = post.home().clone();
        let shared = KeeperShared { post, home, manager, refresher, clock, flight: Mutex::new(()), early };
        Self { shared: Arc::new(shared), watching }
    }

    /// What makes it look at the store again, whatever events say.
    #[must_use]
    pub fn look_again(&self) -> WatchTrigger {
        self.watching.bell()
    }

    /// Keeps the login fresh until `ended`, and answers at `listener` if there is one. A refresh that is under way then
    /// is waited for, so that what it buys is stored before this returns.
    ///
    /// Sleeps until the next deadline or look at the store; there is one every 30 s at least, so that a clock that was
    /// set and a machine that slept are noticed too.
    ///
    /// # Errors
    /// - [`Error::LockLost`]: the folder of the home was removed or replaced; another keeper may be at work there.
    /// - [`Error::TakenOver`]: another keeper has taken over, because this process had stopped.
    /// - [`Error::Repointed`]: the path of the home leads to another folder.
    pub async fn run(
        self,
        listener: Option<KeeperSocket>,
        ended: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let answering = listener.map(|listener| {
            let looks = self.watching.looks();
            listener.answer(Arc::clone(&self.shared), looks)
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
        // Who holds the flight is refreshing.
        drop(self.shared.flight.lock().await);
        self.shared.manager.wait_idle().await;
        done
    }

    async fn keep(&self) -> Result<(), Error> {
        let mut snapshots = self.shared.manager.subscribe();
        let mut looks = self.watching.looks();
        let mut patience: Option<RetryTimes> = None;
        loop {
            self.shared.post.check()?;
            let snapshot = snapshots.borrow_and_update().clone();
            looks.mark_unchanged();
            patience = patience.filter(|patience| patience.fingerprint == snapshot.fingerprint());
            let now = self.shared.clock.now();
            let wait = match due(&snapshot, self.shared.early, now) {
                Due::Never => None,
                Due::At(moment) => {
                    let left = moment.duration_since(now);
                    let patience =
                        patience.map(|patience| patience.until.saturating_duration_since(Instant::now()));
                    Some(Duration::try_from(left).unwrap_or_default().max(patience.unwrap_or_default()))
                }
            };
            if wait.is_some_and(|wait| wait.is_zero()) {
                patience = self.shared.attempt(snapshot).await;
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
                looked = looks.changed() => if looked.is_err() {
                    return Err(Error::NobodyLooks);
                }
            }
        }
    }
}

impl KeeperShared {
    /// Tries once, and says how long to leave the token alone.
    async fn attempt(self: &Arc<Self>, snapshot: Arc<Snapshot>) -> Option<RetryTimes> {
        let before = snapshot.fingerprint();
        let outcome = self.refresh(RefreshReason::Keeper, snapshot).await;
        let after = self.manager.current();
        let pause = match &outcome {
            Ok(()) if after.fingerprint() != before => {
                let next = self.next_refresh(&after).map(|moment| moment.to_string());
                tracing::info!(expires_at = ?after.expires_at(self.clock.now()).map(|end| end.to_string()), next, "refreshed");
                return None;
            }
            Ok(()) => DAMPED,
            Err(failure) => {
                tracing::warn!(causes = ?failure.causes, "not refreshed: {}", failure.message);
                match failure.kind {
                    ErrorKind::StoreUnavailable => STORE_PAUSE,
                    ErrorKind::LogInAgain | ErrorKind::NotLoggedIn => DAMPED,
                    _ => self.back_off(before).unwrap_or(PAUSE),
                }
            }
        };
        Some(RetryTimes { fingerprint: after.fingerprint(), until: Instant::now() + pause })
    }

    /// Refreshes in one flight, and makes the outcome this process's snapshot. Dropping the future stops nothing.
    async fn refresh(self: &Arc<Self>, reason: RefreshReason, base: Arc<Snapshot>) -> Result<(), JobFailure> {
        let shared = Arc::clone(self);
        let flight = tokio::spawn(async move {
            let _flight = shared.flight.lock().await;
            if shared.manager.current().fingerprint() != base.fingerprint() {
                return Ok(());
            }
            let outcome = shared.refresher.refresh(reason, base).await;
            // What cannot be read now is looked at again by the watch.
            let _ = shared.manager.reload().await;
            outcome
        });
        flight.await.unwrap_or_else(|_| Err(JobFailure::from(&manager::Error::BrokeDown)))
    }

    /// For how long all processes of the home have agreed to leave the authority alone.
    fn back_off(&self, fingerprint: Option<Fingerprint>) -> Option<Duration> {
        let (state, _) = HomeState::read(&self.home).ok()?;
        let outcome = state.outcome.filter(|outcome| Some(outcome.fingerprint) == fingerprint)?;
        let left = outcome.back_off(self.clock.now())?;
        // Rounded up, so that it is over when it is over for those who count in whole seconds.
        Duration::try_from(left + SignedDuration::from_millis(1)).ok()
    }

    fn next_refresh(&self, snapshot: &Snapshot) -> Option<Timestamp> {
        match due(snapshot, self.early, self.clock.now()) {
            Due::At(moment) => Some(moment),
            Due::Never => None,
        }
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("post", &self.shared.post).finish_non_exhaustive()
    }
}
