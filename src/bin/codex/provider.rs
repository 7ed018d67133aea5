//! Credentials from the environment or from a provider command, which are used instead of the stored login.

use std::sync::Arc;

use codex_auth::Environment;
use codex_auth::document::AuthMode;
use codex_auth::external::{ApiKeyPolicy, BearerCommand, EnvironmentToken, ExternalToken};
use codex_auth::manager::AuthManager;

use crate::context::CommandContext;
use crate::error::{CommandError, Exit};
use crate::runtime;

/// The credential in the environment that `codex exec` would use instead of the stored login.
pub(crate) fn of_environment(environment: &Environment) -> Option<EnvironmentToken> {
    EnvironmentToken::from_environment(environment, ApiKeyPolicy::Use)
}

/// Why no token can be had from this credential, if that is so.
pub(crate) fn unusable(token: &EnvironmentToken, session: &CommandContext) -> Option<String> {
    (!token.token().is_valid_at(session.clock.now()))
        .then(|| format!("the token of {} has expired", token.variable()))
}

/// A warning that this credential is used instead of the stored login.
pub(crate) fn warning(token: &EnvironmentToken) -> String {
    let variable = token.variable();
    match token.mode() {
        AuthMode::ApiKey => {
            format!("{variable} is set: `codex token` and `codex exec` use it instead of the stored login")
        }
        _ => format!("{variable} is set and is used instead of the stored login"),
    }
}

/// Runs the token command of the model provider `name` and returns the token that it prints.
pub(crate) fn of_command(session: &CommandContext, name: &str) -> Result<ExternalToken, CommandError> {
    let mut command = session.stores.settings().provider_command(name).map_err(|error| {
        CommandError::new(Exit::Failed, format!("{}: {error}", session.home().config().display()))
    })?;
    // A relative folder in config.toml is relative to the home.
    command.folder = command.folder.map(|folder| session.home().path().join(folder));
    let provider = Arc::new(BearerCommand::new(name, command));
    let manager =
        AuthManager::builder(session.home().clone(), session.environment.clone()).provider(provider);
    let manager = manager.open()?;
    let token = runtime::run(async { Ok(manager.token().await?) })?;
    token
        .snapshot()
        .external_token()
        .cloned()
        .ok_or_else(|| CommandError::new(Exit::Failed, "the provider returned no token"))
}
