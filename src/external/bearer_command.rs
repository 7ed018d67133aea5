//! A program of the user's as a provider of bearer tokens, as `config.toml` describes it.

use std::time::Duration;

use super::{ExternalAuth, ExternalToken, ProviderContext, TokenFuture, command};
use crate::config::ProviderCommand;

/// A command that prints a bearer token (`codex-behaviour.md` 6).
///
/// It runs in a process group of its own, without a shell, standard input or the credentials of our own environment. It is
/// ended with everything it has started when it takes longer than it may, when it prints more than a token can be, and when
/// whoever asked does not wait for it any more. What it leaves running when it ends by itself is its own affair.
///
/// Its answers need a tokio runtime with I/O and time drivers, which the manager has for them.
#[derive(Clone, Debug)]
pub struct BearerCommand {
    name: String,
    command: ProviderCommand,
}

impl BearerCommand {
    /// The command of the model provider `name`.
    #[must_use]
    pub fn new(name: impl Into<String>, command: ProviderCommand) -> Self {
        Self { name: name.into(), command }
    }
}

impl ExternalAuth for BearerCommand {
    fn name(&self) -> &str {
        &self.name
    }

    // There is nothing at hand that need not be asked for by running it, so `resolve` stays empty.

    fn refresh(&self, _context: ProviderContext) -> TokenFuture<'_, ExternalToken> {
        Box::pin(async { Ok(ExternalToken::bearer(command::run(&self.command).await?)) })
    }

    fn refresh_interval(&self) -> Option<Duration> {
        self.command.refresh_interval
    }
}
