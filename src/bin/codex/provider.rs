//! Credentials that come from the environment or from a command in the place of what is stored.

use std::sync::Arc;

use codex_auth::Environment;
use codex_auth::document::AuthMode;
use codex_auth::external::{ApiKeys, BearerCommand, EnvironmentToken, ExternalToken};
use codex_auth::manager::AuthManager;

use crate::context::CommandContext;
use crate::error::{CommandError, Exit};

/// The credential that the environment puts before what is stored, as `codex exec` would use it.
pub(crate) fn of_environment(environment: &Environment) -> Option<EnvironmentToken> {
    EnvironmentToken::of(environment, ApiKeys::Count)
}

/// Why this credential is of no use to whoever asks for a token, if it is not.
pub(crate) fn unusable(token: &EnvironmentToken, session: &CommandContext) -> Option<String> {
    (!token.token().lives(session.clock.now()))
        .then(|| format!("the token of {} has expired", token.variable()))
}

/// What is stored, and what is not used instead: a line for people.
pub(crate) fn warning(token: &EnvironmentToken) -> String {
    let variable = token.variable();
    match token.mode() {
        AuthMode::ApiKey => {
            format!("{variable} is set: `codex token` and `codex exec` use it, and not what is stored")
        }
        _ => format!("{variable} is set: it is used, and not what is stored"),
    }
}

/// What the command of the model provider `name` prints.
pub(crate) fn of_command(session: &CommandContext, name: &str) -> Result<ExternalToken, CommandError> {
    let mut command = session.stores.settings().provider_command(name)?;
    // A folder of the configuration file is one beside it.
    command.folder = command.folder.map(|folder| session.home().path().join(folder));
    let provider = Arc::new(BearerCommand::new(name, command));
    let manager =
        AuthManager::builder(session.home().clone(), session.environment.clone()).provider(provider);
    let manager = manager.open().map_err(codex_auth::Error::from)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime =
        runtime.map_err(|error| CommandError::new(Exit::Failed, format!("cannot start: {error}")))?;
    let token = runtime.block_on(manager.token()).map_err(codex_auth::Error::from)?;
    token
        .snapshot()
        .external_token()
        .cloned()
        .ok_or_else(|| CommandError::new(Exit::Failed, "the provider gave something else than a token"))
}
