//! How long an access token is still good for, and when it wants a successor.

use jiff::{SignedDuration, Timestamp};

use super::{AuthDocument, AuthMode};

/// Codex refreshes by itself this long before the end (`codex-behaviour.md` 3.1).
const MARGIN: SignedDuration = SignedDuration::from_mins(5);
/// Codex refreshes an opaque token that is older (`codex-behaviour.md` 3.1).
const OLDEST: SignedDuration = SignedDuration::from_hours(8 * 24);

/// Whether a credential can be handed out at a given moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Freshness {
    /// Good for longer than the margin, or it tells no end.
    Fresh,
    /// It wants a successor.
    Stale(Staleness),
}

/// Why a credential wants a successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Staleness {
    /// The token has ended.
    Expired,
    /// It ends within five minutes, or within the last quarter of its life where that is shorter.
    ExpiresSoon,
    /// It tells no end, and was received more than eight days ago.
    Old,
}

impl AuthDocument {
    /// When the access token ends, if it is one that tells.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        match self.mode()? {
            AuthMode::ChatGpt | AuthMode::ChatGptAuthTokens | AuthMode::Unknown(_) => {
                self.access_claims().expires_at
            }
            _ => None,
        }
    }

    /// When it begins to want a successor; `None` if it never does by itself.
    #[must_use]
    pub fn stale_at(&self) -> Option<Timestamp> {
        let Some(expires_at) = self.expires_at() else {
            let received = self.last_refresh().filter(|_| self.fingerprint().is_some())?;
            return received.checked_add(OLDEST).ok();
        };
        if self.fingerprint().is_none() {
            return Some(expires_at);
        }
        let margin = match self.access_claims().issued_at.map(|issued| expires_at.duration_since(issued)) {
            Some(lifetime) if lifetime.is_positive() => MARGIN.min(lifetime / 4),
            _ => MARGIN,
        };
        expires_at.checked_sub(margin).ok()
    }

    /// How the credential stands at `now`. A token-only document is fresh until it ends: there is nothing to refresh
    /// it with, so an early warning would serve nobody.
    #[must_use]
    pub fn freshness(&self, now: Timestamp) -> Freshness {
        let stale = self.stale_at().is_some_and(|moment| moment <= now);
        match (stale, self.expires_at()) {
            (false, _) => Freshness::Fresh,
            (true, None) => Freshness::Stale(Staleness::Old),
            (true, Some(expires_at)) if expires_at <= now => Freshness::Stale(Staleness::Expired),
            (true, Some(_)) => Freshness::Stale(Staleness::ExpiresSoon),
        }
    }
}
