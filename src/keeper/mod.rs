//! The keeper: the one process of a home that refreshes its login ahead of time, so that no other process has to.
//!
//! It refreshes a token when a tenth of its lifetime is left (at least ten minutes, at most a day), so that programs
//! that do not take the lease do not find it stale either. A failed refresh is logged and retried after the back-off
//! that all processes of the home share. A poisoned refresh token is not retried; the next login replaces it.
//!
//! Other keepers stand by, and one of them takes over when the first exits. The keeper also serves a local socket
//! ([`KeeperSocket`], [`Client`]); a process that can reach it needs neither file nor keychain. An [`Export`] is a folder
//! to be mounted into a container, with such a socket and a document that holds the access token only.

mod client;
mod connections;
mod export;
mod export_list;
mod exports;
mod file_watch;
mod private_home;
mod publication;
mod response;
mod schedule;
mod shared;
mod singleton;
mod socket;
mod unserved;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

pub use self::client::{Client, ClientError, RefreshPolicy};
pub use self::export::{Export, ExportError, ExportOptions, ExportedLogin};
pub use self::export_list::ExportList;
use self::exports::ExportServer;
pub use self::private_home::{PrivateHome, PrivateHomes};
pub use self::response::{IssuedToken, KeeperAccount, KeeperRefusal, KeeperStatus};
use self::schedule::{Due, due};
use self::shared::{KeeperShared, RetryTimes};
pub use self::shared::{RefreshFuture, Refresher};
use self::singleton::LockCheck;
pub use self::singleton::{Error, KeeperLock, RunningKeeper};
pub use self::socket::KeeperSocket;
pub use self::unserved::Unserved;
use crate::backoff::random_fraction;
use crate::clock::Clock;
use crate::manager::{AuthManager, WatchHandle};
use crate::watch::WatchTrigger;

/// The keeper of a home.
pub struct Keeper {
    shared: Arc<KeeperShared>,
    watch: WatchHandle,
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

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("lock", &self.shared.lock).finish_non_exhaustive()
    }
}
