//! The errors of refreshes and revocations, and what the caller should do after each.

use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use codex_auth_platform::private_file;

use super::endpoint::{Endpoint, EndpointError};
use super::token::InvalidTokenResponse;

/// A refresh or revocation that failed.
///
/// The message is one line that names the endpoint by host and path, and the next step. It contains no token, and of
/// the response at most the error code and message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The HTTP client could not be created. Nothing was sent.
    #[error(transparent)]
    Client(#[from] HttpClientError),
    /// The address must not receive a token. Nothing was sent.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The token is empty. Nothing was sent.
    #[error("no token to send to {endpoint}; log in again")]
    NoToken {
        /// The address that would have received it.
        endpoint: Endpoint,
    },
    /// The authority refused the refresh token.
    #[error("{endpoint} refused the refresh token{}: {reason}; {}", RefusalText(code, message), hold.next_step())]
    Permanent {
        /// The address that was called.
        endpoint: Endpoint,
        /// The HTTP status.
        status: u16,
        /// The reason, from the code or the status.
        reason: RefusalReason,
        /// How long the refusal holds.
        hold: RefusalDuration,
        /// The error code in the response.
        code: Option<String>,
        /// The error message in the response.
        message: Option<String>,
    },
    /// The request failed, and the token is unchanged: the same request may succeed later.
    #[error("{endpoint} {cause}; {}", next_step(cause, *retry_after))]
    Transient {
        /// The address that was called.
        endpoint: Endpoint,
        /// The failure.
        #[source]
        cause: RequestFailure,
        /// The delay that the authority asks for, at most an hour.
        retry_after: Option<Duration>,
    },
    /// The request was sent, or may have been, and no usable response came: the token may be spent.
    #[error("{endpoint} {cause}, so the token may be spent; try once more, then log in again")]
    Unknown {
        /// The address that was called.
        endpoint: Endpoint,
        /// Why there is no usable response.
        #[source]
        cause: MissingResponse,
    },
}

impl Error {
    /// Returns what to do next.
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
    /// Nothing was sent: fix what the message names first.
    NotSent,
    /// Do not send this token again for the given [`RefusalDuration`].
    Permanent,
    /// Try again later.
    Transient,
    /// Read the store again before anything else: the token may be spent.
    Unknown,
}

/// Why the authority refused a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalReason {
    /// The token has expired.
    Expired,
    /// The authority gave no known reason.
    Other,
    /// The token was spent before.
    Reused,
    /// The token was revoked.
    Revoked,
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

/// How long a refusal holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalDuration {
    /// Forever: the refusal is about the token itself.
    Permanent,
    /// Ten minutes: the cause may be something else, such as a failing server.
    TenMinutes,
}

impl RefusalDuration {
    /// Returns the duration; `None` means forever.
    #[must_use]
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::Permanent => None,
            Self::TenMinutes => Some(Duration::from_secs(10 * 60)),
        }
    }

    fn next_step(self) -> &'static str {
        match self {
            Self::Permanent => "log in again",
            Self::TenMinutes => "try again in ten minutes, or log in again",
        }
    }
}

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestFailure {
    /// No connection through the proxy, so nothing was sent.
    #[error("cannot be reached through the proxy {address} ({variable}): {source}")]
    Proxy {
        /// The variable that names the proxy.
        variable: &'static str,
        /// Its host and port.
        address: String,
        /// The error of the network.
        source: Transport,
    },
    /// There was no connection, so nothing was sent.
    #[error("cannot be reached: {0}")]
    Connection(#[source] Transport),
    /// The response is a redirect. Tokens are not sent to other addresses.
    #[error("answered {status} and redirects to {}", host.as_deref().unwrap_or("an unknown host"))]
    Redirect {
        /// The HTTP status.
        status: u16,
        /// The host in its `Location`.
        host: Option<String>,
    },
    /// The response is an error status.
    #[error("answered {status}{}", RefusalText(code, message))]
    Status {
        /// The HTTP status.
        status: u16,
        /// The error code in the response.
        code: Option<String>,
        /// The error message in the response.
        message: Option<String>,
    },
    /// TLS failed, so nothing was sent.
    #[error("cannot be reached over TLS: {0}")]
    Tls(#[source] Transport),
}

/// Why there is no usable response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MissingResponse {
    /// The connection ended before the response was complete.
    #[error("closed the connection before the response was complete: {0}")]
    BrokenOff(#[source] Transport),
    /// No complete response arrived within the time limit.
    #[error("did not answer within {}", in_seconds(*.0))]
    TimedOut(Duration),
    /// The response is a success that cannot be parsed.
    #[error("answered with success, but the response is unusable ({0})")]
    Undecodable(#[source] InvalidTokenResponse),
}

/// A network or TLS error. `Display` is one line without addresses or tokens.
#[derive(Debug)]
pub struct Transport(Box<dyn StdError + Send + Sync>);

impl Transport {
    /// Wraps an error of the HTTP library, from which the URL was removed.
    pub(crate) fn new(error: impl StdError + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }

    /// Returns the error of a probe that got no response; a probe spends no token.
    pub(super) fn of_probe(cause: MissingResponse) -> Self {
        match cause {
            MissingResponse::BrokenOff(error) => error,
            MissingResponse::TimedOut(_) | MissingResponse::Undecodable(_) => {
                Self::new(NoProbeResponse(ProbeTimeout))
            }
        }
    }

    /// Returns the causes, outermost first.
    pub(super) fn causes(&self) -> impl Iterator<Item = &(dyn StdError + 'static)> {
        std::iter::successors(self.0.source(), |cause| {
            // `io::Error::source` skips the error that it wraps.
            let carried = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            carried.map(|carried| carried as &(dyn StdError + 'static)).or_else(|| (*cause).source())
        })
    }
}

impl fmt::Display for Transport {
    /// Shows the innermost cause: the outer ones only say "error sending request" and the like.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(cause) = self.causes().last() else { return f.write_str("the request failed") };
        let text = cause.to_string();
        f.write_str(text.lines().next().unwrap_or_default())
    }
}

impl StdError for Transport {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the request failed")]
struct NoProbeResponse(#[source] ProbeTimeout);

#[derive(Debug, thiserror::Error)]
#[error("operation timed out")]
struct ProbeTimeout;

/// An error of the TLS library.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TlsError(Box<dyn StdError + Send + Sync>);

impl TlsError {
    #[cfg(feature = "http")]
    pub(super) fn new(error: impl StdError + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }
}

/// The HTTP client could not be created. Nothing was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpClientError {
    /// The CA file cannot be used.
    #[error("{variable} names {}, which {problem}; set it to a PEM file of certificates, or unset it", path.display())]
    CaBundle {
        /// The environment variable.
        variable: &'static str,
        /// The file.
        path: PathBuf,
        /// The problem.
        #[source]
        problem: CaProblem,
    },
    /// The proxy address is invalid. It is not shown, since it may contain a password.
    #[error("{variable} is not the address of an http, https or socks5 proxy; correct it, or unset it")]
    Proxy {
        /// The environment variable.
        variable: &'static str,
    },
    /// The system's certificates cannot be used.
    #[error(
        "cannot use the certificates of this system ({0}); install its CA certificates, or set CODEX_CA_CERTIFICATE"
    )]
    Tls(#[source] TlsError),
    /// The token or its account id contains a character that no header may have.
    #[error(
        "cannot create the HTTP client: the token or its account id contains a character that no HTTP header may have"
    )]
    NotAHeader,
    /// The program was built without the feature `http`.
    #[error("this program was built without HTTP (feature `http` of codex-auth)")]
    NotBuilt,
    /// The HTTP library refused the configuration.
    #[error("cannot create the HTTP client: {0}")]
    Setup(#[source] Transport),
}

/// Why a CA file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaProblem {
    /// It contains no certificate.
    #[error("contains no certificate")]
    Empty,
    /// One of its certificates is malformed.
    #[error("contains a malformed certificate")]
    Malformed,
    /// The file does not exist.
    #[error("does not exist")]
    Missing,
    /// The file cannot be read.
    #[error("cannot be read")]
    Unreadable(#[source] private_file::Error),
}

/// The code and message of an error response, in parentheses.
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
        (RequestFailure::Proxy { variable, .. }, _) => format!("check the proxy, or unset {variable}"),
        (RequestFailure::Connection(_), _) => "check the network, then try again".to_owned(),
        (RequestFailure::Redirect { .. }, _) => {
            "tokens are not sent to other addresses; check the address".to_owned()
        }
        (RequestFailure::Tls(_), _) => {
            "if a proxy inspects your connections, set CODEX_CA_CERTIFICATE to its certificate".to_owned()
        }
        (RequestFailure::Status { .. }, Some(wait)) => {
            format!("try again in {}", in_seconds(Duration::from_secs(wait.as_secs().max(1))))
        }
        (RequestFailure::Status { .. }, None) => "try again later".to_owned(),
    }
}

/// Formats `wait` in seconds, rounded to a tenth.
fn in_seconds(wait: Duration) -> String {
    let seconds = ((wait.as_secs_f32() * 10.0).round() / 10.0).to_string();
    let unit = if seconds == "1" { "second" } else { "seconds" };
    format!("{seconds} {unit}")
}
