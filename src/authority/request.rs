//! The requests of a login, and why one of them fails.

use std::time::Duration;

use form_urlencoded::Serializer;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method};
use zeroize::Zeroizing;

use super::Authority;
use super::endpoint::{Endpoint, EndpointError};
use super::error::{HttpClientError, MissingResponse, RequestFailure, next_step};
use super::wire::{ExchangeError, HttpRequest, HttpResponse};
use crate::remedy::ErrorKind;
use crate::secret::Secret;

/// Names the workspace that a token is used for.
const ACCOUNT_ID: HeaderName = HeaderName::from_static("chatgpt-account-id");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// A request that spends no stored token.
pub(super) struct LoginRequest<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) body: RequestBody<'a>,
    /// A secret that the response may quote and messages must not; may be empty.
    pub(super) redacted: Secret,
    /// The time limit, from the start to the last byte of the response.
    pub(super) timeout: Duration,
}

/// The method and body of a request.
pub(super) enum RequestBody<'a> {
    /// POST of form fields.
    Form(&'a [(&'static str, &'a str)]),
    /// GET, with a bearer token if there is one.
    Get(Option<Bearer<'a>>),
    /// POST of JSON.
    Json(Zeroizing<Vec<u8>>),
}

/// A bearer token, and the workspace that it is used for.
#[derive(Clone, Copy)]
pub(super) struct Bearer<'a> {
    pub(super) token: &'a Secret,
    pub(super) account_id: Option<&'a str>,
}

impl LoginRequest<'_> {
    /// Sends the request once and returns the response, whatever its status.
    pub(super) async fn send(&self, authority: &Authority) -> Result<HttpResponse, RequestError> {
        let client = authority.client(self.endpoint)?;
        let address = self.endpoint.address().clone();
        let request = match &self.body {
            RequestBody::Form(fields) => {
                let mut request = HttpRequest::post(address, form(fields));
                request.headers.insert(CONTENT_TYPE, FORM);
                request
            }
            RequestBody::Get(None) => HttpRequest::without_body(Method::GET, address),
            RequestBody::Get(Some(Bearer { token, account_id })) => {
                let mut request = HttpRequest::without_body(Method::GET, address);
                request.headers.insert(AUTHORIZATION, bearer(token).ok_or(HttpClientError::NotAHeader)?);
                if let Some(id) = account_id {
                    let id = HeaderValue::from_str(id).map_err(|_| HttpClientError::NotAHeader)?;
                    request.headers.insert(ACCOUNT_ID, id);
                }
                request
            }
            RequestBody::Json(body) => HttpRequest::post(address, body.clone()),
        };
        client.exchange(request, self.timeout).await.map_err(|unanswered| match unanswered {
            ExchangeError::NotSent(error) => error.into(),
            ExchangeError::NotConnected(cause) => {
                let cause = authority.with_proxy(self.endpoint, cause);
                RequestError::Refused { endpoint: self.endpoint.clone(), cause, retry_after: None }
            }
            ExchangeError::NoResponse(cause) => self.unanswered(cause),
        })
    }

    /// Sends the request once and returns the body of a successful response.
    pub(super) async fn fetch(&self, authority: &Authority) -> Result<Zeroizing<Vec<u8>>, RequestError> {
        let answer = self.send(authority).await?;
        if answer.is_success() {
            answer.into_body().map_err(|cause| self.unanswered(cause))
        } else {
            Err(self.refusal(&answer))
        }
    }

    pub(super) fn refusal(&self, answer: &HttpResponse) -> RequestError {
        let endpoint = self.endpoint.clone();
        let cause = answer.failure(&endpoint, answer.refusal(&self.redacted));
        RequestError::Refused { endpoint, cause, retry_after: answer.retry_after() }
    }

    pub(super) fn unanswered(&self, cause: MissingResponse) -> RequestError {
        RequestError::Unanswered { endpoint: self.endpoint.clone(), cause }
    }
}

/// Returns the value of an `Authorization` header, which is not shown by `Debug`; `None` if `token` has a control character.
fn bearer(token: &Secret) -> Option<HeaderValue> {
    let text = Zeroizing::new(format!("Bearer {}", token.expose()));
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Encodes `fields` as a form. A byte becomes three at most, so the buffer never grows and leaves no unwiped copies.
fn form(fields: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    let length = fields.iter().map(|(name, value)| (name.len() + value.len()) * 3 + 2).sum();
    let mut form = Serializer::new(String::with_capacity(length));
    form.extend_pairs(fields);
    Zeroizing::new(form.finish().into_bytes())
}

/// A request of a login that failed. What is stored is unchanged.
///
/// The message is one line that names the endpoint by host and path, and the next step. It contains no token or code,
/// and of the response at most the error code and message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The HTTP client could not be created. Nothing was sent.
    #[error(transparent)]
    Client(#[from] HttpClientError),
    /// The address must not receive a token. Nothing was sent.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// There was no connection, or the response is not a success.
    #[error("{endpoint} {cause}; {}", next_step_of(cause, *retry_after))]
    Refused {
        /// The address that was called.
        endpoint: Endpoint,
        /// The failure.
        #[source]
        cause: RequestFailure,
        /// The delay that the authority asks for, at most an hour.
        retry_after: Option<Duration>,
    },
    /// The request was sent, or may have been, and no usable response came.
    #[error("{endpoint} {cause}; try again")]
    Unanswered {
        /// The address that was called.
        endpoint: Endpoint,
        /// Why there is no usable response.
        #[source]
        cause: MissingResponse,
    },
}

impl RequestError {
    /// Returns whether trying again may help.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Client(_) | Self::Endpoint(_) => ErrorKind::Failed,
            Self::Refused { cause, .. } if is_final(cause) => ErrorKind::Failed,
            Self::Refused { .. } | Self::Unanswered { .. } => ErrorKind::TryAgain,
        }
    }

    /// Returns whether the authority may have done what was asked: it sent no usable response, or a proxy did not wait
    /// for it.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unanswered { .. }) || matches!(self.status(), Some(500 | 502 | 504))
    }

    /// Returns the error code of the response, in lower case.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { cause: RequestFailure::Status { code, .. }, .. } => code.as_deref(),
            _ => None,
        }
    }

    /// Returns the HTTP status of an error response.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { cause: RequestFailure::Status { status, .. }, .. } => Some(*status),
            _ => None,
        }
    }
}

/// Whether the same request would be refused again.
fn is_final(cause: &RequestFailure) -> bool {
    matches!(cause, RequestFailure::Redirect { .. })
        || matches!(cause, RequestFailure::Status { status: 400..=428 | 430..=499, .. })
}

fn next_step_of(cause: &RequestFailure, retry_after: Option<Duration>) -> String {
    if is_final(cause) && matches!(cause, RequestFailure::Status { .. }) {
        return "start the login again".to_owned();
    }
    next_step(cause, retry_after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_fits_the_buffer_that_was_allocated_for_it() {
        let fields = [("code", "a b&c=ü"), ("empty", "")];
        let written = form(&fields);
        assert_eq!(std::str::from_utf8(&written).unwrap(), "code=a+b%26c%3D%C3%BC&empty=");
        let room: usize = fields.iter().map(|(name, value)| (name.len() + value.len()) * 3 + 2).sum();
        assert!(written.capacity() >= written.len() && written.len() <= room);
    }
}
