//! What commands share: the environment, the home, its stores, and words for them.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::Duration;

use codex_auth::accounts::ChosenHome;
use codex_auth::document::AuthDocument;
use codex_auth::keeper::{ClientError, KeeperAccount, KeeperRefusal};
use codex_auth::manager::{AuthManager, Job, JobFailure, JobOutcome, Snapshot};
use codex_auth::store::{self, KeychainClient, LockDeadline, StorageNote, Waiting};
use codex_auth::{AuthMode, Clock, Environment, Home, Stores};
use serde_json::{Value, json};

use crate::child::{self, WaitNotice};
use crate::choice;
use crate::error::{CommandError, Exit};
use crate::located;
use crate::output::{Output, path_text, plain};

/// The wait after which a command says what it waits for.
const SILENCE: Duration = Duration::from_millis(500);

/// One run of the program on one home.
#[derive(Debug)]
pub(crate) struct CommandContext {
    pub(crate) environment: Environment,
    pub(crate) stores: Stores,
    /// The account that was chosen, and why.
    pub(crate) chosen: ChosenHome,
    pub(crate) clock: Clock,
    /// The limit of all waits for locks of this command.
    pub(crate) deadline: LockDeadline,
}

impl CommandContext {
    pub(crate) fn open(output: &mut Output) -> Result<Self, CommandError> {
        let mut environment = Environment::of_process()?;
        output.configure(&environment);
        let chosen = located::locate(&mut environment, output)?;
        Self::at(chosen, environment, output)
    }

    /// As [`Self::open`], for the keeper, which serves all accounts unless one is named.
    pub(crate) fn open_for_keeper(output: &mut Output) -> Result<Self, CommandError> {
        let mut environment = Environment::of_process()?;
        output.configure(&environment);
        let chosen = located::locate_without_pins(&mut environment, output)?;
        Self::at(chosen, environment, output)
    }

    /// As [`Self::open`], for a logout, which a `config.toml` that cannot be parsed does not prevent.
    pub(crate) fn open_for_logout(output: &mut Output) -> Result<Self, CommandError> {
        let mut environment = Environment::of_process()?;
        output.configure(&environment);
        let chosen = located::locate(&mut environment, output)?;
        Self::at_for_logout(chosen, environment, output)
    }

    /// As [`Self::open`], for a home that is known already.
    pub(crate) fn at(
        chosen: ChosenHome,
        environment: Environment,
        output: &mut Output,
    ) -> Result<Self, CommandError> {
        Self::with_stores(chosen, environment, output, Stores::open)
    }

    fn with_stores(
        chosen: ChosenHome,
        environment: Environment,
        output: &mut Output,
        open: impl FnOnce(Home, &Environment) -> Result<Stores, store::Error>,
    ) -> Result<Self, CommandError> {
        let home = &chosen.home;
        output.set_home(json!(path_text(home.path())));
        tracing::debug!("home {}: {}", home.path().display(), chosen.reason);
        let stores = open(home.clone(), &environment)?;
        let deadline = LockDeadline::after(environment.lock_timeout);
        Ok(Self { environment, stores, chosen, clock: Clock::system(), deadline })
    }

    /// As [`Self::at`], for a logout.
    pub(crate) fn at_for_logout(
        chosen: ChosenHome,
        environment: Environment,
        output: &mut Output,
    ) -> Result<Self, CommandError> {
        let open =
            |home, environment: &_| Stores::open_for_logout(home, environment, KeychainClient::system());
        Self::with_stores(chosen, environment, output, open)
    }

    /// Runs `job` for this login in a child process, within the limit of this command.
    pub(crate) fn run(&self, job: &Job, notice: WaitNotice<'_>) -> Result<JobOutcome, JobFailure> {
        match choice::is_chosen(self.home()) {
            true => child::run_within(job, notice, &self.deadline),
            false => child::run_at(self.home(), job, notice, &self.deadline),
        }
    }

    pub(crate) fn home(&self) -> &Home {
        self.stores.home()
    }

    /// Reads the stored login and the state of its refresh token.
    pub(crate) fn snapshot(&self) -> Result<Arc<Snapshot>, CommandError> {
        let manager = AuthManager::builder(self.home().clone(), self.environment.clone());
        Ok(manager.open()?.current())
    }
}

/// Says once, on a terminal, which process a command waits for.
#[derive(Debug)]
pub(crate) struct WaitingLine {
    output: Output,
    shown: bool,
}

impl WaitingLine {
    pub(crate) fn new(output: &Output) -> Self {
        Self { output: output.clone(), shown: !io::stderr().is_terminal() }
    }

    pub(crate) fn show(&mut self, waiting: &Waiting<'_>) {
        if self.shown || waiting.waited() < SILENCE {
            return;
        }
        self.shown = true;
        let holder =
            waiting.holder().map_or_else(|| "another process".to_owned(), |holder| holder.to_string());
        self.output.inform(&format!("waiting for {holder}, which is changing this login"));
    }
}

/// Returns the account of a report: its `id` is the workspace of the access token. `account_id` is there only where
/// the document names another workspace.
pub(crate) fn account(document: Option<&AuthDocument>) -> Value {
    let mut account = json!(KeeperAccount::of(document));
    if let Some(selected) = document.and_then(selected_elsewhere).filter(|_| !account.is_null()) {
        account["account_id"] = selected.into();
    }
    account
}

/// Returns the workspace that the document names, if its access token is for another one.
pub(crate) fn selected_elsewhere(document: &AuthDocument) -> Option<String> {
    document.identity().account_id.filter(|id| document.workspace().as_ref() != Some(id))
}

/// Returns the error of a request to the keeper behind `CODEX_AUTH_SOCKET`.
pub(crate) fn keeper_error(error: ClientError) -> CommandError {
    match error {
        ClientError::Refused(KeeperRefusal::Failed(failure)) => failure.into(),
        error @ ClientError::Unreachable { .. } => {
            CommandError::new(Exit::StoreUnavailable, error.to_string())
                .hint("start the keeper of that socket (codex sync run), or unset CODEX_AUTH_SOCKET")
        }
        error => CommandError::new(Exit::TryAgain, error.to_string()),
    }
}

/// Returns the warnings of a report.
pub(crate) fn warnings<'a>(notes: impl IntoIterator<Item = &'a StorageNote>) -> Vec<String> {
    notes.into_iter().map(ToString::to_string).collect()
}

/// Returns a store with its location, for messages.
pub(crate) fn location_text(location: &store::DocumentLocation) -> String {
    format!("{} store, {location}", location.kind())
}

/// Returns the credential of a login for messages: "an API key".
pub(crate) fn credential(mode: Option<&AuthMode>) -> String {
    match mode {
        Some(AuthMode::ApiKey) => "an API key".to_owned(),
        Some(AuthMode::AgentIdentity) => "an agent identity token".to_owned(),
        Some(AuthMode::PersonalAccessToken) => "a personal access token".to_owned(),
        Some(AuthMode::ChatGpt) => "a ChatGPT account".to_owned(),
        Some(mode) => format!("a credential of the kind {}", plain(mode.as_str())),
        None => "a credential".to_owned(),
    }
}
