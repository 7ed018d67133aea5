//! Keeps the accounts of a home in one process, each with a keeper of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use codex_auth_platform::filesystem::{self, Presence};
use codex_auth_platform::private_file::{self, Links, Stamp};
use tokio::sync::watch::{Receiver, Sender, channel};
use tokio::task::{AbortHandle, JoinSet};

use super::file_watch::FileWatch;
use super::shared::Refresher;
use super::singleton::{Error, KeeperLock};
use super::socket::KeeperSocket;
use super::{Keeper, KeeperWatches};
use crate::accounts::{self, AccountId, AccountName, AccountPlace, AccountSet};
use crate::clock::Clock;
use crate::config::Environment;
use crate::home::Home;
use crate::manager::{AccountPolicy, AuthManager};

/// The pauses after a keeper of an account could not start or ended by itself: the first, and the longest.
const RETRY_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// Makes the refresher of a home.
pub type RefresherFactory = Box<dyn Fn(&Home) -> Box<dyn Refresher> + Send + Sync>;

/// The keepers of the accounts of a home, which run beside the keeper of the home itself.
///
/// Each has its own lock, login and socket, in the folder of its account; the threads that watch files are shared. The
/// login of the active account is also that of the home: one of both keepers refreshes it, and the other adopts that.
pub struct AccountKeepers {
    home: Home,
    context: Arc<KeeperContext>,
    running: BTreeMap<AccountId, RunningAccount>,
    tasks: JoinSet<()>,
}

/// What the keepers of all accounts are made from.
struct KeeperContext {
    environment: Environment,
    clock: Clock,
    watches: KeeperWatches,
    refresher: RefresherFactory,
}

/// The task of an account.
struct RunningAccount {
    /// Its name, for the log. Dropping the sender ends the task.
    name: Sender<AccountName>,
    task: AbortHandle,
}

impl AccountKeepers {
    /// Returns the keepers of the accounts of `home`, of which none runs yet.
    #[must_use]
    pub fn new(
        home: Home,
        environment: Environment,
        clock: Clock,
        watches: KeeperWatches,
        refresher: RefresherFactory,
    ) -> Self {
        let context = Arc::new(KeeperContext { environment, clock, watches, refresher });
        Self { home, context, running: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Runs `keeper`, the keeper of the home, and one for each account until `ended` completes, and then completes running
    /// refreshes.
    ///
    /// Accounts that are added, renamed or removed meanwhile are noticed at once. A keeper of an account that cannot start
    /// or ends is started again, and stops no other. Where another process is the keeper of an account, this one stands by.
    ///
    /// # Errors
    /// Those of [`Keeper::run`] for the home itself.
    pub async fn run(
        self,
        keeper: Keeper,
        socket: Option<KeeperSocket>,
        ended: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let (end, running) = channel(());
        let accounts = tokio::spawn(self.keep(running));
        // The sender is dropped too if the keeper of the home ends by itself.
        let outcome = keeper
            .run(socket, async move {
                ended.await;
                drop(end);
            })
            .await;
        if let Err(error) = accounts.await {
            tracing::error!(%error, "the accounts are not kept");
        }
        outcome
    }

    async fn keep(mut self, running: Receiver<()>) {
        let file = self.home.accounts_file();
        let mut changes = FileWatch::of(vec![file.clone()], &self.context.watches.files);
        let mut seen: Option<Option<Stamp>> = None;
        let ended = until_closed(running);
        tokio::pin!(ended);
        loop {
            let stamp = private_file::stamp(&file, Links::Refuse).ok().flatten();
            if seen.as_ref() != Some(&stamp) {
                match self.read().await {
                    Ok(accounts) => {
                        self.update(accounts);
                        seen = Some(stamp);
                    }
                    // Those that run continue.
                    Err(error) => tracing::warn!(%error, "cannot read the accounts"),
                }
            }
            if self.running.values().any(|running| running.task.is_finished()) {
                self.running.retain(|_, running| !running.task.is_finished());
                seen = None;
            }
            while self.tasks.try_join_next().is_some() {}
            tokio::select! {
                () = changes.next_or_round() => {}
                () = &mut ended => break,
            }
        }
        self.running.clear();
        while self.tasks.join_next().await.is_some() {}
    }

    /// Returns the accounts with folders of their own. That of the home itself is kept by its keeper.
    async fn read(&self) -> Result<Vec<(AccountId, AccountName, Home)>, accounts::Error> {
        let home = self.home.clone();
        let work = move || {
            let set = AccountSet::open(home)?;
            let own = set.accounts().filter(|account| account.place == AccountPlace::Folder);
            own.map(|account| Ok((account.id.clone(), account.name.clone(), set.home_of(account)?))).collect()
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(read) => read,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Starts and ends keepers, so that those of `accounts` run.
    fn update(&mut self, accounts: Vec<(AccountId, AccountName, Home)>) {
        self.running.retain(|id, running| {
            let stays = accounts.iter().any(|(listed, ..)| listed == id);
            if !stays {
                tracing::info!("account {} was removed", *running.name.borrow());
            }
            stays
        });
        for (id, name, home) in accounts {
            if let Some(running) = self.running.get(&id) {
                running.name.send_if_modified(|known| {
                    let is_renamed = *known != name;
                    if is_renamed {
                        tracing::info!("account {known} is now named {name}");
                        *known = name;
                    }
                    is_renamed
                });
                continue;
            }
            let (sender, receiver) = channel(name);
            let task = self.tasks.spawn(keep_account(Arc::clone(&self.context), home, receiver));
            self.running.insert(id, RunningAccount { name: sender, task });
        }
    }
}

impl std::fmt::Debug for AccountKeepers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountKeepers").field("home", &self.home).finish_non_exhaustive()
    }
}

/// Keeps the account in `home` until the sender of its name is dropped.
async fn keep_account(context: Arc<KeeperContext>, home: Home, name: Receiver<AccountName>) {
    let [mut pause, longest] = RETRY_PAUSES;
    loop {
        match under_its_name(keep_once(&context, &home, &name), name.clone()).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, "account {} is not kept", *name.borrow()),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = longest.min(pause * 2),
            () = until_closed(name.clone()) => return,
        }
    }
}

/// Completes `work` in a span of the log with the name of the account, which may change meanwhile.
async fn under_its_name<T>(work: impl Future<Output = T>, mut name: Receiver<AccountName>) -> T {
    let span = |name: &AccountName| tracing::info_span!("account", %name);
    let mut current = span(&name.borrow_and_update());
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(move |context| {
        if name.has_changed().is_ok_and(|is_changed| is_changed) {
            current = span(&name.borrow_and_update());
        }
        let _entered = current.enter();
        work.as_mut().poll(context)
    })
    .await
}

async fn keep_once(context: &KeeperContext, home: &Home, name: &Receiver<AccountName>) -> Result<(), Error> {
    // Becoming the keeper would create it.
    if filesystem::presence(home.path()) == Presence::Absent {
        return Err(Error::NoFolder { path: home.path().to_owned() });
    }
    let waiting = |holder: Option<_>| {
        let holder = holder.map_or_else(|| "another keeper".to_owned(), |holder| format!("{holder}"));
        tracing::info!("standing by for {holder}");
    };
    let acquired = KeeperLock::acquire(home, &context.environment, waiting);
    let lock = tokio::select! {
        lock = acquired => lock?,
        () = until_closed(name.clone()) => return Ok(()),
    };
    let manager = AuthManager::builder(home.clone(), context.environment.clone());
    let manager = manager.policy(AccountPolicy::Follow).clock(context.clock.clone());
    // A keychain that does not respond must not keep the other accounts waiting.
    let opened = tokio::task::spawn_blocking(|| manager.open_anyway()).await;
    let manager = opened.map_err(|_| Error::WatchStopped)?;
    let socket = KeeperSocket::of(&lock, &context.environment);
    let refresher = (context.refresher)(home);
    let keeper = Keeper::watched_by(&context.watches, lock, manager, refresher, context.clock.clone());
    tracing::info!("keeping the account fresh");
    keeper.run(socket, until_closed(name.clone())).await
}

/// Completes when the sender is dropped.
async fn until_closed<T>(mut receiver: Receiver<T>) {
    while receiver.changed().await.is_ok() {}
}
