//! Why a token could not be refreshed or revoked, sorted by what to do next.

use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use codex_auth_platform::private_file;

use super::endpoint::{Endpoint, EndpointError};
use super::token::InvalidTokenResponse;

/// Why a token could not be refreshed or revoked.
///
/// The message is one line that names the endpoint, by host and path, and the next step. No token is in it, and of what
/// the authority answered no more than its code and message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client could not be made. Nothing was sent.
    #[error(transparent)]
    Client(#[from] HttpClientError),
    /// The address must not be given a token. Nothing was sent.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// There is no token to send. Nothing was sent.
    #[error("there is no token that could be sent to {endpoint}; log in again")]
    NoToken {
        /// Where it would have gone.
        endpoint: Endpoint,
    },
    /// The authority will not take this token.
    #[error("{endpoint} refused the refresh token{}: {reason}; {}", RefusalText(code, message), hold.next_step())]
    Permanent {
        /// Who refused.
        endpoint: Endpoint,
        /// The HTTP status.
        status: u16,
        /// Why.
        reason: RefusalReason,
        /// For how long not to try it again.
        hold: RefusalDuration,
        /// The code of the refusal.
        code: Option<String>,
        /// What the authority says about it.
        message: Option<String>,
    },
    /// Nothing came of it, and the token is as it was: the same request may succeed later.
    #[error("{endpoint} {cause}; {}", next_step(cause, *retry_after))]
    Transient {
        /// Who was asked.
        endpoint: Endpoint,
        /// What went wrong.
        #[source]
        cause: RequestFailure,
        /// How long the authority asks to be left alone, at most an hour.
        retry_after: Option<Duration>,
    },
    /// The request was sent, or may have been, and no usable answer came: the token may be spent.
    #[error("{endpoint} {cause}, so the token may be spent; try once more, then log in again")]
    Unknown {
        /// Who was asked.
        endpoint: Endpoint,
        /// What came instead of an answer.
        #[source]
        cause: MissingResponse,
    },
}

impl Error {
    /// What to do next.
    #[must_use]
    pub fn kind(&self) -> RetryAdvice {
        match self {
            Self::Client(_) | Self::Endpoint(_) | Self::NoToken { .. } => RetryAdvice::NotSent,
            Self::Permanent { .. } => RetryAdvice::Permanent,
            Self::Transient { .. } => RetryAdvice::Transient,
            Self::Unknown { .. } => RetryAdvice::Unknown,
        }
    }
}

/// What to do after an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RetryAdvice {
    /// Mend what the message names: nothing was sent, and nothing will be before that.
    NotSent,
    /// Do not send this token again, for as long as its [`RefusalDuration`] says.
    Permanent,
    /// Try again later.
    Transient,
    /// Look whether the token is spent before anything else.
    Unknown,
}

/// Why an authority will not take a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalReason {
    /// It is too old.
    Expired,
    /// The authority does not say, or in words of its own.
    Other,
    /// It was spent before.
    Reused,
    /// It was taken back.
    Revoked,
}

impl RefusalReason {
    /// The word for records and programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Other => "other",
            Self::Reused => "reused",
            Self::Revoked => "revoked",
        }
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "it has expired",
            Self::Other => "it is not accepted",
            Self::Reused => "it was already used",
            Self::Revoked => "it was revoked",
        })
    }
}

/// For how long not to send a refused token again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalDuration {
    /// The refusal is about the token itself.
    ForGood,
    /// The refusal may be about something else, such as a server in trouble.
    TenMinutes,
}

impl RefusalDuration {
    /// The time; `None` when there is no end to it.
    #[must_use]
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::ForGood => None,
            Self::TenMinutes => Some(Duration::from_secs(10 * 60)),
        }
    }

    fn next_step(self) -> &'static str {
        match self {
            Self::ForGood => "log in again",
            Self::TenMinutes => "try again in ten minutes, or log in again",
        }
    }
}

/// What kept a request from being carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestFailure {
    /// No connection, so nothing was sent.
    #[error("cannot be reached: {0}")]
    Connection(#[source] Transport),
    /// An answer that points elsewhere. A token is taken nowhere but where it was to go.
    #[error("answered {status} and points to {}", host.as_deref().unwrap_or("nowhere"))]
    Redirect {
        /// The HTTP status.
        status: u16,
        /// The host that it points to.
        host: Option<String>,
    },
    /// An answer that refuses for now.
    #[error("answered {status}{}", RefusalText(code, message))]
    Status {
        /// The HTTP status.
        status: u16,
        /// The code of the refusal.
        code: Option<String>,
        /// What the authority says about it.
        message: Option<String>,
    },
    /// No connection that is safe, so nothing was sent.
    #[error("cannot be reached safely: {0}")]
    Tls(#[source] Transport),
}

/// What came instead of an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MissingResponse {
    /// The connection broke before the whole answer was there.
    #[error("broke off before its answer was complete: {0}")]
    BrokenOff(#[source] Transport),
    /// Nothing within the deadline.
    #[error("did not answer within {} seconds", rounded(*.0))]
    TimedOut(Duration),
    /// A success that cannot be understood.
    #[error("answered with success, but what it sent is of no use ({0})")]
    Undecodable(#[source] InvalidTokenResponse),
}

/// What the network or TLS says. `Display` is one line; neither an address nor a token is in it.
#[derive(Debug)]
pub struct Transport(reqwest::Error);

impl Transport {
    pub(super) fn new(error: reqwest::Error) -> Self {
        // The address may have a query that is nobody's business.
        Self(error.without_url())
    }

    /// Whether TLS was what failed, and not the connection under it.
    pub(super) fn is_tls(&self) -> bool {
        causes(&self.0).any(<dyn StdError>::is::<rustls::Error>)
    }
}

impl fmt::Display for Transport {
    /// The innermost cause: those around it say "error sending request" and the like.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(cause) = causes(&self.0).last() else { return f.write_str("the request failed") };
        let text = cause.to_string();
        f.write_str(text.lines().next().unwrap_or_default())
    }
}

impl StdError for Transport {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

/// Why the client could not be made. Nothing was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpClientError {
    /// The file of further certificates cannot be used.
    #[error("{variable} names {}, which {problem}; name a PEM file of certificates, or unset it", path.display())]
    CaBundle {
        /// The variable.
        variable: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        problem: CaProblem,
    },
    /// The proxy cannot be used. Its address may have a password in it and is not shown.
    #[error("{variable} is not the address of an http, https or socks5 proxy; correct it, or unset it")]
    Proxy {
        /// The variable.
        variable: &'static str,
    },
    /// TLS cannot be set up.
    #[error(
        "the certificates of this system cannot be used ({0}); install its CA certificates, or set CODEX_CA_CERTIFICATE"
    )]
    Tls(#[source] rustls::Error),
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made: {0}")]
    Setup(#[source] Transport),
}

/// What is wrong with a file of certificates.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaProblem {
    /// There are none in it.
    #[error("holds no certificate")]
    Empty,
    /// One of them is not what it should be.
    #[error("holds a certificate that cannot be read")]
    Malformed,
    /// No such file.
    #[error("does not exist")]
    Missing,
    /// The file cannot be read.
    #[error("cannot be read")]
    Unreadable(#[source] private_file::Error),
}

/// Code and message of a refusal, in parentheses where there are any.
struct RefusalText<'a>(&'a Option<String>, &'a Option<String>);

impl fmt::Display for RefusalText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (Some(code), Some(message)) => write!(f, " ({code}: {message})"),
            (Some(text), None) | (None, Some(text)) => write!(f, " ({text})"),
            (None, None) => Ok(()),
        }
    }
}

pub(super) fn next_step(cause: &RequestFailure, retry_after: Option<Duration>) -> String {
    match (cause, retry_after) {
        (RequestFailure::Connection(_), _) => "check the network, then try again".to_owned(),
        (RequestFailure::Redirect { .. }, _) => "no token is sent on; check the address".to_owned(),
        (RequestFailure::Tls(_), _) => {
            "where a proxy of your network inspects connections, set CODEX_CA_CERTIFICATE to its certificate"
                .to_owned()
        }
        (RequestFailure::Status { .. }, Some(wait)) => {
            format!("try again in {} seconds", wait.as_secs().max(1))
        }
        (RequestFailure::Status { .. }, None) => "try again later".to_owned(),
    }
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(error.source(), |cause| {
        // What an `io::Error` carries is not its source: that is the source of what it carries.
        let carried = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        carried.map(|carried| carried as &(dyn StdError + 'static)).or_else(|| (*cause).source())
    })
}
/// In seconds, to a tenth.
fn rounded(wait: Duration) -> f32 {
    (wait.as_secs_f32() * 10.0).round() / 10.0
}
