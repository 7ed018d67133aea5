//! The errors of a manager, and the reasons why a login yields no token.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::authority;
use crate::config::ForbiddenLogin;
use crate::document::{AuthDocument, AuthMode, Freshness, Staleness};
use crate::external;
use crate::remedy::{ErrorKind, Remedy};
use crate::secret::Fingerprint;
use crate::store::{self, Holder, Poison, PoisonCause};

/// Begins the messages about a login whose refresh token only a keeper elsewhere has.
const HANDED_IN: &str = "this login is handed in by a keeper elsewhere";

/// An error of [`super::AuthManager`]. It can be cloned, because all callers that waited for one refresh get it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no login.
    #[error("not logged in")]
    LoggedOut,
    /// Another account is logged in now.
    #[error("another account has logged in since")]
    OtherAccount,
    /// The stored document holds no usable token and cannot be refreshed.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The refresh token failed permanently.
    #[error("{}", poisoned(.0))]
    Poisoned(Box<Poison>),
    /// The stored document is an old copy, whose refresh token was spent.
    #[error("the stored login is an old copy: its refresh token was already used")]
    OldCopy,
    /// A request failed, and the back-off after it has not ended.
    #[error("not retrying for another {} s after: {message}", .left.as_secs().max(1))]
    BackingOff {
        /// How long the back-off still lasts.
        left: SignedDuration,
        /// The message of the failed request.
        message: String,
    },
    /// A token was received less than a minute ago, but has expired or was refused already.
    #[error("the token was refreshed less than a minute ago and is not refreshed again automatically")]
    JustReceived,
    /// The authority issued tokens of another account; they were revoked.
    #[error("the authority issued tokens of another account")]
    WrongAccount,
    /// The response held no access token. The new refresh token is stored.
    #[error("the authority sent no access token; the new refresh token is stored, try again")]
    NoAccessToken,
    /// A keeper elsewhere hands in this login, and the copy here cannot be removed.
    #[error("{HANDED_IN} and cannot be removed here: {0}")]
    NotRemovableHere(#[source] Arc<store::Error>),
    /// The new tokens are saved in the rescue and not in the store yet.
    #[error("new tokens were received and saved to disk, but could not be stored yet: {0}")]
    Uncommitted(#[source] Arc<store::Error>),
    /// The caller ended the wait for the lease; nothing was changed.
    #[error("interrupted while waiting for another process; nothing was changed")]
    Interrupted,
    /// The request to the authority failed.
    #[error(transparent)]
    Authority(Arc<authority::Error>),
    /// The provider failed.
    #[error(transparent)]
    Provider(Arc<external::Error>),
    /// The store or a lock failed.
    #[error(transparent)]
    Store(Arc<store::Error>),
    /// A thread could not be started, or panicked.
    #[error("the refresh failed unexpectedly (internal error); run with -v and report it")]
    Internal,
}

impl Error {
    /// Returns the kind of this error, which says what the caller should do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::LoggedOut
            | Self::Unusable(Unusable::NotLoggedIn | Unusable::LoggingOut | Unusable::LogoutRunning(_)) => {
                ErrorKind::NotLoggedIn
            }
            Self::Unusable(Unusable::HandedIn | Unusable::NotABearer(_) | Unusable::NotRefreshable(_)) => {
                ErrorKind::Failed
            }
            Self::BackingOff { .. }
            | Self::Internal
            | Self::Interrupted
            | Self::JustReceived
            | Self::NoAccessToken
            | Self::Unusable(Unusable::NotReplaced) => ErrorKind::TryAgain,
            Self::OldCopy
            | Self::OtherAccount
            | Self::Poisoned(_)
            | Self::Unusable(_)
            | Self::WrongAccount => ErrorKind::LogInAgain,
            Self::Authority(error) => match error.kind() {
                authority::RetryAdvice::NotSent => ErrorKind::Failed,
                authority::RetryAdvice::Permanent => ErrorKind::LogInAgain,
                _ => ErrorKind::TryAgain,
            },
            Self::Provider(error) => error.kind(),
            Self::NotRemovableHere(error) | Self::Store(error) | Self::Uncommitted(error) => error.kind(),
        }
    }

    /// Returns how to fix it, if known.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        match (self, self.kind()) {
            (Self::NotRemovableHere(_), _) => Some(Remedy::EndExport),
            (Self::Store(error) | Self::Uncommitted(error), _) => error.remedy(),
            (_, ErrorKind::LogInAgain | ErrorKind::NotLoggedIn) => Some(Remedy::LogInAgain),
            _ => None,
        }
    }

    /// Whether only a new login can help.
    #[must_use]
    pub fn wants_login(&self) -> bool {
        matches!(self.kind(), ErrorKind::LogInAgain | ErrorKind::NotLoggedIn)
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<external::Error> for Error {
    fn from(error: external::Error) -> Self {
        Self::Provider(Arc::new(error))
    }
}

impl From<authority::Error> for Error {
    fn from(error: authority::Error) -> Self {
        Self::Authority(Arc::new(error))
    }
}

fn poisoned(poison: &Poison) -> String {
    let message = poison_message(poison.cause);
    match &poison.code {
        Some(code) => format!("{message} ({code})"),
        None => message.to_owned(),
    }
}

/// The error of a job, in a form that can be serialized.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobFailure {
    /// The message, one line.
    pub message: String,
    /// The messages of its causes, outermost first.
    pub causes: Vec<String>,
    /// What the caller should do.
    pub kind: ErrorKind,
    /// How to fix it, if known.
    pub remedy: Option<Remedy>,
}

impl JobFailure {
    /// Returns a failure without causes.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { message: message.into(), causes: Vec::new(), kind, remedy: None }
    }

    /// Returns whether it was made from `error`.
    #[must_use]
    pub fn is(&self, error: &Error) -> bool {
        self.kind == error.kind() && self.message == error.to_string()
    }

    /// The outcome does not fit the job.
    pub(super) fn unexpected() -> Self {
        Self::new(ErrorKind::Failed, "unexpected reply from the helper process")
    }
}

impl From<&Error> for JobFailure {
    fn from(error: &Error) -> Self {
        let mut causes = Vec::new();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        Self { message: error.to_string(), causes, kind: error.kind(), remedy: error.remedy() }
    }
}

/// Why a document yields no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// There is no document, or it holds no credential.
    #[error("not logged in")]
    NotLoggedIn,
    /// A logout of it was interrupted.
    #[error("a logout of this login was interrupted; complete it with: codex logout")]
    LoggingOut,
    /// A process is logging out of it, or completes an interrupted logout.
    #[error("a logout of this login is running: {0}")]
    LogoutRunning(Holder),
    /// The document lacks the credential of its mode.
    #[error("the stored login has mode {0} but not that credential")]
    Incomplete(AuthMode),
    /// The credential is not a bearer token.
    #[error("a {0} login has no bearer token")]
    NotABearer(AuthMode),
    /// Only the keeper that hands in the login can refresh it.
    #[error("{HANDED_IN}, which alone can refresh it")]
    HandedIn,
    /// The access token has expired, and the keeper that hands in the login has not replaced it.
    #[error("the access token has expired; {HANDED_IN}, which has not replaced it")]
    NotReplaced,
    /// The access token has expired, and the refresh token of the fleet failed permanently.
    #[error("the login of the fleet does not work any more")]
    FleetLoginEnded,
    /// The access token has expired, and there is no refresh token.
    #[error("the access token has expired")]
    Expired,
    /// The credential cannot be refreshed.
    #[error("a {0} login cannot be refreshed")]
    NotRefreshable(AuthMode),
    /// The refresh token failed permanently.
    #[error("{}", poison_message(*.0))]
    Poisoned(PoisonCause),
    /// `config.toml` forbids the kind of login, or the workspace of the access token.
    #[error(transparent)]
    Forbidden(ForbiddenLogin),
}

impl Unusable {
    /// Returns why `document` yields no token at `now`, given its poison and an interrupted logout.
    pub(super) fn of(
        document: Option<&AuthDocument>,
        poison: Option<&Poison>,
        logging_out: Option<Fingerprint>,
        now: Timestamp,
    ) -> Option<Self> {
        let Some((document, mode)) = document.and_then(|document| Some((document, document.mode()?))) else {
            return Some(Self::NotLoggedIn);
        };
        if logging_out.is_some() && document.logout_fingerprint() == logging_out {
            return Some(Self::LoggingOut);
        }
        let bearer =
            !matches!(mode, AuthMode::BedrockAccessKeys | AuthMode::BedrockApiKey | AuthMode::Headers);
        let refreshable = document.fingerprint();
        let active = poison.filter(|poison| Some(poison.fingerprint) == refreshable && poison.is_active(now));
        match (bearer, document.bearer(), active, document.freshness(now)) {
            (false, ..) => Some(Self::NotABearer(mode)),
            (true, None, ..) => Some(Self::Incomplete(mode)),
            (true, Some(_), Some(poison), _) => Some(Self::Poisoned(poison.cause)),
            (true, Some(_), None, Freshness::Stale(Staleness::Expired)) if refreshable.is_none() => {
                Some(if document.is_handed_in() { Self::NotReplaced } else { Self::Expired })
            }
            (true, Some(_), None, _) => None,
        }
    }
}

/// Returns the message for a refresh token that failed permanently.
pub(super) fn poison_message(cause: PoisonCause) -> &'static str {
    match cause {
        PoisonCause::Expired => "the refresh token has expired",
        PoisonCause::Reused => {
            "the refresh token was already used, by a program that did not save the new one"
        }
        PoisonCause::Revoked => "the refresh token was revoked",
        PoisonCause::Other => "the authority rejects the refresh token",
    }
}

/// Whether `codex token` is expected to succeed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Usability {
    /// A token can be obtained, also by a refresh.
    Usable,
    /// A token can be obtained when another process has released the lease.
    Busy(Holder),
    /// No token can be obtained, for this reason.
    Unusable(Error),
}

impl Usability {
    /// Returns why no token can be obtained.
    #[must_use]
    pub fn reason(&self) -> Option<&Error> {
        match self {
            Self::Unusable(error) => Some(error),
            Self::Usable | Self::Busy(_) => None,
        }
    }

    /// Returns the process that holds the lease.
    #[must_use]
    pub fn busy(&self) -> Option<String> {
        match self {
            Self::Busy(holder) => Some(holder.to_string()),
            Self::Usable | Self::Unusable(_) => None,
        }
    }
}
