//! The client for the authority (the OAuth server): refreshes, revokes and requests tokens over HTTP.
//!
//! A refresh token is single-use, so after a failed request the caller must know what became of it. [`Error::kind`]
//! says so by [`RetryAdvice`]:
//!
//! | advice | the refresh token | causes |
//! |---|---|---|
//! | [`RetryAdvice::NotSent`] | was not sent | a setting must be fixed first |
//! | [`RetryAdvice::Transient`] | is unchanged | no connection, a redirect, 403, 429, 5xx, any status not named below |
//! | [`RetryAdvice::Unknown`] | may be spent | no response, a partial response, or a success that cannot be parsed |
//! | [`RetryAdvice::Permanent`] | is invalid | 401; 400 `invalid_grant`; any refusal whose code names the token |
//!
//! The requests of a login spend no stored token; they fail with [`RequestError`]. This module saves nothing, and
//! retries only revocations, which are idempotent.
//!
//! # Where tokens go
//!
//! Tokens are sent to an [`Endpoint`] only: an `https` address, or `http` on this machine. Redirects are not followed,
//! and requests to this machine use no proxy. The operating system's certificates are trusted, and those in the file
//! that `CODEX_CA_CERTIFICATE`, else `SSL_CERT_FILE`, names.
//!
//! # Runtime
//!
//! The futures need a tokio runtime of either flavour with its I/O and time drivers. Dropping a runtime waits for a
//! name lookup that is under way on tokio's blocking pool; `Runtime::shutdown_background` does not wait. One
//! [`Authority`] may be used from several runtimes at once.

#[cfg(feature = "http")]
mod address;
#[cfg(not(feature = "http"))]
#[path = "no_url.rs"]
mod address;
// Compared with the other.
mod agent;
#[cfg(feature = "http")]
mod client;
#[cfg(not(feature = "http"))]
#[path = "no_client.rs"]
mod client;
mod code;
mod device;
mod endpoint;
mod error;
mod exchange;
mod issuer;
#[cfg(feature = "testing")]
mod memory;
#[cfg(all(test, feature = "http"))]
mod no_url;
mod profile;
mod proxy;
mod refusal;
mod request;
mod route;
#[cfg(feature = "http")]
mod ticks;
mod token;
mod wire;
mod workspace;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

pub use self::agent::{AgentKeys, AgentToken, AgentTokenError};
#[cfg(feature = "fleet")]
pub(crate) use self::client::private_client;
pub use self::code::{Authorization, FirstTokens};
pub use self::device::{DeviceCode, DeviceStart, MIN_INTERVAL, PollOutcome};
pub use self::endpoint::{Endpoint, EndpointError, EndpointProblem, client_id};
pub use self::error::{
    CaProblem, Error, HttpClientError, MissingResponse, RefusalDuration, RefusalReason, RequestFailure,
    RetryAdvice, TlsError, Transport,
};
use self::exchange::TokenCall;
pub use self::issuer::{AuthorizeRequest, Issuer};
#[cfg(feature = "testing")]
pub use self::memory::MemoryAuthority;
pub use self::profile::Profile;
pub use self::request::RequestError;
pub use self::route::{ProbeResponse, ProxyRoute, Route, TrustRoots};
pub use self::token::{
    InvalidTokenResponse, Refresh, Revocation, RevocationOutcome, StaleTokenReason, TokenResponse,
};
use self::wire::{ConnectLimit, HttpClient, LastCheck};
pub use self::workspace::{Workspace, WorkspaceError};
use crate::backoff::{exponential, jittered};
use crate::config::{Environment, Network};

/// The minimum timeout of the second attempt of a refresh.
const MIN_RETRY_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum number of attempts of one revocation.
const MAX_REVOCATION_ATTEMPTS: u32 = 4;
/// The delay before the second attempt of a revocation; it doubles for each further attempt.
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(250);

/// The HTTP client for authorities. Clones are cheap and share the connection settings.
#[derive(Clone)]
pub struct Authority(Arc<AuthorityShared>);

struct AuthorityShared {
    network: Network,
    deadlines: Deadlines,
    last_check: Option<LastCheck>,
    plain: OnceLock<Box<dyn HttpClient>>,
    secure: OnceLock<Box<dyn HttpClient>>,
}

/// The time limits of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "settings that a caller gives in full")]
pub struct Deadlines {
    /// For connecting, TLS included.
    pub connect: Duration,
    /// For a refresh, from the call to the last byte of the response.
    pub refresh: Duration,
    /// For a revocation, including retries and delays.
    pub revoke: Duration,
}

impl Default for Deadlines {
    /// 10, 30 and 10 seconds.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(10), refresh: seconds(30), revoke: seconds(10) }
    }
}

impl Authority {
    /// Creates a client with the proxy and certificate settings of `environment`. Nothing is read before the first
    /// request.
    #[must_use]
    pub fn new(environment: &Environment) -> Self {
        Self::with_deadlines(environment, Deadlines::default())
    }

    /// As [`Self::new`], with other time limits.
    #[must_use]
    pub fn with_deadlines(environment: &Environment, deadlines: Deadlines) -> Self {
        Self::with_limits(environment, deadlines, None)
    }

    /// As [`Self::with_deadlines`]; a request that `last_check` refuses fails with [`Error::Transient`], unsent.
    pub(crate) fn with_limits(
        environment: &Environment,
        deadlines: Deadlines,
        last_check: Option<LastCheck>,
    ) -> Self {
        let network = environment.network.clone();
        let (plain, secure) = (OnceLock::new(), OnceLock::new());
        Self(Arc::new(AuthorityShared { network, deadlines, last_check, plain, secure }))
    }

    #[cfg(feature = "testing")]
    fn with_clients(
        environment: &Environment,
        plain: Box<dyn HttpClient>,
        secure: Box<dyn HttpClient>,
    ) -> Self {
        let (network, deadlines) = (environment.network.clone(), Deadlines::default());
        let (plain, secure) = (OnceLock::from(plain), OnceLock::from(secure));
        Self(Arc::new(AuthorityShared { network, deadlines, last_check: None, plain, secure }))
    }

    /// Spends a refresh token with a single request and no retry.
    ///
    /// The token may be spent from the first poll on. Dropping the future loses the response, and with it the only
    /// successor of the token: run it to completion on a thread that is not cancelled.
    ///
    /// # Errors
    /// - [`Error::Client`], [`Error::NoToken`]: nothing was sent.
    /// - [`Error::Permanent`]: the token is invalid.
    /// - [`Error::Transient`]: the token is unchanged.
    /// - [`Error::Unknown`]: the token may be spent.
    pub async fn refresh(&self, request: &Refresh) -> Result<TokenResponse, Error> {
        self.refresh_after(request, Duration::ZERO).await
    }

    /// As [`Self::refresh`], for an attempt that begins `passed` after the first; both share the time limit of one
    /// refresh, but this one gets at least [`MIN_RETRY_TIMEOUT`].
    pub(crate) async fn refresh_after(
        &self,
        request: &Refresh,
        passed: Duration,
    ) -> Result<TokenResponse, Error> {
        let Refresh { endpoint, refresh_token, .. } = request;
        let whole = self.0.deadlines.refresh;
        let timeout = whole.saturating_sub(passed).max(MIN_RETRY_TIMEOUT.min(whole));
        let call = TokenCall { endpoint, token: refresh_token, timeout };
        let answer = call.send(self.client(call.endpoint)?, request.body()).await;
        let answer = answer.map_err(|error| self.naming_proxy(error))?;
        if answer.is_success() { call.tokens(answer) } else { Err(call.refresh_error(&answer)) }
    }

    /// Revokes a token. A response saying that the token is already invalid counts as success.
    ///
    /// Failed connections, missing responses, 429 and 5xx are retried up to three times within the time limit. If the
    /// future is dropped, the token may or may not be revoked.
    ///
    /// # Errors
    /// - [`Error::Client`], [`Error::NoToken`]: nothing was sent.
    /// - [`Error::Transient`]: the authority was unreachable or refused; the token is still valid.
    /// - [`Error::Unknown`]: the request was sent, and no response came.
    pub async fn revoke(&self, request: &Revocation) -> Result<RevocationOutcome, Error> {
        let started = Instant::now();
        let total = self.0.deadlines.revoke;
        let mut tries = 0;
        loop {
            let timeout = total.saturating_sub(started.elapsed());
            let call = TokenCall { endpoint: &request.endpoint, token: &request.token, timeout };
            let error = match call.send(self.client(call.endpoint)?, request.body()).await {
                Ok(answer) if answer.is_success() => return Ok(RevocationOutcome::Revoked),
                Ok(answer) if answer.says_already_invalid(call.token) => {
                    return Ok(RevocationOutcome::AlreadyInvalid);
                }
                Ok(answer) => call.revocation_error(&answer),
                Err(error) => self.naming_proxy(error),
            };
            tries += 1;
            let left = total.saturating_sub(started.elapsed());
            match RetryDecision::decide(&error, tries) {
                RetryDecision::After(pause) if pause < left => tokio::time::sleep(pause).await,
                RetryDecision::After(_) | RetryDecision::Never => return Err(error),
            }
        }
    }

    /// Returns `cause` with the proxy that failed, if requests to `endpoint` go through one.
    fn with_proxy(&self, endpoint: &Endpoint, cause: RequestFailure) -> RequestFailure {
        match (cause, proxy::proxy_of(&self.0.network, endpoint)) {
            (RequestFailure::Connection(source), Some((variable, address))) => {
                RequestFailure::Proxy { variable, address, source }
            }
            (cause, _) => cause,
        }
    }

    fn naming_proxy(&self, error: Error) -> Error {
        match error {
            Error::Transient { endpoint, cause, retry_after } => {
                let cause = self.with_proxy(&endpoint, cause);
                Error::Transient { endpoint, cause, retry_after }
            }
            error => error,
        }
    }

    /// Returns the client for `endpoint`. After a failure the next call tries again: the user may have fixed the cause.
    fn client(&self, endpoint: &Endpoint) -> Result<&dyn HttpClient, HttpClientError> {
        let AuthorityShared { network, deadlines, last_check, plain, secure } = &*self.0;
        let client = if endpoint.is_plain() { plain } else { secure };
        if let Some(client) = client.get() {
            return Ok(&**client);
        }
        let limit = ConnectLimit { timeout: deadlines.connect, last_check: last_check.clone() };
        let made = if endpoint.is_plain() { client::plain(limit)? } else { client::secure(network, limit)? };
        // Another thread may have stored its client first.
        Ok(&**client.get_or_init(|| made))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AuthorityShared { network, deadlines, .. } = &*self.0;
        f.debug_struct("Authority")
            .field("network", network)
            .field("deadlines", deadlines)
            .finish_non_exhaustive()
    }
}

/// Whether a revocation is worth another try.
enum RetryDecision {
    After(Duration),
    Never,
}

impl RetryDecision {
    /// Decides whether to retry after `error` ended attempt number `tries`.
    fn decide(error: &Error, tries: u32) -> Self {
        if tries >= MAX_REVOCATION_ATTEMPTS {
            return Self::Never;
        }
        let asked = match error {
            Error::Unknown { .. }
            | Error::Transient {
                cause: RequestFailure::Connection(_) | RequestFailure::Proxy { .. }, ..
            } => None,
            Error::Transient {
                cause: RequestFailure::Status { status: 429 | 500.., .. },
                retry_after,
                ..
            } => *retry_after,
            _ => return Self::Never,
        };
        let pause = jittered(exponential(FIRST_RETRY_DELAY, Duration::MAX, tries));
        Self::After(pause.max(asked.unwrap_or_default()))
    }
}
