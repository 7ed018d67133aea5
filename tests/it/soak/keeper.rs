//! A keeper in a helper process whose clock the test sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use codex_auth::keeper::{
    AccountKeepers, Keeper, KeeperLock, KeeperSocket, KeeperWatches, RefreshFuture, Refresher,
};
use codex_auth::manager::{AccountPolicy, AuthManager, Error, JobFailure, RefreshReason, Snapshot};
use codex_auth::store::locate;
use codex_auth::{Clock, Environment, Home, Timestamp};
use jiff::SignedDuration;

use crate::support::{HelperProcess, TestHome, read_word, report};

/// Starts a helper process for the role `keeper` of `test`, which calls [`keep`]; `passed` is what its clock is ahead.
pub fn start(test: &str, home: &TestHome, token_url: &str, passed: i64) -> HelperProcess {
    let mut keeper = HelperProcess::start(test, "keeper", home);
    keeper.send(token_url);
    keeper.send(&passed.to_string());
    keeper.await_word("ready");
    keeper
}

/// The clock and environment of a helper process.
pub struct Part {
    pub passed: Arc<AtomicI64>,
    pub home: Home,
    pub environment: Environment,
}

impl Part {
    pub fn read() -> Self {
        let url = read_word().unwrap();
        let home = locate(&Environment::of_process().unwrap()).unwrap();
        let environment = Environment::read(|name| match name {
            "CODEX_HOME" => Some(home.path().into()),
            "CODEX_REFRESH_TOKEN_URL_OVERRIDE" => Some((&url).into()),
            _ => None,
        });
        Self { passed: Arc::default(), environment: environment.unwrap(), home }
    }

    pub fn clock(&self) -> Clock {
        let passed = Arc::clone(&self.passed);
        Clock::from_fn(move || Timestamp::now() + SignedDuration::from_secs(passed.load(Ordering::SeqCst)))
    }
}

/// Refreshes on a thread of this process, with its clock.
struct ThreadRefresher {
    home: Home,
    environment: Environment,
    clock: Clock,
}

impl Refresher for ThreadRefresher {
    fn refresh(&self, reason: RefreshReason, _base: Arc<Snapshot>) -> RefreshFuture {
        let builder = AuthManager::builder(self.home.clone(), self.environment.clone());
        let builder = builder.clock(self.clock.clone()).policy(AccountPolicy::Follow);
        Box::pin(async move {
            let failed = |error: &Error| JobFailure::from(error);
            let manager = builder.open().map_err(|error| failed(&error))?;
            manager.refresh(reason).await.map(drop).map_err(|error| failed(&error))
        })
    }
}

/// Keeps the home and its accounts; each word of the test is what its clock is ahead now.
pub fn keep() {
    let part = Part::read();
    let first: i64 = read_word().unwrap().parse().unwrap();
    part.passed.store(first, Ordering::SeqCst);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (watches, clock) = (KeeperWatches::start(), part.clock());
    let (environment, refresh_clock) = (part.environment.clone(), part.clock());
    let refresher = move |home: &Home| -> Box<dyn Refresher> {
        let (environment, clock) = (environment.clone(), refresh_clock.clone());
        Box::new(ThreadRefresher { home: home.clone(), environment, clock })
    };
    let lock = runtime.block_on(KeeperLock::acquire(&part.home, &part.environment, |_| {})).unwrap();
    let socket = KeeperSocket::of(&lock, &part.environment);
    let manager = AuthManager::builder(part.home.clone(), part.environment.clone());
    let manager = manager.clock(part.clock()).policy(AccountPolicy::Follow).open_anyway();
    let keeper = Keeper::watched_by(&watches, lock, manager, refresher(&part.home), clock.clone());
    let (home, environment) = (part.home.clone(), part.environment.clone());
    let accounts = AccountKeepers::new(home, environment, clock, watches.clone(), Box::new(refresher));
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let work = runtime.spawn(accounts.run(keeper, socket, async {
        let _ = ended.await;
    }));
    report("ready");
    while let Some(passed) = read_word() {
        part.passed.store(passed.parse().unwrap(), Ordering::SeqCst);
        watches.reload();
    }
    drop(end);
    runtime.block_on(work).unwrap().unwrap();
}
