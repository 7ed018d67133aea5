//! Why a document yields no token, whatever could be done about it.

use jiff::Timestamp;

use crate::config::{ForbiddenLogin, Restrictions};
use crate::document::{AuthDocument, AuthMode, Freshness, Staleness};
use crate::secret::Fingerprint;
use crate::store::{Poison, PoisonCause};

/// Why no token can be had of a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// There is no document, or none with a credential in it.
    #[error("not logged in")]
    NotLoggedIn,
    /// A logout of it was begun and not completed.
    #[error("a logout of this login was interrupted; complete it with: codex logout")]
    LoggingOut,
    /// The document names a mode whose credential it does not hold.
    #[error("the login says {0} but holds no such credential")]
    Incomplete(AuthMode),
    /// A kind of credential that is not a bearer token.
    #[error("a {0} login has no bearer token")]
    NotABearer(AuthMode),
    /// The access token has ended, and there is no refresh token.
    #[error("the access token has expired")]
    Expired,
    /// A kind of credential that there is nothing to refresh of.
    #[error("a {0} login is never refreshed")]
    NotRefreshable(AuthMode),
    /// The refresh token is known to be dead.
    #[error("{}", dead(*.0))]
    Poisoned(PoisonCause),
    /// `config.toml` does not allow the workspace that the access token acts for.
    #[error(transparent)]
    Forbidden(ForbiddenLogin),
}

impl Unusable {
    /// Why `document` yields no token at `now`, with what the state says of its refresh token and of a logout that was begun.
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
        let dead = poison.filter(|poison| Some(poison.fingerprint) == refreshable && poison.holds(now));
        match (bearer, document.bearer(), dead, document.freshness(now)) {
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

/// Why `restrictions` do not allow the workspace that the access token of `document` acts for, if they do not.
pub(super) fn forbidden(restrictions: &Restrictions, document: &AuthDocument) -> Option<ForbiddenLogin> {
    match document.mode()? {
        AuthMode::ChatGpt | AuthMode::ChatGptAuthTokens | AuthMode::Unknown(_) => {
            restrictions.permit_workspace(document.workspace().as_deref()).err()
        }
        _ => None,
    }
}

/// What a dead refresh token means, for people.
pub(super) fn dead(cause: PoisonCause) -> &'static str {
    match cause {
        PoisonCause::Expired => "the refresh token has expired",
        PoisonCause::Reused => "the refresh token was used by a program that did not save its successor",
        PoisonCause::Revoked => "the refresh token was revoked",
        PoisonCause::Other => "the authority refuses the refresh token",
    }
}
