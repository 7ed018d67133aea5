//! The keeper: the one process of a home that refreshes its login ahead of time, so that no other process has to.
//!
//! It refreshes a token when a tenth of its lifetime is left (at least ten minutes, at most a day), so that programs
//! that do not take the lease do not find it stale either. A failed refresh is logged and retried after the back-off
//! that all processes of the home share. A poisoned refresh token is not retried; the next login replaces it.
//!
//! In a home with accounts, [`AccountKeepers`] runs one keeper for each in the same process.
//!
//! Other keepers stand by, and one of them takes over when the first exits. The keeper also serves a local socket
//! ([`KeeperSocket`], [`Client`]); a process that can reach it needs neither file nor keychain. An [`Export`] is a folder
//! to be mounted into a container, with such a socket and a document that holds the access token only.

mod accounts;
mod client;
mod connections;
mod export;
mod export_list;
mod exports;
mod file_watch;
#[cfg(feature = "fleet")]
pub mod member;
#[cfg(not(feature = "fleet"))]
#[path = "no_member.rs"]
mod member;
#[cfg(feature = "fleet")]
mod member_task;
mod private_home;
mod publication;
mod query;
mod response;
mod schedule;
mod shared;
mod singleton;
mod socket;
mod state;
mod unserved;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::sync::watch::Receiver;

pub use self::accounts::{AccountKeepers, RefresherFactory};
pub use self::client::{Client, ClientError, RefreshPolicy};
pub use self::export::{Export, ExportError, ExportOptions, ExportedLogin};
pub use self::export_list::ExportList;
use self::exports::ExportServer;
use self::member::MemberHandle;
pub use self::private_home::{PrivateHome, PrivateHomes};
pub use self::response::{IssuedToken, KeeperAccount, KeeperRefusal, KeeperStatus};
use self::schedule::{Due, due};
use self::shared::{KeeperShared, RetryTimes};
pub use self::shared::{RefreshFuture, Refresher};
pub use self::singleton::{Error, KeeperLock, RunningKeeper};
use self::singleton::{KeeperStart, LockCheck};
pub use self::socket::KeeperSocket;
pub use self::state::KeeperState;
pub use self::unserved::Unserved;
use crate::backoff::random_fraction;
use crate::clock::Clock;
use crate::history::HistoryEvent;
use crate::manager::{AuthManager, WatchHandle};
use crate::watch::WatchThread;

/// The threads that watch files for the keepers of a process. Clones are handles on the same threads.
#[derive(Clone, Debug)]
pub struct KeeperWatches {
    /// Apart from other files, because reading a keychain may take a while.
    logins: WatchThread,
    files: WatchThread,
}

impl KeeperWatches {
    /// Starts the threads, which end with the last keeper that uses them.
    #[must_use]
    pub fn start() -> Self {
        let [logins, files] =
            ["codex-auth watch", "codex-auth files"].map(|name| WatchThread::start(name, Vec::new()));
        Self { logins, files }
    }

    /// Makes all keepers read their stores now.
    pub fn reload(&self) {
        self.logins.wake_all();
    }
}

/// The keeper of a home.
pub struct Keeper {
    shared: Arc<KeeperShared>,
    watch: WatchHandle,
}

impl Keeper {
    /// Returns the keeper that holds `lock`, and starts to watch the login.
    #[must_use]
    pub fn new(lock: KeeperLock, manager: AuthManager, refresher: Box<dyn Refresher>, clock: Clock) -> Self {
        Self::watched_by(&KeeperWatches::start(), lock, manager, refresher, clock)
    }

    /// As [`Self::new`], on the threads of `watches`, which other keepers of this process may use too.
    #[must_use]
    pub fn watched_by(
        watches: &KeeperWatches,
        lock: KeeperLock,
        manager: AuthManager,
        refresher: Box<dyn Refresher>,
        clock: Clock,
    ) -> Self {
        let watch = manager.watch_on(&watches.logins);
        let (home, files, flight) = (lock.home().clone(), watches.files.clone(), Mutex::new(()));
        let spread = random_fraction();
        let member = MemberHandle::new();
        let shared = KeeperShared { lock, home, manager, refresher, clock, files, flight, spread, member };
        Self { shared: Arc::new(shared), watch }
    }

    /// Returns a receiver of the number of reads of the store, as [`WatchHandle::reads`] does.
    #[must_use]
    pub fn reads(&self) -> Receiver<u64> {
        self.watch.reads()
    }

    /// Keeps the login fresh, serves `socket` and the exports of the home until `ended` completes. Then it waits for a running refresh, so that
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
        let history = self.shared.manager.history().ok();
        let record = |event| history.iter().for_each(|history| history.record(HistoryEvent::clone(&event)));
        record(match self.shared.lock.start() {
            KeeperStart::Alone => HistoryEvent::KeeperStarted,
            KeeperStart::TookOver => HistoryEvent::KeeperTookOver,
        });
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
        let exports = ExportServer::new(Arc::clone(&self.shared), self.watch.reads());
        let done = tokio::select! {
            outcome = self.keep() => outcome,
            error = answering => Err(error),
            never = exports.serve() => match never {},
            never = member::serve(Arc::clone(&self.shared), self.watch.reads()) => match never {},
            () = ended => Ok(()),
        };
        // Held by a running refresh.
        drop(self.shared.flight.lock().await);
        self.shared.manager.wait_idle().await;
        record(HistoryEvent::KeeperStopped);
        done
    }

    async fn keep(&self) -> Result<(), Error> {
        let mut snapshots = self.shared.manager.subscribe();
        let mut reads = self.watch.reads();
        let mut retry: Option<RetryTimes> = None;
        let mut clock = ClockWatch::new(self.shared.clock.clone());
        let mut seen = None;
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
            if let Some(seconds) = clock.backward_step()
                && let Ok(history) = self.shared.manager.history()
            {
                history.record(HistoryEvent::ClockStepped { seconds });
            }
            if !seen.replace(Arc::clone(&snapshot)).is_some_and(|seen| Arc::ptr_eq(&seen, &snapshot)) {
                // A refresh that is due does not wait for it.
                let manager = self.shared.manager.clone();
                tokio::spawn(async move { manager.record_observations().await });
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

/// The shortest step of the clock that is recorded, in seconds.
const MIN_CLOCK_STEP: i64 = 60;

/// Notices that the wall clock was set back. A step ahead looks like a suspended machine.
struct ClockWatch {
    clock: Clock,
    last: (Instant, Timestamp),
}

impl ClockWatch {
    fn new(clock: Clock) -> Self {
        Self { last: (Instant::now(), clock.now()), clock }
    }

    /// Returns the step since the last call, in seconds, if it is one back by a minute or more.
    fn backward_step(&mut self) -> Option<i64> {
        let (before, now) = (self.last, (Instant::now(), self.clock.now()));
        self.last = now;
        let passed = i64::try_from(now.0.duration_since(before.0).as_secs()).unwrap_or(i64::MAX);
        let step = now.1.duration_since(before.1).as_secs().saturating_sub(passed);
        (step <= -MIN_CLOCK_STEP).then_some(step)
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("lock", &self.shared.lock).finish_non_exhaustive()
    }
}
