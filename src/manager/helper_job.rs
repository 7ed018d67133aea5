//! A transaction as a value that a program can run in a child process.
//!
//! A command may be killed, time out or replace itself at any moment; a child process in its own session survives that.
//! The job holds fingerprints and no secret: the child reads the store itself.

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

/// A refresh or logout to run, serialized as JSON for a child process.
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

/// The outcome of a [`Job`], serialized as JSON by a child process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum JobOutcome {
    /// The store holds a token that serves the request.
    Served,
    /// The new tokens are in the rescue only; the next lease holder commits them. The text says why.
    Uncommitted(String),
    /// The login was removed.
    LoggedOut(logout::LogoutReport),
    /// It failed.
    Failed(JobFailure),
}

/// The error of a job, in a form that can be serialized.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobFailure {
    /// The message, one line.
    pub message: String,
    /// The messages of its causes, outermost first.
    pub causes: Vec<String>,
    /// What the caller should do.
    pub kind: ErrorKind,
    /// How to fix it, if known.
    pub remedy: Option<Remedy>,
}

impl Job {
    /// Returns a refresh for a caller that holds `snapshot`.
    #[must_use]
    pub fn refresh(reason: RefreshReason, snapshot: &Snapshot, policy: AccountPolicy) -> Self {
        Self { task: JobTask::Refresh { reason, base: CallerBase::of(snapshot) }, policy }
    }

    /// Returns a refresh that runs only if the stored login is stale and can be refreshed.
    #[must_use]
    pub fn freshen(policy: AccountPolicy) -> Self {
        Self { task: JobTask::Freshen, policy }
    }

    /// Returns a logout.
    #[must_use]
    pub fn logout(scope: LogoutScope) -> Self {
        Self { task: JobTask::Logout { scope }, policy: AccountPolicy::Follow }
    }

    /// Runs the job on this thread. While another process holds the lease, `on_wait` is called before each further try and
    /// may end the wait; then nothing was changed.
    #[must_use]
    pub fn run(
        self,
        home: Home,
        environment: &Environment,
        on_wait: impl FnMut(&Waiting<'_>) -> ControlFlow<()>,
    ) -> JobOutcome {
        self.run_within(home, environment, &LockDeadline::after(environment.lock_timeout), on_wait)
    }

    /// Runs the job as [`Self::run`] does, with `deadline` for all locks. Cancelling `deadline` ends every wait, until a
    /// token is sent or Codex's commit locks are held.
    #[must_use]
    pub fn run_within(
        self,
        home: Home,
        environment: &Environment,
        deadline: &LockDeadline,
        mut on_wait: impl FnMut(&Waiting<'_>) -> ControlFlow<()>,
    ) -> JobOutcome {
        let engine = Engine { policy: self.policy, ..Engine::of_system(home, environment) };
        let done = match self.task {
            JobTask::Freshen => freshen(&engine, deadline, &mut on_wait),
            JobTask::Refresh { reason, base } => refresh(&engine, reason, base, deadline, &mut on_wait),
            JobTask::Logout { scope } => {
                remove_login::run(&engine, scope, deadline, &mut on_wait).map(JobOutcome::LoggedOut)
            }
        };
        done.unwrap_or_else(|error| JobOutcome::Failed(JobFailure::from(&error)))
    }
}

type WaitHook<'a> = dyn FnMut(&Waiting<'_>) -> ControlFlow<()> + 'a;

fn freshen(
    engine: &Engine,
    deadline: &LockDeadline,
    on_wait: &mut WaitHook<'_>,
) -> Result<JobOutcome, Error> {
    let snapshot = engine.load()?;
    match snapshot.status(engine.clock.now()) {
        SnapshotStatus::Stale | SnapshotStatus::Expired if snapshot.fingerprint().is_some() => {
            refresh(engine, RefreshReason::Stale, CallerBase::of(&snapshot), deadline, on_wait)
        }
        _ => Ok(JobOutcome::Served),
    }
}

fn refresh(
    engine: &Engine,
    reason: RefreshReason,
    base: CallerBase,
    deadline: &LockDeadline,
    on_wait: &mut WaitHook<'_>,
) -> Result<JobOutcome, Error> {
    let snapshot = Transaction { engine, reason, base, deadline: deadline.clone() }.run(on_wait)?;
    Ok(match snapshot.divergence() {
        Some(Divergence::Uncommitted(error)) => JobOutcome::Uncommitted(error.to_string()),
        _ => JobOutcome::Served,
    })
}

impl JobFailure {
    /// Returns a failure without causes.
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
