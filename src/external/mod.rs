//! Providers: external sources of bearer tokens, such as a host application, the environment or a command.
//!
//! Whoever has tokens already implements [`ExternalAuth`] and hands it to
//! [`Builder::provider`](crate::manager::Builder::provider); a [`BearerCommand`] runs a program of the user's. A bare bearer
//! token is all that is needed: what ChatGPT knows of an account is asked for only where a ChatGPT document is made of it
//! ([`ExternalToken::to_document`]).

mod bearer_command;
mod command;
mod environment;
mod error;
mod token;

use std::pin::Pin;
use std::time::Duration;

pub use self::bearer_command::BearerCommand;
pub use self::environment::{ApiKeys, EnvironmentToken};
pub use self::error::{Error, Persistence};
pub use self::token::{ChatGptAccount, ExternalToken};

/// What a provider is asked, once it is there.
pub type TokenFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// An external source of bearer tokens.
///
/// The manager asks it on a thread of its own, never twice at once, and keeps what it answers until that wants a successor;
/// so an implementation need not cache. It may block. An error is [transient](Persistence::Transient) unless it says
/// otherwise: then a token that lives is served meanwhile, and the provider is asked again later.
pub trait ExternalAuth: Send + Sync {
    /// What messages call it.
    fn name(&self) -> &str;

    /// The token that it has at hand, asked for before a request. By default it has none, and is asked to
    /// [`refresh`](Self::refresh).
    fn resolve(&self) -> TokenFuture<'_, Option<ExternalToken>> {
        Box::pin(async { Ok(None) })
    }

    /// Another token than the one before, for the reason that `context` gives.
    fn refresh(&self, context: ProviderContext) -> TokenFuture<'_, ExternalToken>;

    /// How long a token is used before the provider is asked again, where the token itself does not end sooner. By default
    /// it is used until it ends, or until a server refuses it.
    fn refresh_interval(&self) -> Option<Duration> {
        None
    }
}

/// Why a provider is asked for another token, and what was there before.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderContext {
    /// Why.
    pub reason: RequestReason,
    /// The ChatGPT account of the token before, as far as that is known. A token of another account is of no use to a
    /// request that was begun with this one.
    pub previous_account_id: Option<String>,
}

impl ProviderContext {
    /// A question about the token of `previous_account_id`.
    #[must_use]
    pub fn new(reason: RequestReason, previous_account_id: Option<String>) -> Self {
        Self { reason, previous_account_id }
    }
}

/// Why a provider is asked for another token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestReason {
    /// The one before has ended, or is about to.
    Expired,
    /// Somebody asked for another.
    Forced,
    /// There is none yet.
    Missing,
    /// A server refused the one before with a 401.
    Unauthorized,
}
