//! A transaction as a value: for a program that runs it in a child of itself, and hears how it ended.
//!
//! A command may be killed, time out or replace itself at any moment; a child in a session of its own is not touched by
//! that. The job carries names of secrets and never a secret: the child reads the store itself.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::engine::{AccountPolicy, Engine};
use super::error::Error;
use super::logout::{self, LogoutScope};
use super::remove_login;
use super::request::{CallerBase, RefreshReason};
use super::snapshot::{Divergence, Snapshot, SnapshotStatus};
use super::transaction::Transaction;
use crate::config::Environment;
use crate::home::Home;
use crate::remedy::{ErrorKind, Remedy};
use crate::store::{LockDeadline, Waiting};

/// What a child is to do, to be sent to it as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Job {
    task: JobTask,
    policy: AccountPolicy,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum JobTask {
    Freshen,
    Refresh { reason: RefreshReason, base: CallerBase },
    Logout { scope: LogoutScope },
}

/// What a child has done, to be sent back as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RefreshOutcome {
    /// The store holds what the job was for.
    Served,
    /// The new tokens are in the rescue only; the next holder of the lease commits them.
    Uncommitted(String),
    /// The login has ended.
    LoggedOut(logout::LogoutReport),
    /// It failed.
    Failed(JobFailure),
}

/// A failure as it travels from a child.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobFailure {
    /// The one line.
    pub message: String,
    /// What caused it, outermost first.
    pub causes: Vec<String>,
    /// What its receiver should do.
    pub kind: ErrorKind,
    /// What would mend it.
    pub remedy: Option<Remedy>,
}

impl Job {
    /// A refresh of what the caller knows as `snapshot`.
    #[must_use]
    pub fn refresh(reason: RefreshReason, snapshot: &Snapshot, policy: AccountPolicy) -> Self {
        Self { task: JobTask::Refresh { reason, base: CallerBase::of(snapshot) }, policy }
    }

    /// A refresh if what is stored by then is stale and can be refreshed; otherwise nothing.
    #[must_use]
    pub fn freshen(policy: AccountPolicy) -> Self {
        Self { task: JobTask::Freshen, policy }
    }

    /// A logout.
    #[must_use]
    pub fn logout(scope: LogoutScope) -> Self {
        Self { task: JobTask::Logout { scope }, policy: AccountPolicy::Follow }
    }

    /// Does it, here and now, on this thread. While another process holds the lease `between` is called before each
    /// further try, and may end the wait: then nothing was changed, and nothing is changed later.
    #[must_use]
    pub fn run(
        self,
        home: Home,
        environment: &Environment,
        between: impl FnMut(&Waiting<'_>) -> ControlFlow<()>,
    ) -> RefreshOutcome {
        self.run_within(home, environment, &LockDeadline::after(environment.lock_timeout), between)
    }

    /// As [`Self::run`], with the waits for locks within `deadline`. Cancelling that ends every wait, until a token is sent
    /// or Codex's commit locks are held.
    #[must_use]
    pub fn run_within(
        self,
        home: Home,
        environment: &Environment,
        deadline: &LockDeadline,
        mut between: impl FnMut(&Waiting<'_>) -> ControlFlow<()>,
    ) -> RefreshOutcome {
        let engine = Engine { policy: self.policy, ..Engine::of_system(home, environment) };
        let done = match self.task {
            JobTask::Freshen => freshen(&engine, deadline, &mut between),
            JobTask::Refresh { reason, base } => refresh(&engine, reason, base, deadline, &mut between),
            JobTask::Logout { scope } => {
                remove_login::run(&engine, scope, deadline, &mut between).map(RefreshOutcome::LoggedOut)
            }
        };
        done.unwrap_or_else(|error| RefreshOutcome::Failed(JobFailure::from(&error)))
    }
}

type JobHook<'a> = dyn FnMut(&Waiting<'_>) -> ControlFlow<()> + 'a;

fn freshen(
    engine: &Engine,
    deadline: &LockDeadline,
    between: &mut JobHook<'_>,
) -> Result<RefreshOutcome, Error> {
    let snapshot = engine.load()?;
    match snapshot.standing(engine.clock.now()) {
        SnapshotStatus::Stale | SnapshotStatus::Expired if snapshot.fingerprint().is_some() => {
            refresh(engine, RefreshReason::Stale, CallerBase::of(&snapshot), deadline, between)
        }
        _ => Ok(RefreshOutcome::Served),
    }
}

fn refresh(
    engine: &Engine,
    reason: RefreshReason,
    base: CallerBase,
    deadline: &LockDeadline,
    between: &mut JobHook<'_>,
) -> Result<RefreshOutcome, Error> {
    let snapshot = Transaction { engine, reason, base, deadline: deadline.clone() }.run(between)?;
    Ok(match snapshot.departure() {
        Some(Divergence::Uncommitted(error)) => RefreshOutcome::Uncommitted(error.to_string()),
        _ => RefreshOutcome::Served,
    })
}

impl JobFailure {
    /// A failure without a cause that is known.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { message: message.into(), causes: Vec::new(), kind, remedy: None }
    }
}

impl From<&Error> for JobFailure {
    fn from(error: &Error) -> Self {
        let mut causes = Vec::new();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        Self { message: error.to_string(), causes, kind: error.kind(), remedy: error.remedy() }
    }
}
