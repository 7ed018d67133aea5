//! `codex sync run`: the keeper in the foreground, as a service manager starts it.

use std::sync::Arc;

use codex_auth::config::LogLevel;
use codex_auth::keeper::{Keeper, KeeperLock, KeeperSocket, RefreshFuture, Refresher};
use codex_auth::manager::{
    AccountPolicy, AuthManager, Job, JobFailure, RefreshOutcome, RefreshReason, Snapshot,
};
use codex_auth::store::Holder;
use codex_auth::{ErrorKind, keeper};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::supervisor::{ServiceState, Supervisor, Watchdog};
use super::upgrade::UpgradeCheck;
use crate::context::CommandContext;
use crate::error::{CommandError, Exit};
use crate::output::Output;
use crate::{CommandOutcome, child, log};

/// Refreshes in a child of this program, which goes on when the keeper is killed.
struct ChildRefresher;

impl Refresher for ChildRefresher {
    fn refresh(&self, reason: RefreshReason, base: Arc<Snapshot>) -> RefreshFuture {
        let job = Job::refresh(reason, &base, AccountPolicy::Follow);
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || child::run(&job, child::WaitNotice::None)).await;
            match done {
                Ok(Ok(RefreshOutcome::Served)) => Ok(()),
                Ok(Ok(RefreshOutcome::Failed(failure))) => Err(failure),
                Ok(Ok(RefreshOutcome::Uncommitted(why))) => {
                    Err(JobFailure::new(ErrorKind::StoreUnavailable, why))
                }
                Ok(Err(error)) => Err(JobFailure::new(ErrorKind::TryAgain, error.to_string())),
                _ => Err(JobFailure::new(ErrorKind::TryAgain, "unexpected reply from the child process")),
            }
        })
    }
}

pub(super) fn run(output: &mut Output) -> CommandOutcome {
    let session = CommandContext::open(output)?;
    log::start(&session.environment, Some(LogLevel::Info));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| cannot_start(&error))?;
    let outcome = runtime.block_on(keep(&session));
    // Who asked twice does not wait for the child either.
    runtime.shutdown_background();
    outcome
}

async fn keep(session: &CommandContext) -> CommandOutcome {
    let mut signals = Signals::new()?;
    let supervisor = Supervisor::new();
    let waiting = |holder: Option<Holder>| {
        let holder = holder.map_or_else(|| "another keeper".to_owned(), |holder| holder.to_string());
        tracing::info!("standing by for {holder}");
        supervisor.tell(ServiceState::StandingBy);
    };
    let mut watchdog = Watchdog::new();
    let mut upgrade = UpgradeCheck::watch(&session.environment);
    let post = {
        let take = KeeperLock::take(session.home(), &session.environment, waiting);
        tokio::pin!(take);
        loop {
            tokio::select! {
                post = &mut take => break post.map_err(failed)?,
                heard = signals.next() => match heard {
                    SignalEvent::LookAgain if upgrade.is_due() => return start_again(),
                    // A standby reads no login.
                    SignalEvent::LookAgain => {}
                    SignalEvent::End(ending) => return ending,
                },
                () = watchdog.is_due() => supervisor.tell(ServiceState::Alive),
                () = upgrade.ends_this_keeper() => return start_again(),
            }
        }
    };
    let manager = AuthManager::builder(session.home().clone(), session.environment.clone());
    let manager = manager.policy(AccountPolicy::Follow).open_anyway();
    let listener = listen(session, &post);
    let keeper = Keeper::new(post, manager, Box::new(ChildRefresher), session.clock.clone());
    tracing::info!(home = %session.home().path().display(), "keeping the login fresh");
    supervisor.tell(ServiceState::AtWork);

    let look_again = keeper.look_again();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let mut end = Some(end);
    // Dropping its sender ends the work.
    let finish = |end: &mut Option<_>| {
        supervisor.tell(ServiceState::Ending);
        tracing::info!("ending; a refresh under way is finished first");
        drop(end.take());
    };
    let work = keeper.run(listener, async {
        let _ = ended.await;
    });
    tokio::pin!(work);
    let mut outcome = Ok(());
    loop {
        tokio::select! {
            done = &mut work => return done.map_err(failed).and(outcome),
            heard = signals.next() => match heard {
                SignalEvent::LookAgain => {
                    tracing::info!("looking again");
                    look_again.ring();
                    if end.is_some() && upgrade.is_due() {
                        finish(&mut end);
                        outcome = start_again();
                    }
                }
                // A second request ends the keeper at once; the child goes on.
                SignalEvent::End(ending) if end.is_none() => return ending,
                SignalEvent::End(ending) => {
                    finish(&mut end);
                    outcome = ending;
                }
            },
            () = watchdog.is_due() => supervisor.tell(ServiceState::Alive),
            () = upgrade.ends_this_keeper(), if end.is_some() => {
                finish(&mut end);
                outcome = start_again();
            }
        }
    }
}

fn listen(session: &CommandContext, post: &KeeperLock) -> Option<KeeperSocket> {
    let path =
        keeper::Client::of(session.home(), &session.environment).map(|client| client.path().to_owned());
    let Some(path) = path else {
        tracing::warn!("no socket: the path of the login is too long for one and XDG_RUNTIME_DIR is not set");
        return None;
    };
    Some(KeeperSocket::at(post, &path))
}

/// What a keeper listens to: SIGINT and SIGTERM end it, SIGHUP has it look again.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self, CommandError> {
        let listen = |kind| signal(kind).map_err(|error| cannot_start(&error));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> SignalEvent {
        tokio::select! {
            _ = self.interrupt.recv() => SignalEvent::End(Err(CommandError::told(Exit::Interrupted))),
            _ = self.terminate.recv() => SignalEvent::End(Ok(())),
            _ = self.hangup.recv() => SignalEvent::LookAgain,
        }
    }
}

/// Ends the keeper with a code on which the units and agents that we write start it again.
fn start_again() -> CommandOutcome {
    Err(CommandError::told(Exit::TryAgain))
}

enum SignalEvent {
    End(CommandOutcome),
    LookAgain,
}

fn failed(error: keeper::Error) -> CommandError {
    match error {
        keeper::Error::Store(error) => error.into(),
        keeper::Error::Lock(_) => CommandError::new(Exit::StoreUnavailable, error.to_string()),
        _ => CommandError::new(Exit::TryAgain, error.to_string()),
    }
}

fn cannot_start(error: &std::io::Error) -> CommandError {
    CommandError::new(Exit::Failed, format!("cannot start: {error}"))
}
