//! A command of `config.toml` as a provider of bearer tokens.

use std::time::Duration;

use super::{ExternalAuth, ExternalToken, ProviderContext, TokenFuture, command};
use crate::config::ProviderCommand;

/// A command that prints a bearer token.
///
/// It runs in its own process group, without a shell, standard input, or the credential variables of this process. The
/// whole group is killed if the command exceeds its time limit, prints more than 64 KiB, or the future is dropped.
/// Processes that it leaves behind when it exits are not killed.
///
/// Outside the manager, its futures need a tokio runtime with I/O and time drivers.
#[derive(Clone, Debug)]
pub struct BearerCommand {
    name: String,
    command: ProviderCommand,
}

impl BearerCommand {
    /// Creates a provider from the command of the model provider `name`.
    #[must_use]
    pub fn new(name: impl Into<String>, command: ProviderCommand) -> Self {
        Self { name: name.into(), command }
    }
}

impl ExternalAuth for BearerCommand {
    fn name(&self) -> &str {
        &self.name
    }

    fn refresh(&self, _context: ProviderContext) -> TokenFuture<'_, ExternalToken> {
        Box::pin(async { Ok(ExternalToken::bearer(command::run(&self.command).await?)) })
    }

    fn refresh_interval(&self) -> Option<Duration> {
        self.command.refresh_interval
    }
}
