//! A bearer token as a caller gets it.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arc_swap::Guard;
use jiff::{SignedDuration, Timestamp};

use super::error::{Error, Unusable, Usability};
use super::snapshot::Snapshot;
use crate::secret::Secret;

/// A bearer token and the snapshot that it comes from.
#[derive(Debug)]
pub struct Token {
    /// Counts no reference that threads share.
    snapshot: Guard<Arc<Snapshot>>,
    obtained_at: Timestamp,
}

impl Clone for Token {
    fn clone(&self) -> Self {
        Self { snapshot: Arc::clone(&self.snapshot).into(), obtained_at: self.obtained_at }
    }
}

impl Token {
    /// Returns the token of `snapshot`, obtained at `now`, unless it is empty or its use is forbidden.
    pub(super) fn of(snapshot: impl Into<Guard<Arc<Snapshot>>>, now: Timestamp) -> Result<Self, Error> {
        let snapshot = snapshot.into();
        match snapshot.bearer() {
            Some(_) => Ok(Self { snapshot, obtained_at: now }),
            None => Err(empty(&snapshot)),
        }
    }

    /// Returns the bearer token; it is not empty.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        self.snapshot.bearer().unwrap_or(&NO_TOKEN)
    }

    /// Returns the value of the `Authorization` header of a request: `Bearer` and the token.
    #[must_use]
    pub fn authorization_header(&self) -> Secret {
        Secret::new(format!("Bearer {}", self.secret().expose()))
    }

    /// Returns when the token expires, by the clock of this machine at the time when the token was returned; `None` if it
    /// has no expiry, as an API key.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.snapshot.expires_at(self.obtained_at)
    }

    /// Returns the snapshot that the token comes from.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Whether it is valid for at least `min_ttl` from when it was returned.
    pub(super) fn lasts(&self, min_ttl: Duration) -> bool {
        let min_ttl = SignedDuration::try_from(min_ttl).unwrap_or(SignedDuration::MAX);
        self.expires_at().is_none_or(|end| end.duration_since(self.obtained_at) >= min_ttl)
    }
}

/// Never served, because a [`Token`] is created only from a snapshot with a bearer token.
static NO_TOKEN: LazyLock<Secret> = LazyLock::new(|| Secret::from(""));

/// Returns why `snapshot` yields no token.
fn empty(snapshot: &Snapshot) -> Error {
    match snapshot.usability(Timestamp::MIN) {
        Usability::Unusable(Error::Unusable(Unusable::NotLoggedIn)) => Error::LoggedOut,
        Usability::Unusable(error) => error,
        _ => Error::LoggedOut,
    }
}
