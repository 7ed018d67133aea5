//! A keeper in this process, with a clock that the test sets for keeper and authority.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use codex_auth::keeper::{Keeper, KeeperLock, KeeperWatches};
use codex_auth::manager::{AccountPolicy, AuthManager};
use codex_auth::{Clock, Environment, Timestamp};
use jiff::SignedDuration;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::manager::world::World;

/// A clock that a test sets.
#[derive(Clone, Default)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub fn clock(&self) -> Clock {
        let clock = self.clone();
        Clock::from_fn(move || Timestamp::now() + SignedDuration::from_secs(clock.0.load(Ordering::Relaxed)))
    }

    /// Sets this clock and the authority's so far ahead of the machine's.
    pub fn set(&self, world: &World<'_>, ahead: Duration) {
        let ahead = i64::try_from(ahead.as_secs()).unwrap();
        self.0.store(ahead, Ordering::Relaxed);
        world.authority.adjust(|policy| policy.clock_offset = ahead);
    }

    /// Sets both clocks to this time.
    pub fn set_to(&self, world: &World<'_>, moment: Timestamp) {
        let ahead = moment.duration_since(Timestamp::now()).as_secs();
        self.set(world, Duration::from_secs(u64::try_from(ahead).unwrap()));
    }
}

/// A keeper with such a clock.
pub struct TestKeeper {
    pub manager: AuthManager,
    pub watches: KeeperWatches,
    runtime: Runtime,
    work: JoinHandle<Result<(), codex_auth::keeper::Error>>,
    end: oneshot::Sender<()>,
}

impl TestKeeper {
    pub fn start(world: &World<'_>, clock: &TestClock) -> Self {
        let (home, url) = (world.machine.home.path(), world.authority.token_url());
        let environment = Environment::read(move |name| match name {
            "CODEX_HOME" => Some(home.clone().into()),
            "CODEX_REFRESH_TOKEN_URL_OVERRIDE" => Some(url.clone().into()),
            _ => None,
        });
        let (home, environment) = (world.machine.home.home(), environment.unwrap());
        let manager = AuthManager::builder(home.clone(), environment.clone());
        let manager = manager.clock(clock.clock()).policy(AccountPolicy::Follow).open().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let lock = runtime.block_on(KeeperLock::acquire(&home, &environment, |_| {})).unwrap();
        let watches = KeeperWatches::start();
        let refresher = Box::new(manager.clone());
        let keeper = Keeper::watched_by(&watches, lock, manager.clone(), refresher, clock.clock());
        let (end, ended) = oneshot::channel::<()>();
        let work = runtime.spawn(keeper.run(None, async {
            let _ = ended.await;
        }));
        Self { manager, watches, runtime, work, end }
    }

    pub fn finish(self) {
        self.end.send(()).unwrap();
        self.runtime.block_on(self.work).unwrap().unwrap();
    }
}
