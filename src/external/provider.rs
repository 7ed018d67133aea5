//! The trait of providers.

use std::pin::Pin;
use std::time::Duration;

use super::error::Error;
use super::token::ExternalToken;

/// The future of a provider's answer.
pub type TokenFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// An external source of bearer tokens.
///
/// The manager calls it on a separate thread, one call at a time, and caches the token until it is stale, so
/// implementations need no cache and may block. After a [transient](super::Persistence::Transient) error the manager serves a
/// token that is still valid and calls again later.
pub trait ExternalAuth: Send + Sync {
    /// Returns the name of the provider, for messages.
    fn name(&self) -> &str;

    /// Returns the token that the provider has already. By default there is none, and the manager calls
    /// [`refresh`](Self::refresh).
    fn resolve(&self) -> TokenFuture<'_, Option<ExternalToken>> {
        Box::pin(async { Ok(None) })
    }

    /// Returns a new token, for the reason in `context`.
    fn refresh(&self, context: ProviderContext) -> TokenFuture<'_, ExternalToken>;

    /// Returns how long a token is used, if it does not expire sooner. By default it is used until it expires or a
    /// server refuses it.
    fn refresh_interval(&self) -> Option<Duration> {
        None
    }
}

/// The reason for requesting a new token, and the previous account.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderContext {
    /// The reason.
    pub reason: RequestReason,
    /// The ChatGPT account of the previous token, if known. A request that started with that token cannot use the token
    /// of another account.
    pub previous_account_id: Option<String>,
}

impl ProviderContext {
    /// Creates a context.
    #[must_use]
    pub fn new(reason: RequestReason, previous_account_id: Option<String>) -> Self {
        Self { reason, previous_account_id }
    }
}

/// Why a new token is requested from a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestReason {
    /// The previous token has expired or is about to.
    Expired,
    /// The caller requested a new one.
    Forced,
    /// There is no token yet.
    Missing,
    /// A server refused the previous token with a 401.
    Unauthorized,
}
