//! The reasons why a document yields no token.

use jiff::Timestamp;

use crate::config::{ForbiddenLogin, Restrictions};
use crate::document::{AuthDocument, AuthMode, Freshness, Staleness};
use crate::secret::Fingerprint;
use crate::store::{Poison, PoisonCause};

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
    /// The document lacks the credential of its mode.
    #[error("the stored login has mode {0} but not that credential")]
    Incomplete(AuthMode),
    /// The credential is not a bearer token.
    #[error("a {0} login has no bearer token")]
    NotABearer(AuthMode),
    /// The access token has expired, and there is no refresh token.
    #[error("the access token has expired")]
    Expired,
    /// The credential cannot be refreshed.
    #[error("a {0} login cannot be refreshed")]
    NotRefreshable(AuthMode),
    /// The refresh token failed permanently.
    #[error("{}", poison_message(*.0))]
    Poisoned(PoisonCause),
    /// `config.toml` forbids the workspace of the access token.
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
                Some(Self::Expired)
            }
            (true, Some(_), None, _) => None,
        }
    }
}

/// Returns why `restrictions` forbid the workspace of the access token of `document`, if they do.
pub(super) fn forbidden(restrictions: &Restrictions, document: &AuthDocument) -> Option<ForbiddenLogin> {
    match document.mode()? {
        AuthMode::ChatGpt | AuthMode::ChatGptAuthTokens | AuthMode::Unknown(_) => {
            restrictions.permit_workspace(document.workspace().as_deref()).err()
        }
        _ => None,
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
