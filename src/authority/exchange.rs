//! One HTTP exchange with the authority, and what its response says about the token that was sent.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use zeroize::Zeroizing;

use super::endpoint::Endpoint;
use super::error::{
    Error, HttpClientError, MissingResponse, RefusalDuration, RefusalReason, RequestFailure, Transport,
};
use super::refusal::{RefusalDetails, retry_after};
use super::ticks::elapsed;
use super::token::{InvalidTokenResponse, TokenResponse};
use crate::secret::Secret;

/// The maximum length of a response; a token response is a few kilobytes.
const MAX_RESPONSE: usize = 256 * 1024;
/// The initial capacity of the response buffer, small enough that the allocator makes no system call.
const INITIAL_CAPACITY: usize = 32 * 1024;

/// A request that sends a token.
pub(super) struct TokenCall<'a> {
    pub(super) endpoint: &'a Endpoint,
    /// The token that is sent. A response may quote it; messages must not.
    pub(super) token: &'a Secret,
    /// The time limit, from the start to the last byte of the response.
    pub(super) timeout: Duration,
}

/// A response; the body is an error if it did not arrive completely.
pub(super) struct HttpResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Result<Zeroizing<Vec<u8>>, MissingResponse>,
}

impl TokenCall<'_> {
    /// Sends the request once.
    pub(super) async fn send(
        &self,
        client: &Client,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, Error> {
        if self.token.is_empty() {
            return Err(Error::NoToken { endpoint: self.endpoint.clone() });
        }
        let request = client.post(self.endpoint.url().clone()).body(Bytes::from_owner(body));
        HttpResponse::exchange(request, self.timeout).await.map_err(|unanswered| match unanswered {
            ExchangeError::NotSent(error) => error.into(),
            ExchangeError::NotConnected(cause) => {
                Error::Transient { endpoint: self.endpoint.clone(), cause, retry_after: None }
            }
            ExchangeError::NoResponse(cause) => self.unknown(cause),
        })
    }

    /// Parses the tokens of a successful response.
    pub(super) fn tokens(&self, answer: HttpResponse) -> Result<TokenResponse, Error> {
        answer
            .body
            .and_then(|body| TokenResponse::from_json(&body).map_err(MissingResponse::Undecodable))
            .map_err(|cause| self.unknown(cause))
    }

    /// Returns the error for a refused refresh. The codes are those that Codex 0.169 knows.
    pub(super) fn refresh_error(&self, answer: &HttpResponse) -> Error {
        let refusal = answer.refusal(self.token);
        let (reason, hold) = match (answer.status, refusal.code.as_deref()) {
            (_, Some("refresh_token_expired")) => (RefusalReason::Expired, RefusalDuration::Permanent),
            (_, Some("refresh_token_invalidated")) => (RefusalReason::Revoked, RefusalDuration::Permanent),
            (_, Some("refresh_token_reused")) => (RefusalReason::Reused, RefusalDuration::Permanent),
            (StatusCode::BAD_REQUEST, Some("invalid_grant")) => {
                (RefusalReason::Other, RefusalDuration::Permanent)
            }
            (StatusCode::UNAUTHORIZED, _) => (RefusalReason::Other, RefusalDuration::TenMinutes),
            _ => return self.transient(answer, refusal),
        };
        let RefusalDetails { code, message } = refusal;
        let (endpoint, status) = (self.endpoint.clone(), answer.status.as_u16());
        Error::Permanent { endpoint, status, reason, hold, code, message }
    }

    /// Returns the error for a refused revocation, which is always transient: the token is still valid.
    pub(super) fn revocation_error(&self, answer: &HttpResponse) -> Error {
        self.transient(answer, answer.refusal(self.token))
    }

    fn transient(&self, answer: &HttpResponse, refusal: RefusalDetails) -> Error {
        let cause = answer.failure(self.endpoint, refusal);
        Error::Transient { endpoint: self.endpoint.clone(), cause, retry_after: answer.retry_after() }
    }

    fn unknown(&self, cause: MissingResponse) -> Error {
        Error::Unknown { endpoint: self.endpoint.clone(), cause }
    }
}

/// Why there is no response.
pub(super) enum ExchangeError {
    /// The request was sent, or may have been.
    NoResponse(MissingResponse),
    /// There was no connection, so nothing was sent.
    NotConnected(RequestFailure),
    /// The request could not be built.
    NotSent(HttpClientError),
}

impl ExchangeError {
    fn from_reqwest(error: reqwest::Error, timeout: Duration) -> Self {
        if error.is_builder() {
            return Self::NotSent(HttpClientError::Setup(Transport::new(error)));
        }
        if !error.is_connect() {
            return Self::NoResponse(missing_response(error, timeout));
        }
        let error = Transport::new(error);
        Self::NotConnected(if error.is_tls() {
            RequestFailure::Tls(error)
        } else {
            RequestFailure::Connection(error)
        })
    }
}

fn missing_response(error: reqwest::Error, timeout: Duration) -> MissingResponse {
    if error.is_timeout() {
        MissingResponse::TimedOut(timeout)
    } else {
        MissingResponse::BrokenOff(Transport::new(error))
    }
}

/// Allocates the response buffer before anything is sent, so that running out of memory cannot lose a response.
fn buffer() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(INITIAL_CAPACITY))
}

async fn body(
    mut response: Response,
    timeout: Duration,
    mut body: Zeroizing<Vec<u8>>,
) -> Result<Zeroizing<Vec<u8>>, MissingResponse> {
    while let Some(chunk) = response.chunk().await.map_err(|error| missing_response(error, timeout))? {
        if body.len() + chunk.len() > MAX_RESPONSE {
            return Err(MissingResponse::Undecodable(InvalidTokenResponse::TooLarge));
        }
        if body.len() + chunk.len() > body.capacity() {
            // A `Vec` that grows would leave unwiped copies behind.
            let mut larger = Zeroizing::new(Vec::with_capacity(MAX_RESPONSE));
            larger.extend_from_slice(&body);
            body = larger;
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

impl HttpResponse {
    /// Sends `request` once and waits for the last byte of the response, at most `timeout`. Time in which this process
    /// was stopped does not count, and a response that is ready counts before the time limit.
    pub(super) async fn exchange(request: RequestBuilder, timeout: Duration) -> Result<Self, ExchangeError> {
        let room = buffer();
        let answer = async {
            let response =
                request.send().await.map_err(|error| ExchangeError::from_reqwest(error, timeout))?;
            let (status, headers) = (response.status(), response.headers().clone());
            Ok(Self { status, headers, body: body(response, timeout, room).await })
        };
        tokio::select! {
            biased;
            answer = answer => answer,
            () = elapsed(timeout) => Err(ExchangeError::NoResponse(MissingResponse::TimedOut(timeout))),
        }
    }

    pub(super) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// Returns the body, if it arrived completely.
    pub(super) fn into_body(self) -> Result<Zeroizing<Vec<u8>>, MissingResponse> {
        self.body
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers)
    }

    /// Describes a response that is not a success.
    pub(super) fn failure(&self, endpoint: &Endpoint, refusal: RefusalDetails) -> RequestFailure {
        let status = self.status.as_u16();
        match self.headers.get(LOCATION) {
            Some(location) if self.status.is_redirection() => {
                let target = location.to_str().ok().and_then(|text| endpoint.url().join(text).ok());
                RequestFailure::Redirect {
                    status,
                    host: target.and_then(|url| url.host_str().map(str::to_owned)),
                }
            }
            _ => RequestFailure::Status { status, code: refusal.code, message: refusal.message },
        }
    }

    pub(super) fn is_success(&self) -> bool {
        self.status.is_success()
    }

    /// Whether the authority refuses to revoke `token` because it is already invalid.
    pub(super) fn says_already_invalid(&self, token: &Secret) -> bool {
        let about_the_token = [
            "invalid_grant",
            "invalid_token",
            "refresh_token_expired",
            "refresh_token_invalidated",
            "refresh_token_reused",
        ];
        matches!(self.status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED)
            && self.refusal(token).code.is_some_and(|code| about_the_token.contains(&code.as_str()))
    }

    /// Returns the error details in the body; none if it did not arrive completely.
    pub(super) fn refusal(&self, sent: &Secret) -> RefusalDetails {
        self.body.as_ref().map(|body| RefusalDetails::parse(body, sent)).unwrap_or_default()
    }
}
