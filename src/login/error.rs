//! Why a login did not come about.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::authority::{AgentTokenError, EndpointError, RequestError};
use crate::config::ForbiddenLogin;
use crate::document;
use crate::remedy::{ErrorKind, Remedy};
use crate::store;

/// Why a login did not come about. Whatever was stored before is as it was.
///
/// The message is one line; no token or code is in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A personal access token that the authority does not know.
    #[error("the authority does not accept this personal access token; make a new one")]
    BadToken(#[source] RequestError),
    /// The code that a person should have typed is too old.
    #[error("nobody approved the code within {} minutes; start the login again", .0.as_secs() / 60)]
    CodeExpired(Duration),
    /// The person, or whoever administers their account, said no.
    #[error("the authority did not let you in{}", AuthorityText(description.as_deref().or(code.as_deref())))]
    Declined {
        /// The authority's code for it.
        code: Option<String>,
        /// What it says about it.
        description: Option<String>,
    },
    /// The authority knows no logins by device, for anybody or for this account.
    #[error("logins by device code are not enabled at {issuer}, or not for this account")]
    DeviceNotEnabled {
        /// Who was asked.
        issuer: String,
    },
    /// What came cannot be made into a document that other programs can read.
    #[error("the authority gave a login that cannot be kept: {0}")]
    Document(#[source] document::Error),
    /// The address of the authority cannot be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// `config.toml` does not allow it.
    #[error(transparent)]
    Forbidden(#[from] ForbiddenLogin),
    /// The account has no right to use Codex.
    #[error("Codex is not enabled for this account or its workspace; ask whoever administers the workspace")]
    NoEntitlement,
    /// The browser came back without a code.
    #[error("the browser came back without a code; start the login again")]
    NoCode,
    /// A text that should be an agent identity is none that can be relied on.
    #[error("this is not an agent identity token that can be relied on: {0}")]
    NotGenuine(#[from] AgentTokenError),
    /// The ports that the authority lets a browser come back to are taken.
    #[error("both ports that a browser can come back to are taken: {}", list(.0))]
    PortsTaken(Vec<OccupiedPort>),
    /// No random number could be had from the operating system.
    #[error("the operating system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// The authority could not be asked, or refused.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The place cannot be written to.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// No thread could be started for the token exchange. Nothing was sent.
    #[error("cannot start the token exchange: {0}")]
    Thread(#[source] io::Error),
    /// Nobody came back from the browser.
    #[error("nobody came back from the browser within {} minutes; start the login again", .0.as_secs() / 60)]
    TimedOut(Duration),
    /// Another login of this home was started, and took over.
    #[error("another login of this place was started and has taken over")]
    Yielded,
}

impl Error {
    /// What to do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Request(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::CodeExpired(_) | Self::TimedOut(_) => ErrorKind::TryAgain,
            _ => ErrorKind::Failed,
        }
    }

    /// What would mend it, where that can be said.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::Store(error) => error.remedy(),
            _ => None,
        }
    }
}

/// A port that something else listens on.
#[derive(Debug)]
#[non_exhaustive]
pub struct OccupiedPort {
    /// The port.
    pub port: u16,
    /// The process id and the program of whoever listens, where the system tells.
    pub holder: Option<(u32, PathBuf)>,
    /// What the system said.
    pub reason: io::Error,
}

impl fmt::Display for OccupiedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, holder, reason } = self;
        match holder {
            Some((pid, program)) => write!(f, "{port} by {} (pid {pid})", program.display()),
            None if reason.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "{port} by a program that the system does not name")
            }
            None => write!(f, "{port} ({reason})"),
        }
    }
}

fn list(taken: &[OccupiedPort]) -> String {
    taken.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What the authority says, behind a colon where it says something.
struct AuthorityText<'a>(Option<&'a str>);

impl fmt::Display for AuthorityText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |text| write!(f, ": {text}"))
    }
}
