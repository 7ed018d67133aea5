//! The authority: gives the tokens of a login, spends refresh tokens and takes tokens back, over an HTTP client that is
//! made when it is needed.
//!
//! A refresh token is good for one use, so what matters is what is known after a request failed. [`Error`] says it, by
//! [`RetryAdvice`]:
//!
//! | kind | the token | when |
//! |---|---|---|
//! | [`RetryAdvice::NotSent`] | was not sent | a setting has to be mended first |
//! | [`RetryAdvice::Transient`] | is as it was | no connection; 403, 429, 5xx and whatever else is not below; a redirect |
//! | [`RetryAdvice::Unknown`] | may be spent | no answer, half an answer, or a success that cannot be understood |
//! | [`RetryAdvice::Permanent`] | is of no use | 401; 400 `invalid_grant`; any refusal whose code names the token |
//!
//! A login spends nothing that is stored, and what keeps it from its end is a [`RequestError`]. Nothing is saved here, and
//! nothing is retried but a revocation, which can be repeated without harm.
//!
//! # Where tokens go
//!
//! To an [`Endpoint`], which is `https` or on this very machine, and nowhere else: no redirect is followed, and a request
//! to this machine takes no proxy. Certificates are judged by the operating system, with those of `CODEX_CA_CERTIFICATE`,
//! else `SSL_CERT_FILE`, added to its own.
//!
//! # Runtime
//!
//! The futures need a tokio runtime with its I/O and time drivers, of either flavour. They spawn nothing that outlives
//! them but the looking up of a name, which tokio does on a blocking thread: a runtime that is dropped waits for it, and
//! `Runtime::shutdown_background` does not. One [`Authority`] may be used from several runtimes, one after another or at
//! once.

mod agent;
mod client;
mod code;
mod device;
mod endpoint;
mod error;
mod exchange;
mod issuer;
mod profile;
mod refusal;
mod request;
mod route;
mod ticks;
mod token;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use reqwest::Client;

pub use self::agent::{AgentKeys, AgentToken, AgentTokenError};
pub use self::code::{Authorization, FirstTokens};
pub use self::device::{DeviceCode, DeviceStart, PollOutcome, SHORTEST_INTERVAL};
pub use self::endpoint::{Endpoint, EndpointError, EndpointProblem, client_id};
pub use self::error::{
    CaProblem, Error, HttpClientError, MissingResponse, RefusalDuration, RefusalReason, RequestFailure,
    RetryAdvice, Transport,
};
use self::exchange::TokenCall;
pub use self::issuer::{AuthorizeRequest, Issuer};
pub use self::profile::Profile;
pub use self::request::RequestError;
pub use self::route::{ProbeResponse, ProxyRoute, Route, TrustRoots};
pub use self::token::{
    InvalidTokenResponse, Refresh, Revocation, RevocationOutcome, StaleTokenReason, TokenResponse,
};
use crate::config::{Environment, Network};

/// The least time that a second try of a refresh has.
const SECOND_TRY: Duration = Duration::from_secs(10);
/// How often a revocation is tried while there is time.
const REVOCATION_TRIES: u32 = 4;
/// The pause before the second try of a revocation; the next is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The way to authorities. Cloning it is cheap, and the clones share one HTTP client.
#[derive(Clone)]
pub struct Authority(Arc<AuthorityShared>);

struct AuthorityShared {
    network: Network,
    deadlines: Deadlines,
    plain: OnceLock<Client>,
    secure: OnceLock<Client>,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "settings that a caller gives in full")]
pub struct Deadlines {
    /// A connection, TLS and all.
    pub connect: Duration,
    /// A refresh, from the call to the last byte of the answer.
    pub refresh: Duration,
    /// A revocation, all its tries and pauses together.
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
    /// The way that `environment` describes. Nothing is read or built before the first request.
    #[must_use]
    pub fn new(environment: &Environment) -> Self {
        Self::with_deadlines(environment, Deadlines::default())
    }

    /// The same with other deadlines.
    #[must_use]
    pub fn with_deadlines(environment: &Environment, deadlines: Deadlines) -> Self {
        let network = environment.network.clone();
        let (plain, secure) = (OnceLock::new(), OnceLock::new());
        Self(Arc::new(AuthorityShared { network, deadlines, plain, secure }))
    }

    /// Spends a refresh token, once: one request, never repeated by itself.
    ///
    /// From the first poll on the token may be spent. A future that is dropped before its end takes the answer with it,
    /// and with it the only successor of the token: run it to its end on a thread that nobody stops.
    ///
    /// # Errors
    /// - [`Error::Client`], [`Error::NoToken`]: nothing was sent.
    /// - [`Error::Permanent`]: the token is of no use.
    /// - [`Error::Transient`]: the token is as it was.
    /// - [`Error::Unknown`]: the token may be spent.
    pub async fn refresh(&self, request: &Refresh) -> Result<TokenResponse, Error> {
        self.refresh_after(request, Duration::ZERO).await
    }

    /// As [`Self::refresh`], for a second try: both together take no longer than one may, unless that leaves too little.
    pub(crate) async fn refresh_after(
        &self,
        request: &Refresh,
        passed: Duration,
    ) -> Result<TokenResponse, Error> {
        let Refresh { endpoint, refresh_token, .. } = request;
        let whole = self.0.deadlines.refresh;
        let within = whole.saturating_sub(passed).max(SECOND_TRY.min(whole));
        let call = TokenCall { endpoint, token: refresh_token, within };
        let answer = call.send(self.client(call.endpoint)?, request.body()).await?;
        if answer.is_success() { call.tokens(answer) } else { Err(call.refused_refresh(&answer)) }
    }

    /// Takes a token back. An authority that says that the token is worth nothing any more has done so too.
    ///
    /// A try that fails for want of a connection or an answer, or with 429 or 5xx, is repeated up to three times while
    /// there is time. A future that is dropped leaves it open whether the token was taken back.
    ///
    /// # Errors
    /// - [`Error::Client`], [`Error::NoToken`]: nothing was sent.
    /// - [`Error::Transient`]: the authority could not be reached, or refused; the token is still good.
    /// - [`Error::Unknown`]: it was asked and gave no answer.
    pub async fn revoke(&self, request: &Revocation) -> Result<RevocationOutcome, Error> {
        let started = Instant::now();
        let total = self.0.deadlines.revoke;
        let mut tries = 0;
        loop {
            let within = total.saturating_sub(started.elapsed());
            let call = TokenCall { endpoint: &request.endpoint, token: &request.token, within };
            let error = match call.send(self.client(call.endpoint)?, request.body()).await {
                Ok(answer) if answer.is_success() => return Ok(RevocationOutcome::Now),
                Ok(answer) if answer.says_already_invalid(call.token) => {
                    return Ok(RevocationOutcome::AlreadyInvalid);
                }
                Ok(answer) => call.refused_revocation(&answer),
                Err(error) => error,
            };
            tries += 1;
            let left = total.saturating_sub(started.elapsed());
            match RetryDecision::after(&error, tries) {
                RetryDecision::In(pause) if pause < left => tokio::time::sleep(pause).await,
                RetryDecision::In(_) | RetryDecision::Never => return Err(error),
            }
        }
    }

    /// The client for `endpoint`. When it cannot be made the next call tries again: the user may have mended the cause.
    fn client(&self, endpoint: &Endpoint) -> Result<&Client, HttpClientError> {
        let AuthorityShared { network, deadlines, plain, secure } = &*self.0;
        let client = if endpoint.is_plain() { plain } else { secure };
        if let Some(client) = client.get() {
            return Ok(client);
        }
        let made = if endpoint.is_plain() {
            client::plain(deadlines.connect)?
        } else {
            client::secure(network, deadlines.connect)?
        };
        // Another thread may have been first, and then its client is the one.
        Ok(client.get_or_init(|| made))
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
    In(Duration),
    Never,
}

impl RetryDecision {
    /// After the last of `tries` ended with `error`.
    fn after(error: &Error, tries: u32) -> Self {
        if tries >= REVOCATION_TRIES {
            return Self::Never;
        }
        let asked = match error {
            Error::Unknown { .. } | Error::Transient { cause: RequestFailure::Connection(_), .. } => None,
            Error::Transient {
                cause: RequestFailure::Status { status: 429 | 500.., .. },
                retry_after,
                ..
            } => *retry_after,
            _ => return Self::Never,
        };
        let pause = FIRST_PAUSE * 2_u32.pow(tries.saturating_sub(1));
        // Between half of it and all of it, so that those who failed together do not come back together.
        let part = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
        Self::In(pause.mul_f64(0.5 + part / 2.0).max(asked.unwrap_or_default()))
    }
}
