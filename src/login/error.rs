//! The errors of a login.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::authority::{AgentTokenError, EndpointError, RequestError};
use crate::config::ForbiddenLogin;
use crate::document;
use crate::remedy::{ErrorKind, Remedy};
use crate::store;

/// A login that failed. What was stored before is unchanged.
///
/// The message is one line and contains no token or code.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The authority does not know the personal access token.
    #[error("the authority does not accept this personal access token; make a new one")]
    BadPersonalToken(#[source] RequestError),
    /// The device code expired before it was approved.
    #[error("the code was not approved within {} minutes; start the login again", .0.as_secs() / 60)]
    CodeExpired(Duration),
    /// The user or their administrator declined.
    #[error("the authority refused the login{}", AuthorityText(description.as_deref().or(code.as_deref())))]
    Declined {
        /// The authority's error code.
        code: Option<String>,
        /// Its description.
        description: Option<String>,
    },
    /// Device logins are disabled, in general or for this account.
    #[error("device code logins are not enabled at {issuer}, or not for this account")]
    DeviceNotEnabled {
        /// The authority.
        issuer: String,
    },
    /// The tokens cannot be made into a document that other programs can read.
    #[error("the login from the authority cannot be stored: {0}")]
    Document(#[source] document::Error),
    /// The address of the authority must not receive a token.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// `config.toml` forbids the login.
    #[error(transparent)]
    Forbidden(#[from] ForbiddenLogin),
    /// The home belongs to a keeper elsewhere, or to one run of a command: a login in it would be lost.
    #[error("{}", in_a_handed_in_home(home, *.reason))]
    HandedInHome {
        /// The folder.
        home: PathBuf,
        /// Why a login would be lost.
        reason: HandedInHome,
    },
    /// The account may not use Codex.
    #[error("Codex is not enabled for this account or its workspace; ask the administrator of the workspace")]
    NoEntitlement,
    /// The browser came back without a code.
    #[error("the browser came back without a code; start the login again")]
    NoCode,
    /// The input has the form of no token.
    #[error("the input is neither a personal access token (at-…) nor an agent identity token")]
    NotAToken,
    /// The agent identity token is invalid.
    #[error("not a valid agent identity token: {0}")]
    BadAgentToken(#[from] AgentTokenError),
    /// Both ports of the redirect URI are in use.
    #[error("both ports for the browser's redirect are in use: {}", list(.0))]
    PortsTaken(Vec<OccupiedPort>),
    /// The operating system provided no random bytes.
    #[error("cannot read random bytes from the operating system: {0}")]
    Random(std::io::Error),
    /// The task that stored the login panicked. It may be stored.
    #[error("the login could not be stored: {0}")]
    Panicked(#[source] io::Error),
    /// A request to the authority failed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// No thread could be started for the token exchange. Nothing was sent.
    #[error("cannot start the token exchange: {0}")]
    Thread(#[source] io::Error),
    /// The browser did not come back in time.
    #[error("the browser did not come back within {} minutes; start the login again", .0.as_secs() / 60)]
    TimedOut(Duration),
    /// A later login of this home took over.
    #[error("another login for this home was started and has taken over")]
    Yielded,
}

impl Error {
    /// Returns whether trying again may help.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Request(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::CodeExpired(_) | Self::TimedOut(_) => ErrorKind::TryAgain,
            _ => ErrorKind::Failed,
        }
    }

    /// Returns how to fix it, if that is known.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::Store(error) => error.remedy(),
            Self::HandedInHome { .. } => Some(Remedy::LogInOutside),
            _ => None,
        }
    }
}

/// Why a login in a home would be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandedInHome {
    /// A keeper elsewhere hands in its login.
    Document,
    /// It is the private home of one run of a command, removed when that ends.
    PrivateHome,
}

fn in_a_handed_in_home(home: &Path, reason: HandedInHome) -> String {
    let home = home.display();
    match reason {
        HandedInHome::Document => {
            format!(
                "the login in {home} is handed in by a keeper elsewhere; another takes its place only after `codex logout`"
            )
        }
        HandedInHome::PrivateHome => {
            format!("{home} is removed when this run ends, and a login in it would be lost")
        }
    }
}

/// A port that another program listens on.
#[derive(Debug)]
#[non_exhaustive]
pub struct OccupiedPort {
    /// The port.
    pub port: u16,
    /// The process id and program of the listener, if the system reports them.
    pub holder: Option<(u32, PathBuf)>,
    /// The system's error.
    pub reason: io::Error,
}

impl fmt::Display for OccupiedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, holder, reason } = self;
        match holder {
            Some((pid, program)) => write!(f, "{port} by {} (pid {pid})", program.display()),
            None if reason.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "{port} by an unknown program")
            }
            None => write!(f, "{port} ({reason})"),
        }
    }
}

fn list(taken: &[OccupiedPort]) -> String {
    taken.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The authority's text after a colon; nothing if there is none.
struct AuthorityText<'a>(Option<&'a str>);

impl fmt::Display for AuthorityText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |text| write!(f, ": {text}"))
    }
}
