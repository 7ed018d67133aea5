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

    /// How the credential stands at `now`. A token-only document is fresh until it ends: there is nothing to refresh
    /// it with, so an early warning would serve nobody.
    #[must_use]
    pub fn freshness(&self, now: Timestamp) -> Freshness {
        let Some(expires_at) = self.expires_at() else {
            let old = |received: Timestamp| now.duration_since(received) > OLDEST;
            return match self.last_refresh().filter(|_| self.fingerprint().is_some()) {
                Some(received) if old(received) => Freshness::Stale(Staleness::Old),
                _ => Freshness::Fresh,
            };
        };
        if expires_at <= now {
            return Freshness::Stale(Staleness::Expired);
        }
        let margin = match self.access_claims().issued_at.map(|issued| expires_at.duration_since(issued)) {
            Some(lifetime) if lifetime.is_positive() => MARGIN.min(lifetime / 4),
            _ => MARGIN,
        };
        if self.fingerprint().is_some() && expires_at.duration_since(now) <= margin {
            Freshness::Stale(Staleness::ExpiresSoon)
        } else {
            Freshness::Fresh
        }
    }
}
