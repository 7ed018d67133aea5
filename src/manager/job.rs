//! A transaction as a value: for a program that runs it in a child of itself, and hears how it ended.
//!
//! A command may be killed, time out or replace itself at any moment; a child in a session of its own is not touched by
//! that. The job carries names of secrets and never a secret: the child reads the store itself.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::end_login;
use super::engine::{AccountPolicy, Engine};
use super::error::Error;
use super::logout::{self, Scope};
use super::refresh::Transaction;
use super::snapshot::{Departure, Snapshot, Standing};
use super::wanted::{Base, Reason};
use crate::config::Environment;
use crate::home::Home;
use crate::remedy::{ErrorKind, Remedy};
use crate::store::{Deadline, Waiting};

/// What a child is to do, to be sent to it as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Job {
    task: Task,
    policy: AccountPolicy,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Task {
    Freshen,
    Refresh { reason: Reason, base: Base },
    Logout { scope: Scope },
}

/// What a child has done, to be sent back as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Done {
    /// The store holds what the job was for.
    Served,
    /// The new tokens are in the rescue only; the next holder of the lease commits them.
    Uncommitted(String),
    /// The login has ended.
    LoggedOut(logout::Report),
    /// It failed.
    Failed(Failure),
}

/// A failure as it travels from a child.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
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
    pub fn refresh(reason: Reason, snapshot: &Snapshot, policy: AccountPolicy) -> Self {
        Self { task: Task::Refresh { reason, base: Base::of(snapshot) }, policy }
    }

    /// A refresh if what is stored by then is stale and can be refreshed; otherwise nothing.
    #[must_use]
    pub fn freshen(policy: AccountPolicy) -> Self {
        Self { task: Task::Freshen, policy }
    }

    /// A logout.
    #[must_use]
    pub fn logout(scope: Scope) -> Self {
        Self { task: Task::Logout { scope }, policy: AccountPolicy::Follow }
    }

    /// Does it, here and now, on this thread. While another process holds the lease `between` is called before each
    /// further try, and may end the wait: then nothing was changed, and nothing is changed later.
    #[must_use]
    pub fn run(
        self,
        home: Home,
        environment: &Environment,
        between: impl FnMut(&Waiting<'_>) -> ControlFlow<()>,
    ) -> Done {
        self.run_within(home, environment, &Deadline::after(environment.lock_timeout), between)
    }

    /// As [`Self::run`], with the waits for locks within `deadline`. Cancelling that ends every wait, until a token is sent
    /// or Codex's commit locks are held.
    #[must_use]
    pub fn run_within(
        self,
        home: Home,
        environment: &Environment,
        deadline: &Deadline,
        mut between: impl FnMut(&Waiting<'_>) -> ControlFlow<()>,
    ) -> Done {
        let engine = Engine { policy: self.policy, ..Engine::of_system(home, environment) };
        let done = match self.task {
            Task::Freshen => freshen(&engine, deadline, &mut between),
            Task::Refresh { reason, base } => refresh(&engine, reason, base, deadline, &mut between),
            Task::Logout { scope } => {
                end_login::run(&engine, scope, deadline, &mut between).map(Done::LoggedOut)
            }
        };
        done.unwrap_or_else(|error| Done::Failed(Failure::from(&error)))
    }
}

type Between<'a> = dyn FnMut(&Waiting<'_>) -> ControlFlow<()> + 'a;

fn freshen(engine: &Engine, deadline: &Deadline, between: &mut Between<'_>) -> Result<Done, Error> {
    let snapshot = engine.load()?;
    match snapshot.standing(engine.clock.now()) {
        Standing::Stale | Standing::Expired if snapshot.fingerprint().is_some() => {
            refresh(engine, Reason::Stale, Base::of(&snapshot), deadline, between)
        }
        _ => Ok(Done::Served),
    }
}

fn refresh(
    engine: &Engine,
    reason: Reason,
    base: Base,
    deadline: &Deadline,
    between: &mut Between<'_>,
) -> Result<Done, Error> {
    let snapshot = Transaction { engine, reason, base, deadline: deadline.clone() }.run(between)?;
    Ok(match snapshot.departure() {
        Some(Departure::Uncommitted(error)) => Done::Uncommitted(error.to_string()),
        _ => Done::Served,
    })
}

impl Failure {
    /// A failure without a cause that is known.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { message: message.into(), causes: Vec::new(), kind, remedy: None }
    }
}

impl From<&Error> for Failure {
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
