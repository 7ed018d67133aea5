//! Whether a document yields a token now, or why not.

use jiff::Timestamp;

use crate::document::{AuthDocument, AuthMode, Freshness, Staleness};

/// Whether `codex token` is expected to succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Usability {
    /// It is.
    Usable,
    /// It is not.
    Unusable(Unusable),
}

/// Why no token can be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// There is no document, or none with a credential in it.
    #[error("not logged in")]
    NotLoggedIn,
    /// The document names a mode whose credential it does not hold.
    #[error("the login says {0} but holds no such credential")]
    Incomplete(AuthMode),
    /// A kind of credential that is not a bearer token.
    #[error("a {0} login has no bearer token")]
    NotABearer(AuthMode),
    /// The access token has ended.
    #[error("the access token has expired")]
    Expired,
    /// The access token is about to end.
    #[error("the access token is about to expire")]
    ExpiresSoon,
    /// An opaque token that is too old to be relied on.
    #[error("the access token was received more than eight days ago")]
    Old,
}

impl Usability {
    /// How `document` stands at `now`.
    #[must_use]
    pub fn of(document: Option<&AuthDocument>, now: Timestamp) -> Self {
        let Some((document, mode)) = document.and_then(|document| Some((document, document.mode()?))) else {
            return Self::Unusable(Unusable::NotLoggedIn);
        };
        let bearer =
            !matches!(mode, AuthMode::BedrockAccessKeys | AuthMode::BedrockApiKey | AuthMode::Headers);
        match (bearer, document.bearer(), document.freshness(now)) {
            (false, ..) => Self::Unusable(Unusable::NotABearer(mode)),
            (true, None, _) => Self::Unusable(Unusable::Incomplete(mode)),
            (true, Some(_), Freshness::Fresh) => Self::Usable,
            (true, Some(_), Freshness::Stale(staleness)) => Self::Unusable(match staleness {
                Staleness::Expired => Unusable::Expired,
                Staleness::ExpiresSoon => Unusable::ExpiresSoon,
                Staleness::Old => Unusable::Old,
            }),
        }
    }
}
