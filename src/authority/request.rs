//! The requests of a login, and why one of them may bring nothing.

use std::time::Duration;

use bytes::Bytes;
use form_urlencoded::Serializer;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use zeroize::Zeroizing;

use super::Authority;
use super::endpoint::{Endpoint, EndpointError};
use super::error::{HttpClientError, MissingResponse, RequestFailure, next_step};
use super::exchange::{ExchangeError, HttpResponse};
use crate::remedy::ErrorKind;
use crate::secret::Secret;

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// A request that spends nothing that is stored.
pub(super) struct LoginRequest<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) content: RequestBody<'a>,
    /// What the answer may quote, and messages must not; empty where there is nothing.
    pub(super) secret: Secret,
    /// From the start to the last byte of the answer.
    pub(super) within: Duration,
}

/// What is sent.
pub(super) enum RequestBody<'a> {
    /// Fields of a form.
    Form(&'a [(&'static str, &'a str)]),
    /// Nothing, under a token if there is one.
    Get(Option<&'a Secret>),
    /// A JSON text.
    Json(Zeroizing<Vec<u8>>),
}

impl LoginRequest<'_> {
    /// Sends it once, and gives back whatever answer comes.
    pub(super) async fn send(&self, authority: &Authority) -> Result<HttpResponse, RequestError> {
        let client = authority.client(self.endpoint)?;
        let url = self.endpoint.url().clone();
        let request = match &self.content {
            RequestBody::Form(fields) => {
                client.post(url).header(CONTENT_TYPE, FORM).body(Bytes::from_owner(form(fields)))
            }
            RequestBody::Get(None) => client.get(url),
            RequestBody::Get(Some(token)) => client.request(Method::GET, url).bearer_auth(token.expose()),
            RequestBody::Json(body) => client.post(url).body(Bytes::from_owner(body.clone())),
        };
        HttpResponse::to(request, self.within).await.map_err(|unanswered| match unanswered {
            ExchangeError::Unsent(error) => error.into(),
            ExchangeError::Unreached(cause) => {
                RequestError::Refused { endpoint: self.endpoint.clone(), cause, retry_after: None }
            }
            ExchangeError::Silent(cause) => self.unanswered(cause),
        })
    }

    /// The body of a success.
    pub(super) async fn body(&self, authority: &Authority) -> Result<Zeroizing<Vec<u8>>, RequestError> {
        let answer = self.send(authority).await?;
        if answer.is_success() {
            answer.into_body().map_err(|cause| self.unanswered(cause))
        } else {
            Err(self.refused(&answer))
        }
    }

    pub(super) fn refused(&self, answer: &HttpResponse) -> RequestError {
        let endpoint = self.endpoint.clone();
        let cause = answer.obstacle(&endpoint, answer.refusal(&self.secret));
        RequestError::Refused { endpoint, cause, retry_after: answer.retry_after() }
    }

    pub(super) fn unanswered(&self, cause: MissingResponse) -> RequestError {
        RequestError::Unanswered { endpoint: self.endpoint.clone(), cause }
    }
}

/// As a form. Three letters at most stand for one, so the buffer never grows, which would leave unwiped copies behind.
fn form(fields: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    let length = fields.iter().map(|(name, value)| (name.len() + value.len()) * 3 + 2).sum();
    let mut form = Serializer::new(String::with_capacity(length));
    form.extend_pairs(fields);
    Zeroizing::new(form.finish().into_bytes())
}

/// Why a request of a login brought nothing. What is stored is as it was.
///
/// The message is one line that names the endpoint, by host and path, and the next step. No token or code is in it, and
/// of what the authority answered no more than its code and message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The client could not be made. Nothing was sent.
    #[error(transparent)]
    Client(#[from] HttpClientError),
    /// The address must not be given a token. Nothing was sent.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// No connection, or an answer that is not a success.
    #[error("{endpoint} {cause}; {}", advice(cause, *retry_after))]
    Refused {
        /// Who was asked.
        endpoint: Endpoint,
        /// What went wrong.
        #[source]
        cause: RequestFailure,
        /// How long the authority asks to be left alone, at most an hour.
        retry_after: Option<Duration>,
    },
    /// No usable answer.
    #[error("{endpoint} {cause}; try again")]
    Unanswered {
        /// Who was asked.
        endpoint: Endpoint,
        /// What came instead of an answer.
        #[source]
        cause: MissingResponse,
    },
}

impl RequestError {
    /// What to do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Client(_) | Self::Endpoint(_) => ErrorKind::Failed,
            Self::Refused { cause, .. } if is_about_us(cause) => ErrorKind::Failed,
            Self::Refused { .. } | Self::Unanswered { .. } => ErrorKind::TryAgain,
        }
    }

    /// The code of a refusal, in lower case.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { cause: RequestFailure::Status { code, .. }, .. } => code.as_deref(),
            _ => None,
        }
    }

    /// The HTTP status of a refusal.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { cause: RequestFailure::Status { status, .. }, .. } => Some(*status),
            _ => None,
        }
    }
}

/// Whether the authority refuses what it was asked, and not just for now.
fn is_about_us(cause: &RequestFailure) -> bool {
    matches!(cause, RequestFailure::Redirect { .. })
        || matches!(cause, RequestFailure::Status { status: 400..=428 | 430..=499, .. })
}

fn advice(cause: &RequestFailure, retry_after: Option<Duration>) -> String {
    if is_about_us(cause) && matches!(cause, RequestFailure::Status { .. }) {
        return "start the login again".to_owned();
    }
    next_step(cause, retry_after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_written_into_the_room_that_it_was_given() {
        let fields = [("code", "a b&c=ü"), ("empty", "")];
        let written = form(&fields);
        assert_eq!(std::str::from_utf8(&written).unwrap(), "code=a+b%26c%3D%C3%BC&empty=");
        let room: usize = fields.iter().map(|(name, value)| (name.len() + value.len()) * 3 + 2).sum();
        assert!(written.capacity() >= written.len() && written.len() <= room);
    }
}
