//! One request, and what its answer says about the token that was in it.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Client, Response, StatusCode};
use zeroize::Zeroizing;

use super::endpoint::Endpoint;
use super::error::{ClientError, Error, Hold, Obstacle, Reason, Silence, Transport};
use super::refusal::{Refusal, retry_after};
use super::token::{TokenResponse, Undecodable};
use crate::secret::Secret;

/// A token response is a few kilobytes; what is longer is something else.
const LARGEST_ANSWER: usize = 256 * 1024;

/// A request with a token in it.
pub(super) struct Call<'a> {
    pub(super) endpoint: &'a Endpoint,
    /// What is sent. An answer may quote it, and messages must not.
    pub(super) token: &'a Secret,
    /// From the start to the last byte of the answer.
    pub(super) within: Duration,
}

/// An answer, as much of it as came.
pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Result<Zeroizing<Vec<u8>>, Silence>,
}

impl Call<'_> {
    /// Sends it once.
    pub(super) async fn send(&self, client: &Client, body: Zeroizing<Vec<u8>>) -> Result<Answer, Error> {
        if self.token.is_empty() {
            return Err(Error::NoToken { endpoint: self.endpoint.clone() });
        }
        let request =
            client.post(self.endpoint.url().clone()).timeout(self.within).body(Bytes::from_owner(body));
        let response = request.send().await.map_err(|error| self.unsent_or_unknown(error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Answer { status, headers, body: self.body(response).await })
    }

    /// The tokens of a success.
    pub(super) fn tokens(&self, answer: Answer) -> Result<TokenResponse, Error> {
        answer
            .body
            .and_then(|body| TokenResponse::from_json(&body).map_err(Silence::Undecodable))
            .map_err(|cause| self.unknown(cause))
    }

    /// What a refusal of a refresh means, as `codex-behaviour.md` 3.5 has it.
    pub(super) fn refused_refresh(&self, answer: &Answer) -> Error {
        let refusal = answer.refusal(self.token);
        let (reason, hold) = match (answer.status, refusal.code.as_deref()) {
            (_, Some("refresh_token_expired")) => (Reason::Expired, Hold::ForGood),
            (_, Some("refresh_token_invalidated")) => (Reason::Revoked, Hold::ForGood),
            (_, Some("refresh_token_reused")) => (Reason::Reused, Hold::ForGood),
            (StatusCode::BAD_REQUEST, Some("invalid_grant")) => (Reason::Other, Hold::ForGood),
            (StatusCode::UNAUTHORIZED, _) => (Reason::Other, Hold::TenMinutes),
            _ => return self.obstacle(answer, refusal),
        };
        let Refusal { code, message } = refusal;
        let (endpoint, status) = (self.endpoint.clone(), answer.status.as_u16());
        Error::Permanent { endpoint, status, reason, hold, code, message }
    }

    /// What a refusal of a revocation means: whatever it is, the token lives.
    pub(super) fn refused_revocation(&self, answer: &Answer) -> Error {
        self.obstacle(answer, answer.refusal(self.token))
    }

    fn obstacle(&self, answer: &Answer, refusal: Refusal) -> Error {
        let status = answer.status.as_u16();
        let cause = match answer.headers.get(LOCATION) {
            Some(location) if answer.status.is_redirection() => {
                let target = location.to_str().ok().and_then(|text| self.endpoint.url().join(text).ok());
                Obstacle::Redirect { status, host: target.and_then(|url| url.host_str().map(str::to_owned)) }
            }
            _ => Obstacle::Status { status, code: refusal.code, message: refusal.message },
        };
        Error::Transient { endpoint: self.endpoint.clone(), cause, retry_after: retry_after(&answer.headers) }
    }

    /// Why no answer came: without a connection nothing was sent, and with one everything may have been.
    fn unsent_or_unknown(&self, error: reqwest::Error) -> Error {
        if error.is_builder() {
            return ClientError::Setup(Transport::new(error)).into();
        }
        if !error.is_connect() {
            return self.unknown(self.silence(error));
        }
        let error = Transport::new(error);
        let cause = if error.is_tls() { Obstacle::Tls(error) } else { Obstacle::Connection(error) };
        Error::Transient { endpoint: self.endpoint.clone(), cause, retry_after: None }
    }

    fn unknown(&self, cause: Silence) -> Error {
        Error::Unknown { endpoint: self.endpoint.clone(), cause }
    }

    fn silence(&self, error: reqwest::Error) -> Silence {
        if error.is_timeout() {
            Silence::TimedOut(self.within)
        } else {
            Silence::BrokenOff(Transport::new(error))
        }
    }

    /// Room for all of it from the start: a buffer that grew would leave unwiped copies behind.
    async fn body(&self, mut response: Response) -> Result<Zeroizing<Vec<u8>>, Silence> {
        let mut body = Zeroizing::new(Vec::with_capacity(LARGEST_ANSWER));
        while let Some(chunk) = response.chunk().await.map_err(|error| self.silence(error))? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(Silence::Undecodable(Undecodable::TooLarge));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

impl Answer {
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
    fn refusal(&self, sent: &Secret) -> Refusal {
        self.body.as_ref().map(|body| Refusal::read(body, sent)).unwrap_or_default()
    }
}
