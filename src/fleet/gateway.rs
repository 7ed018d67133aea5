//! Calls to etcd's gateway: endpoints, passwords and retries.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use codex_auth_platform::text::printable;
use http::StatusCode;
use http::header::AUTHORIZATION;
use reqwest::Response;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::endpoint::EtcdEndpoint;
use super::error::{Error, EtcdFailure};
use super::wire::{AuthenticateReply, ErrorReply};
use crate::authority::Transport;
use crate::backoff::{exponential, jittered};
use crate::secret::Secret;

/// The maximum length of a reply. A record has a few kilobytes.
const MAX_REPLY: usize = 1024 * 1024;
/// The maximum length of a message of etcd.
const MAX_MESSAGE: usize = 200;
/// The pause after every endpoint has failed once; it doubles for each further round.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// gRPC codes.
const INVALID_ARGUMENT: i64 = 3;
const NOT_FOUND: i64 = 5;
const PERMISSION_DENIED: i64 = 7;
const FAILED_PRECONDITION: i64 = 9;
const UNAVAILABLE: i64 = 14;
const UNAUTHENTICATED: i64 = 16;
/// The codes after which a call may have taken effect: cancelled, unknown, deadline exceeded, aborted, internal,
/// unavailable, data loss.
const UNCLEAR: [i64; 7] = [1, 2, 4, 10, 13, UNAVAILABLE, 15];

/// The user that calls etcd.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "settings that a caller gives in full")]
pub struct EtcdUser {
    /// The name.
    pub name: String,
    /// The password.
    pub password: Secret,
}

/// The time limits of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "settings that a caller gives in full")]
pub struct EtcdLimits {
    /// For one request to one endpoint. A stopped etcd accepts connections and never responds.
    pub attempt: Duration,
    /// For a call with all its attempts.
    pub call: Duration,
}

impl Default for EtcdLimits {
    /// 3 and 10 seconds.
    fn default() -> Self {
        Self { attempt: Duration::from_secs(3), call: Duration::from_secs(10) }
    }
}

/// Whether a call that may have taken effect is sent again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Repetition {
    /// Its effect is the same.
    Harmless,
    /// The caller reads first.
    Never,
}

/// The endpoints of an etcd, and the user that calls them.
pub(super) struct Gateway {
    pub(super) client: reqwest::Client,
    /// At least one.
    pub(super) endpoints: Vec<EtcdEndpoint>,
    /// The endpoint that responded last.
    pub(super) current: AtomicUsize,
    pub(super) user: Option<EtcdUser>,
    /// The token of the user, which ends when etcd restarts or after minutes without use.
    pub(super) token: Mutex<Option<Secret>>,
    pub(super) limits: EtcdLimits,
}

/// Why one request brought no reply.
enum AttemptError {
    /// It had no effect, and another endpoint may carry it out.
    NotSent(EtcdFailure),
    /// It may have had an effect.
    Unclear(EtcdFailure),
    /// The token has ended, so the call had no effect.
    TokenEnded,
    /// It had no effect, and no other endpoint would carry it out.
    Final(Error),
}

impl Gateway {
    /// Calls `method` until an endpoint responds or the time of a call is over.
    pub(super) async fn call<R: DeserializeOwned>(
        &self,
        method: &str,
        request: &(impl Serialize + Sync),
        repetition: Repetition,
    ) -> Result<R, Error> {
        let body = encode(request);
        let ends = Instant::now() + self.limits.call;
        let mut round = 0;
        loop {
            let mut last = None;
            let mut is_lasting = true;
            for _ in 0..self.endpoints.len() {
                let (index, endpoint) = self.endpoint();
                let failure = match self.attempt(endpoint, method, &body).await {
                    Ok(reply) => return Ok(reply),
                    Err(AttemptError::Final(error)) => return Err(error),
                    Err(AttemptError::Unclear(cause)) if repetition == Repetition::Never => {
                        self.leave(index);
                        return Err(Error::Unknown { endpoint: endpoint.clone(), cause });
                    }
                    Err(AttemptError::NotSent(cause) | AttemptError::Unclear(cause)) => cause,
                    Err(AttemptError::TokenEnded) => {
                        EtcdFailure::Unavailable("its tokens end at once".to_owned())
                    }
                };
                self.leave(index);
                is_lasting &= failure.is_lasting();
                let is_over = Instant::now() >= ends;
                last = Some(Error::Unreachable { endpoint: endpoint.clone(), cause: failure });
                if is_over {
                    break;
                }
            }
            round += 1;
            let pause = jittered(exponential(FIRST_PAUSE, LONGEST_PAUSE, round));
            match last {
                Some(error) if is_lasting || Instant::now() + pause >= ends => return Err(error),
                None => return Err(Error::NoEndpoint),
                Some(_) => tokio::time::sleep(pause).await,
            }
        }
    }

    /// Opens a stream of replies at the endpoint that responded last.
    pub(super) async fn open(
        &self,
        method: &str,
        request: &(impl Serialize + Sync),
    ) -> Result<Response, Error> {
        let body = encode(request);
        let (index, endpoint) = self.endpoint();
        let opened = match self.opened(endpoint, method, &body).await {
            // Once with a new token.
            Err(AttemptError::TokenEnded) => self.opened(endpoint, method, &body).await,
            opened => opened,
        };
        opened.map_err(|error| {
            self.leave(index);
            let cause = match error {
                AttemptError::Final(error) => return error,
                AttemptError::NotSent(cause) | AttemptError::Unclear(cause) => cause,
                AttemptError::TokenEnded => EtcdFailure::Unavailable("its tokens end at once".to_owned()),
            };
            Error::Unreachable { endpoint: endpoint.clone(), cause }
        })
    }

    /// Returns the endpoint for the next request.
    fn endpoint(&self) -> (usize, &EtcdEndpoint) {
        let index = self.current.load(Ordering::Relaxed) % self.endpoints.len();
        (index, &self.endpoints[index])
    }

    /// Goes on to the next endpoint after the current one has failed.
    pub(super) fn leave_current(&self) {
        self.leave(self.endpoint().0);
    }

    /// Goes on to the next endpoint after number `index` has failed.
    fn leave(&self, index: usize) {
        let next = (index + 1) % self.endpoints.len();
        // Another call may have gone on first.
        let _ = self.current.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    async fn attempt<R: DeserializeOwned>(
        &self,
        endpoint: &EtcdEndpoint,
        method: &str,
        body: &Bytes,
    ) -> Result<R, AttemptError> {
        let once = async || -> Result<R, AttemptError> {
            let response = self.opened(endpoint, method, body).await?;
            let bytes = timeout(self.limits.attempt, read(response)).await;
            let bytes =
                bytes.map_err(|_| AttemptError::Unclear(EtcdFailure::TimedOut(self.limits.attempt)))??;
            serde_json::from_slice(&bytes)
                .map_err(|_| AttemptError::Final(Error::NotEtcd { endpoint: endpoint.clone() }))
        };
        match once().await {
            // The call had no effect: once more with a new token.
            Err(AttemptError::TokenEnded) => once().await,
            reply => reply,
        }
    }

    /// Sends the request and returns the response if it is a success.
    async fn opened(
        &self,
        endpoint: &EtcdEndpoint,
        method: &str,
        body: &Bytes,
    ) -> Result<Response, AttemptError> {
        let token = self.token(endpoint).await?;
        let error = match self.send(endpoint, method, body.clone(), token.as_ref()).await {
            Ok(response) if response.status() == StatusCode::OK => return Ok(response),
            Ok(response) => self.refusal(endpoint, response).await,
            Err(error) => error,
        };
        // An etcd that was restored from a backup waits for the revision of the token before it refuses it.
        if matches!(error, AttemptError::TokenEnded | AttemptError::Unclear(EtcdFailure::TimedOut(_))) {
            let mut current = self.token.lock().await;
            // Another call may have got a new one already.
            if *current == token {
                *current = None;
            }
        }
        Err(error)
    }

    async fn send(
        &self,
        endpoint: &EtcdEndpoint,
        method: &str,
        body: Bytes,
        token: Option<&Secret>,
    ) -> Result<Response, AttemptError> {
        let mut request = self.client.post(endpoint.method(method)).body(body);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.expose());
        }
        let limit = self.limits.attempt;
        let response = timeout(limit, request.send()).await;
        let response = response.map_err(|_| AttemptError::Unclear(EtcdFailure::TimedOut(limit)))?;
        response.map_err(|error| {
            let is_connect = error.is_connect() || error.is_builder();
            let error = Transport::new(error.without_url());
            if is_connect {
                AttemptError::NotSent(EtcdFailure::NotConnected(error))
            } else {
                AttemptError::Unclear(EtcdFailure::BrokenOff(error))
            }
        })
    }

    /// Returns the token of the user; asks for one if there is none.
    async fn token(&self, endpoint: &EtcdEndpoint) -> Result<Option<Secret>, AttemptError> {
        #[derive(Serialize)]
        struct Authenticate<'a> {
            name: &'a str,
            password: &'a str,
        }
        let Some(user) = &self.user else { return Ok(None) };
        let mut token = self.token.lock().await;
        if token.is_none() {
            let request = Authenticate { name: &user.name, password: user.password.expose() };
            let response = self.send(endpoint, "auth/authenticate", encode(&request), None).await;
            // Authenticating changes nothing.
            let response = response.map_err(without_effect)?;
            if response.status() != StatusCode::OK {
                let refused = self.refusal(endpoint, response).await;
                return Err(match refused {
                    AttemptError::Final(Error::Refused { .. }) => AttemptError::Final(Error::WrongPassword {
                        endpoint: endpoint.clone(),
                        user: user.name.clone(),
                    }),
                    error => without_effect(error),
                });
            }
            let bytes = Zeroizing::new(read(response).await.map_err(without_effect)?);
            let reply: AuthenticateReply = serde_json::from_slice(&bytes)
                .map_err(|_| AttemptError::Final(Error::NotEtcd { endpoint: endpoint.clone() }))?;
            *token = Some(Secret::new(reply.token));
        }
        Ok(token.clone())
    }

    /// Reads an error reply.
    async fn refusal(&self, endpoint: &EtcdEndpoint, response: Response) -> AttemptError {
        let status = response.status();
        let bytes = match timeout(self.limits.attempt, read(response)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => return error,
            Err(_) => return AttemptError::Unclear(EtcdFailure::TimedOut(self.limits.attempt)),
        };
        let endpoint = endpoint.clone();
        // The gateway may write the trailer of gRPC behind the reply.
        let mut replies = serde_json::Deserializer::from_slice(&bytes).into_iter::<ErrorReply>();
        let Some(Ok(reply)) = replies.next() else {
            // Such as a load balancer without an etcd behind it.
            return if status.is_server_error() {
                AttemptError::Unclear(EtcdFailure::Unavailable(status.to_string()))
            } else {
                AttemptError::Final(Error::NotEtcd { endpoint })
            };
        };
        let message = printable(&reply.message, MAX_MESSAGE);
        let says = |text: &str| message.contains(text);
        match reply.code {
            UNAUTHENTICATED => AttemptError::TokenEnded,
            INVALID_ARGUMENT if says("revision of auth store is old") => AttemptError::TokenEnded,
            INVALID_ARGUMENT if says("user name is empty") => {
                AttemptError::Final(Error::UserRequired { endpoint })
            }
            NOT_FOUND if says("lease not found") => AttemptError::Final(Error::LeaseEnded),
            PERMISSION_DENIED => AttemptError::Final(Error::Denied { endpoint }),
            FAILED_PRECONDITION if says("authentication is not enabled") => {
                AttemptError::Final(Error::AuthenticationDisabled { endpoint })
            }
            code if UNCLEAR.contains(&code) => AttemptError::Unclear(EtcdFailure::Unavailable(message)),
            _ => AttemptError::Final(Error::Refused { endpoint, message }),
        }
    }
}

/// The outcome of a request that changes nothing.
fn without_effect(error: AttemptError) -> AttemptError {
    match error {
        AttemptError::Unclear(cause) => AttemptError::NotSent(cause),
        error => error,
    }
}

/// Encodes a request into memory that is wiped.
fn encode(request: &impl Serialize) -> Bytes {
    Bytes::from_owner(Zeroizing::new(serde_json::to_vec(request).unwrap_or_default()))
}

/// Reads a whole response.
async fn read(mut response: Response) -> Result<Vec<u8>, AttemptError> {
    let mut bytes = Vec::new();
    loop {
        let chunk = response.chunk().await;
        let chunk = chunk.map_err(|error| {
            AttemptError::Unclear(EtcdFailure::BrokenOff(Transport::new(error.without_url())))
        })?;
        match chunk {
            Some(chunk) if bytes.len() + chunk.len() <= MAX_REPLY => bytes.extend_from_slice(&chunk),
            Some(_) => {
                let message = "its response is too large".to_owned();
                return Err(AttemptError::Unclear(EtcdFailure::Unavailable(message)));
            }
            None => return Ok(bytes),
        }
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}
