//! One request and its answer, and what a refusal says about the token that was in it.

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

/// A token response is a few kilobytes; what is longer is something else.
const LARGEST_ANSWER: usize = 256 * 1024;
/// A heap gives as much without a call of the system.
const USUAL_ANSWER: usize = 32 * 1024;

/// A request with a token in it.
pub(super) struct TokenCall<'a> {
    pub(super) endpoint: &'a Endpoint,
    /// What is sent. An answer may quote it, and messages must not.
    pub(super) token: &'a Secret,
    /// From the start to the last byte of the answer.
    pub(super) within: Duration,
}

/// An answer, as much of it as came.
pub(super) struct HttpResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Result<Zeroizing<Vec<u8>>, MissingResponse>,
}

impl TokenCall<'_> {
    /// Sends it once.
    pub(super) async fn send(
        &self,
        client: &Client,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, Error> {
        if self.token.is_empty() {
            return Err(Error::NoToken { endpoint: self.endpoint.clone() });
        }
        let request = client.post(self.endpoint.url().clone()).body(Bytes::from_owner(body));
        HttpResponse::to(request, self.within).await.map_err(|unanswered| match unanswered {
            ExchangeError::Unsent(error) => error.into(),
            ExchangeError::Unreached(cause) => {
                Error::Transient { endpoint: self.endpoint.clone(), cause, retry_after: None }
            }
            ExchangeError::Silent(cause) => self.unknown(cause),
        })
    }

    /// The tokens of a success.
    pub(super) fn tokens(&self, answer: HttpResponse) -> Result<TokenResponse, Error> {
        answer
            .body
            .and_then(|body| TokenResponse::from_json(&body).map_err(MissingResponse::Undecodable))
            .map_err(|cause| self.unknown(cause))
    }

    /// What a refusal of a refresh means, as `codex-behaviour.md` 3.5 has it.
    pub(super) fn refused_refresh(&self, answer: &HttpResponse) -> Error {
        let refusal = answer.refusal(self.token);
        let (reason, hold) = match (answer.status, refusal.code.as_deref()) {
            (_, Some("refresh_token_expired")) => (RefusalReason::Expired, RefusalDuration::ForGood),
            (_, Some("refresh_token_invalidated")) => (RefusalReason::Revoked, RefusalDuration::ForGood),
            (_, Some("refresh_token_reused")) => (RefusalReason::Reused, RefusalDuration::ForGood),
            (StatusCode::BAD_REQUEST, Some("invalid_grant")) => {
                (RefusalReason::Other, RefusalDuration::ForGood)
            }
            (StatusCode::UNAUTHORIZED, _) => (RefusalReason::Other, RefusalDuration::TenMinutes),
            _ => return self.obstacle(answer, refusal),
        };
        let RefusalDetails { code, message } = refusal;
        let (endpoint, status) = (self.endpoint.clone(), answer.status.as_u16());
        Error::Permanent { endpoint, status, reason, hold, code, message }
    }

    /// What a refusal of a revocation means: whatever it is, the token lives.
    pub(super) fn refused_revocation(&self, answer: &HttpResponse) -> Error {
        self.obstacle(answer, answer.refusal(self.token))
    }

    fn obstacle(&self, answer: &HttpResponse, refusal: RefusalDetails) -> Error {
        let cause = answer.obstacle(self.endpoint, refusal);
        Error::Transient { endpoint: self.endpoint.clone(), cause, retry_after: answer.retry_after() }
    }

    fn unknown(&self, cause: MissingResponse) -> Error {
        Error::Unknown { endpoint: self.endpoint.clone(), cause }
    }
}

/// Why there is no answer.
pub(super) enum ExchangeError {
    /// It was sent, or may have been.
    Silent(MissingResponse),
    /// Without a connection nothing was sent.
    Unreached(RequestFailure),
    /// The request could not be made.
    Unsent(HttpClientError),
}

impl ExchangeError {
    fn by(error: reqwest::Error, within: Duration) -> Self {
        if error.is_builder() {
            return Self::Unsent(HttpClientError::Setup(Transport::new(error)));
        }
        if !error.is_connect() {
            return Self::Silent(silence(error, within));
        }
        let error = Transport::new(error);
        Self::Unreached(if error.is_tls() {
            RequestFailure::Tls(error)
        } else {
            RequestFailure::Connection(error)
        })
    }
}

fn silence(error: reqwest::Error, within: Duration) -> MissingResponse {
    if error.is_timeout() {
        MissingResponse::TimedOut(within)
    } else {
        MissingResponse::BrokenOff(Transport::new(error))
    }
}

/// Room for an answer, made before anything is sent: more of it is asked of the system only for one that is unusual.
fn room() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(USUAL_ANSWER))
}

async fn body(
    mut response: Response,
    within: Duration,
    mut body: Zeroizing<Vec<u8>>,
) -> Result<Zeroizing<Vec<u8>>, MissingResponse> {
    while let Some(chunk) = response.chunk().await.map_err(|error| silence(error, within))? {
        if body.len() + chunk.len() > LARGEST_ANSWER {
            return Err(MissingResponse::Undecodable(InvalidTokenResponse::TooLarge));
        }
        if body.len() + chunk.len() > body.capacity() {
            // A buffer that grew by itself would leave unwiped copies behind.
            let mut larger = Zeroizing::new(Vec::with_capacity(LARGEST_ANSWER));
            larger.extend_from_slice(&body);
            body = larger;
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

impl HttpResponse {
    /// Sends `request` once and waits for the last byte of its answer, `within` at most. Time in which this process was
    /// stopped does not count, and an answer that has arrived meanwhile counts before the deadline.
    pub(super) async fn to(request: RequestBuilder, within: Duration) -> Result<Self, ExchangeError> {
        let room = room();
        let answer = async {
            let response = request.send().await.map_err(|error| ExchangeError::by(error, within))?;
            let (status, headers) = (response.status(), response.headers().clone());
            Ok(Self { status, headers, body: body(response, within, room).await })
        };
        tokio::select! {
            biased;
            answer = answer => answer,
            () = elapsed(within) => Err(ExchangeError::Silent(MissingResponse::TimedOut(within))),
        }
    }

    pub(super) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The body, if all of it came.
    pub(super) fn into_body(self) -> Result<Zeroizing<Vec<u8>>, MissingResponse> {
        self.body
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers)
    }

    /// What keeps `endpoint` from doing what it was asked, by an answer that is not a success.
    pub(super) fn obstacle(&self, endpoint: &Endpoint, refusal: RefusalDetails) -> RequestFailure {
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

    /// Whether the authority refuses to take `token` back because it is worth nothing any more.
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

    /// A body that did not come whole says nothing; the status stands.
    pub(super) fn refusal(&self, sent: &Secret) -> RefusalDetails {
        self.body.as_ref().map(|body| RefusalDetails::read(body, sent)).unwrap_or_default()
    }
}
