//! What every command starts from: the environment, the home and its stores.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::Duration;

use codex_auth::document::AuthDocument;
use codex_auth::manager::{AuthManager, Snapshot};
use codex_auth::store::{self, LockDeadline, StorageNote, Waiting};
use codex_auth::{Clock, Environment, Home, Lease, Stores};
use codex_auth_platform::process::{self, ProcessVariable, RunningProcess};
use serde_json::{Value, json};

use crate::error::CommandError;
use crate::output::{Output, path_text};

/// How long to wait in silence.
const SILENCE: Duration = Duration::from_millis(500);

/// One run of the program on one home.
#[derive(Debug)]
pub(crate) struct CommandContext {
    pub(crate) environment: Environment,
    pub(crate) stores: Stores,
    pub(crate) clock: Clock,
    /// The limit of all waits for locks of this command.
    pub(crate) deadline: LockDeadline,
}

impl CommandContext {
    pub(crate) fn open(output: &mut Output) -> Result<Self, CommandError> {
        let environment = Environment::of_process()?;
        output.configure(&environment);
        let home = store::locate(&environment)?;
        Self::at(home, environment, output)
    }

    /// The same where the home is known already.
    pub(crate) fn at(
        home: Home,
        environment: Environment,
        output: &mut Output,
    ) -> Result<Self, CommandError> {
        output.head("place", json!(path_text(home.path())));
        let stores = Stores::open(home, &environment)?;
        let deadline = LockDeadline::after(environment.lock_timeout);
        Ok(Self { environment, stores, clock: Clock::system(), deadline })
    }

    pub(crate) fn home(&self) -> &Home {
        self.stores.home()
    }

    /// What is stored now, with what is known of its refresh token.
    pub(crate) fn snapshot(&self) -> Result<Arc<Snapshot>, CommandError> {
        let manager = AuthManager::builder(self.home().clone(), self.environment.clone());
        Ok(manager.open().map_err(codex_auth::Error::from)?.current())
    }

    /// Takes the lease; a person who has to wait is told for whom.
    pub(crate) fn lease(&self, output: &Output) -> Result<Lease, CommandError> {
        let mut line = WaitingLine::new(output);
        Ok(Lease::acquire(self.home(), &self.deadline, |waiting| line.tell(waiting))?)
    }
}

/// Tells a person once that they have to wait for the lease, and for whom.
#[derive(Debug)]
pub(crate) struct WaitingLine {
    output: Output,
    told: bool,
}

impl WaitingLine {
    pub(crate) fn new(output: &Output) -> Self {
        Self { output: output.clone(), told: !io::stderr().is_terminal() }
    }

    pub(crate) fn tell(&mut self, waiting: &Waiting<'_>) {
        if self.told || waiting.waited() < SILENCE {
            return;
        }
        self.told = true;
        let holder =
            waiting.holder().map_or_else(|| "another process".to_owned(), |holder| holder.to_string());
        self.output.say(&format!("waiting for {holder}, which is changing this login"));
    }
}

/// Whose login it is, for a report: the workspace is that of the access token, and `account_id` the one that the document
/// names if it is another.
pub(crate) fn account(document: Option<&AuthDocument>) -> Value {
    match document.filter(|document| document.tokens().is_some()) {
        None => Value::Null,
        Some(document) => {
            let mut account = json!({
                "id": document.workspace(),
                "email": document.claims().email,
                "plan": document.claims().plan.as_ref().map(codex_auth::claims::PlanType::as_str),
            });
            if let Some(selected) = selected_elsewhere(document) {
                account["account_id"] = selected.into();
            }
            account
        }
    }
}

/// The workspace that the document names, where its access token acts for another.
pub(crate) fn selected_elsewhere(document: &AuthDocument) -> Option<String> {
    document.identity().account_id.filter(|id| document.workspace().as_ref() != Some(id))
}

/// Notes as the warnings of a report.
pub(crate) fn warnings<'a>(notes: impl IntoIterator<Item = &'a StorageNote>) -> Vec<String> {
    notes.into_iter().map(ToString::to_string).collect()
}

/// A store as people call it, with where it is.
pub(crate) fn kept_in(location: &store::DocumentLocation) -> String {
    format!("{} store, {location}", location.kind())
}

/// Other processes of this user that are called codex and use `home`, as far as the system tells.
pub(crate) fn other_programs(home: &Home, environment: &Environment) -> Vec<RunningProcess> {
    let here = |running: &RunningProcess| match &running.variable {
        ProcessVariable::Set(path) => store::is_home(home, path.as_ref()),
        _ => environment.is_default_home(),
    };
    process::running_programs("codex", "CODEX_HOME").unwrap_or_default().into_iter().filter(here).collect()
}
