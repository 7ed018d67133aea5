//! Requests and responses, whatever sends them.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, LOCATION};
use http::{Method, StatusCode};
use zeroize::Zeroizing;

use super::address::Address;
use super::endpoint::Endpoint;
use super::error::{HttpClientError, MissingResponse, RequestFailure};
use super::refusal::{RefusalDetails, retry_after};
use crate::secret::Secret;

/// The future of a response.
pub(super) type Exchange<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, ExchangeError>> + Send + 'a>>;

/// Sends requests.
pub(super) trait HttpClient: Send + Sync {
    /// Sends `request` once and waits for the last byte of the response, at most `timeout`.
    fn exchange(&self, request: HttpRequest, timeout: Duration) -> Exchange<'_>;
}

/// Says whether a request may still be sent. It is called when the connection is there, immediately before the request
/// is written.
pub(crate) type LastCheck = Arc<dyn Fn() -> bool + Send + Sync>;

/// What a client asks of every connection.
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only a client uses it"))]
#[derive(Clone)]
pub(super) struct ConnectLimit {
    /// The time limit, TLS included.
    pub(super) timeout: Duration,
    pub(super) last_check: Option<LastCheck>,
}

/// A request. The client adds the headers that all requests have.
#[cfg_attr(
    not(any(feature = "http", feature = "testing")),
    allow(dead_code, reason = "only a client uses it")
)]
pub(super) struct HttpRequest {
    pub(super) method: Method,
    pub(super) address: Address,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl HttpRequest {
    /// Returns a POST of `body`, which is wiped when dropped.
    pub(super) fn post(address: Address, body: Zeroizing<Vec<u8>>) -> Self {
        Self { method: Method::POST, address, headers: HeaderMap::new(), body: Bytes::from_owner(body) }
    }

    /// Returns a request without a body.
    pub(super) fn without_body(method: Method, address: Address) -> Self {
        Self { method, address, headers: HeaderMap::new(), body: Bytes::new() }
    }
}

/// A response; the body is an error if it did not arrive completely.
pub(super) struct HttpResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Result<Zeroizing<Vec<u8>>, MissingResponse>,
}

/// Why there is no response.
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only a client makes them"))]
pub(super) enum ExchangeError {
    /// The request was sent, or may have been.
    NoResponse(MissingResponse),
    /// There was no connection, so nothing was sent.
    NotConnected(RequestFailure),
    /// The request could not be built.
    NotSent(HttpClientError),
}

impl HttpResponse {
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
                let host = location.to_str().ok().and_then(|text| endpoint.address().host_of_redirect(text));
                RequestFailure::Redirect { status, host }
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
