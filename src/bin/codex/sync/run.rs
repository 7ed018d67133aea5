//! `codex sync run`: runs the keeper in the foreground, as a service manager starts it.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use codex_auth::Home;
use codex_auth::config::LogLevel;
use codex_auth::keeper;
use codex_auth::keeper::{
    AccountKeepers, Keeper, KeeperLock, KeeperSocket, KeeperWatches, RefreshFuture, Refresher,
};
use codex_auth::manager::{AccountPolicy, AuthManager, Job, RefreshReason, Snapshot};
use codex_auth::store::Holder;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::export;
use super::supervisor::{ServiceState, Supervisor, Watchdog};
use super::upgrade::UpgradeCheck;
use crate::context::CommandContext;
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::output::Output;
use crate::{child, located, log, runtime};

#[derive(Args, Debug)]
pub(crate) struct KeeperArguments {
    /// Export the login into this folder too, as `codex sync export DIR` does; may be given several times
    #[arg(long, value_name = "DIR")]
    export: Vec<PathBuf>,
}

/// Refreshes in a child process, which continues if the keeper is killed.
struct ChildRefresher {
    home: Home,
}

impl Refresher for ChildRefresher {
    fn refresh(&self, reason: RefreshReason, base: Arc<Snapshot>) -> RefreshFuture {
        let job = Job::refresh(reason, &base, AccountPolicy::Follow);
        let home = self.home.clone();
        Box::pin(async move { child::run_in_background_at(home, job).await?.into_refreshed() })
    }
}

pub(super) fn run(arguments: &KeeperArguments, output: &mut Output) -> CommandOutcome {
    let session = CommandContext::open_for_keeper(output)?;
    log::start(&session.environment, Some(LogLevel::Info));
    export::add_all(&arguments.export, &session)?;
    runtime::run(keep(&session))
}

async fn keep(session: &CommandContext) -> CommandOutcome {
    let mut signals = Signals::new()?;
    let supervisor = Supervisor::new();
    let waiting = |holder: Option<Holder>| {
        let holder = holder.map_or_else(|| "another keeper".to_owned(), |holder| holder.to_string());
        tracing::info!("standing by for {holder}");
        supervisor.notify(ServiceState::StandingBy);
    };
    let mut watchdog = Watchdog::new();
    let mut upgrade = UpgradeCheck::watch(&session.environment);
    let lock = {
        let take = KeeperLock::acquire(session.home(), &session.environment, waiting);
        tokio::pin!(take);
        loop {
            tokio::select! {
                lock = &mut take => break lock.map_err(failed)?,
                event = signals.next() => match event {
                    SignalEvent::Reload if upgrade.is_due() => return restart(),
                    // A standby has no snapshot to reload.
                    SignalEvent::Reload => {}
                    SignalEvent::Stop(outcome) => return outcome,
                },
                () = watchdog.is_due() => supervisor.notify(ServiceState::Alive),
                () = upgrade.wait() => return restart(),
            }
        }
    };
    let manager = AuthManager::builder(session.home().clone(), session.environment.clone());
    let manager = manager.policy(AccountPolicy::Follow).open_anyway();
    let socket = KeeperSocket::of(&lock, &session.environment);
    let (watches, clock) = (KeeperWatches::start(), session.clock.clone());
    let keeper = Keeper::watched_by(&watches, lock, manager, refresher(session.home()), clock.clone());
    let (home, environment) = (session.home().clone(), session.environment.clone());
    let (reads, output) = (keeper.reads(), Output::new(false, false, false));
    let reconciling = located::keep_reconciled(home.clone(), environment.clone(), reads, output);
    let accounts = AccountKeepers::new(home, environment, clock, watches.clone(), Box::new(refresher));
    tracing::info!(home = %session.home().path().display(), "keeping the login fresh");
    supervisor.notify(ServiceState::Active);

    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let mut end = Some(end);
    // Dropping the sender stops the keeper.
    let finish = |end: &mut Option<_>| {
        supervisor.notify(ServiceState::Stopping);
        tracing::info!("stopping; a running refresh is completed first");
        drop(end.take());
    };
    let work = accounts.run(keeper, socket, async {
        let _ = ended.await;
    });
    tokio::pin!(work, reconciling);
    let mut outcome = Ok(());
    loop {
        tokio::select! {
            done = &mut work => return done.map_err(failed).and(outcome),
            event = signals.next() => match event {
                SignalEvent::Reload => {
                    tracing::info!("reloading the login");
                    watches.reload();
                    if end.is_some() && upgrade.is_due() {
                        finish(&mut end);
                        outcome = restart();
                    }
                }
                // A second signal ends the keeper at once; the child process continues.
                SignalEvent::Stop(stopped) if end.is_none() => return stopped,
                SignalEvent::Stop(stopped) => {
                    finish(&mut end);
                    outcome = stopped;
                }
            },
            () = watchdog.is_due() => supervisor.notify(ServiceState::Alive),
            () = &mut reconciling => {}
            () = upgrade.wait(), if end.is_some() => {
                finish(&mut end);
                outcome = restart();
            }
        }
    }
}

/// Keeps the login fresh beside other work of this process, while no other keeper does. Never ends but by an error.
pub(crate) async fn keep_beside(session: &CommandContext) -> Result<(), keeper::Error> {
    let lock = KeeperLock::acquire(session.home(), &session.environment, |_| {}).await?;
    let manager = AuthManager::builder(session.home().clone(), session.environment.clone());
    let manager = manager.policy(AccountPolicy::Follow).open_anyway();
    let socket = KeeperSocket::of(&lock, &session.environment);
    let keeper = Keeper::new(lock, manager, refresher(session.home()), session.clock.clone());
    keeper.run(socket, std::future::pending()).await
}

fn refresher(home: &Home) -> Box<dyn Refresher> {
    Box::new(ChildRefresher { home: home.clone() })
}

/// The signals that a keeper handles: SIGINT and SIGTERM stop it, SIGHUP reloads the login.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self, CommandError> {
        let listen =
            |kind| signal(kind).map_err(|error| CommandError::cannot_start("a signal handler", &error));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> SignalEvent {
        tokio::select! {
            _ = self.interrupt.recv() => SignalEvent::Stop(Err(CommandError::reported(Exit::Interrupted))),
            _ = self.terminate.recv() => SignalEvent::Stop(Ok(())),
            _ = self.hangup.recv() => SignalEvent::Reload,
        }
    }
}

/// Ends the keeper with an exit code on which the installed units and agents restart it.
fn restart() -> CommandOutcome {
    Err(CommandError::reported(Exit::TryAgain))
}

enum SignalEvent {
    Stop(CommandOutcome),
    Reload,
}

fn failed(error: keeper::Error) -> CommandError {
    match error {
        keeper::Error::Store(error) => error.into(),
        keeper::Error::Lock(_) => CommandError::new(Exit::StoreUnavailable, error.to_string()),
        _ => CommandError::new(Exit::TryAgain, error.to_string()),
    }
}
