//! One exchange that sends a token, and what the response says about that token.

use std::time::Duration;

use http::StatusCode;
use zeroize::Zeroizing;

use super::endpoint::Endpoint;
use super::error::{Error, MissingResponse, RefusalDuration, RefusalReason};
use super::refusal::RefusalDetails;
use super::token::TokenResponse;
use super::wire::{ExchangeError, HttpClient, HttpRequest, HttpResponse};
use crate::secret::Secret;

/// A request that sends a token.
pub(super) struct TokenCall<'a> {
    pub(super) endpoint: &'a Endpoint,
    /// The token that is sent. A response may quote it; messages must not.
    pub(super) token: &'a Secret,
    /// The time limit, from the start to the last byte of the response.
    pub(super) timeout: Duration,
}

impl TokenCall<'_> {
    /// Sends the request once.
    pub(super) async fn send(
        &self,
        client: &dyn HttpClient,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<HttpResponse, Error> {
        if self.token.is_empty() {
            return Err(Error::NoToken { endpoint: self.endpoint.clone() });
        }
        let request = HttpRequest::post(self.endpoint.address().clone(), body);
        client.exchange(request, self.timeout).await.map_err(|unanswered| match unanswered {
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
