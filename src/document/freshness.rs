//! When an access token expires and when it becomes stale, that is, due for a refresh.

use jiff::{SignedDuration, Timestamp};

use super::auth_document::AuthDocument;
use super::mode::AuthMode;

/// How long before its expiry a token is stale, as for Codex.
const REFRESH_MARGIN: SignedDuration = SignedDuration::from_mins(5);
/// The age at which a token without an expiry is stale, as for Codex.
const MAX_OPAQUE_AGE: SignedDuration = SignedDuration::from_hours(8 * 24);
/// How far in the future the time of receipt may be before the clock counts as set back since.
const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(60);
/// The shortest lifetime of a received token, whatever expiry it claims, unless it claims a shorter lifetime.
const MIN_LIFETIME: SignedDuration = SignedDuration::from_secs(60);

/// Whether a credential is due for a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Freshness {
    /// It is valid for longer than the margin, or has no expiry.
    Fresh,
    /// It is due for a refresh.
    Stale(Staleness),
}

/// Why a credential is due for a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Staleness {
    /// The token has expired.
    Expired,
    /// It expires within five minutes, or within the last quarter of its lifetime if that is shorter.
    ExpiresSoon,
    /// It has no expiry and was received more than eight days ago.
    Old,
}

/// When a token expires and becomes stale, by the clock of this machine.
///
/// A token claims its expiry by the authority's clock. Its lifetime is counted from the time of receipt instead, so
/// that a wrong local clock does not matter. The claimed expiry is used if the recorded time of receipt cannot be
/// right:
/// - It is in the future: the clock was set back since.
/// - The token would have expired before it was issued: another clock recorded that time, or it belongs to the previous
///   token, as after Codex has switched to another workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Validity {
    claimed: TokenLifetime,
    received: Option<Receipt>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct TokenLifetime {
    expires_at: Option<Timestamp>,
    stale_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Receipt {
    at: Timestamp,
    lifetime: TokenLifetime,
    /// When the token was issued, if it would have expired by then, counted from the time of receipt.
    issued_after_end: Option<Timestamp>,
}

impl Receipt {
    fn applies(&self, now: Timestamp) -> bool {
        let latest = now.checked_add(MAX_CLOCK_SKEW).unwrap_or(Timestamp::MAX);
        // If the clock is behind the time of issue it is slow, and only the time of receipt is usable.
        self.at <= latest && self.issued_after_end.is_none_or(|issued| issued > latest)
    }
}

impl Validity {
    /// Creates the validity of a token that was not issued to this machine.
    pub(crate) fn claimed(expires_at: Option<Timestamp>, stale_at: Option<Timestamp>) -> Self {
        Self { claimed: TokenLifetime { expires_at, stale_at }, received: None }
    }

    /// Returns when the token expires by the clock that reads `now`.
    pub(crate) fn expires_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.lifetime(now).expires_at
    }

    /// Returns when the token becomes stale by the clock that reads `now`.
    pub(crate) fn stale_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.lifetime(now).stale_at
    }

    fn lifetime(&self, now: Timestamp) -> TokenLifetime {
        self.received
            .filter(|received| received.applies(now))
            .map_or(self.claimed, |received| received.lifetime)
    }
}

impl AuthDocument {
    /// Returns when the access token expires by the clock that reads `now`; `None` if it has no expiry. The expiry that
    /// the token claims, by the authority's clock, is in [`Self::access_claims`].
    #[must_use]
    pub fn expires_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.validity().expires_at(now)
    }

    /// Returns when the credential becomes stale by the clock that reads `now`; `None` if it never does.
    #[must_use]
    pub fn stale_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.validity().stale_at(now)
    }

    /// Returns the time between issue and expiry that the access token claims.
    #[must_use]
    pub fn lifetime(&self) -> Option<SignedDuration> {
        let claims = self.access_claims();
        let lifetime = claims.expires_at?.duration_since(claims.issued_at?);
        lifetime.is_positive().then_some(lifetime)
    }

    /// Returns whether the credential is due for a refresh at `now`. A token-only document is fresh until it expires,
    /// because it cannot be refreshed.
    #[must_use]
    pub fn freshness(&self, now: Timestamp) -> Freshness {
        let validity = self.validity();
        let stale = validity.stale_at(now).is_some_and(|moment| moment <= now);
        match (stale, validity.expires_at(now)) {
            (false, _) => Freshness::Fresh,
            (true, None) => Freshness::Stale(Staleness::Old),
            (true, Some(expires_at)) if expires_at <= now => Freshness::Stale(Staleness::Expired),
            (true, Some(_)) => Freshness::Stale(Staleness::ExpiresSoon),
        }
    }

    pub(crate) fn validity(&self) -> Validity {
        let received_at = self.last_refresh().filter(|_| self.fingerprint().is_some());
        let Some(claimed) = self.claimed_expiry() else {
            return Validity::claimed(None, received_at.and_then(|at| at.checked_add(MAX_OPAQUE_AGE).ok()));
        };
        if self.fingerprint().is_none() {
            return Validity::claimed(Some(claimed), Some(claimed));
        }
        let lifetime = self.lifetime();
        let margin = lifetime.map_or(REFRESH_MARGIN, |lifetime| REFRESH_MARGIN.min(lifetime / 4));
        let stale_at = claimed.checked_sub(margin).ok();
        let received = received_at.and_then(|at| {
            // Whole seconds, as in the claims.
            let at = Timestamp::from_second(at.as_second()).ok()?;
            let Some(lifetime) = lifetime else {
                let least = at.checked_add(MIN_LIFETIME).ok()?;
                let lifetime = TokenLifetime {
                    expires_at: Some(claimed.max(least)),
                    stale_at: stale_at.max(Some(least)),
                };
                return Some(Receipt { at, lifetime, issued_after_end: None });
            };
            let end = at.checked_add(lifetime).ok()?;
            let lifetime = TokenLifetime { expires_at: Some(end), stale_at: end.checked_sub(margin).ok() };
            let issued_at = self.access_claims().issued_at;
            let issued_after_end = issued_at.filter(|issued| end.duration_since(*issued) <= MAX_CLOCK_SKEW);
            Some(Receipt { at, lifetime, issued_after_end })
        });
        Validity { received, ..Validity::claimed(Some(claimed), stale_at) }
    }

    /// Returns the expiry that the access token claims, by the authority's clock.
    fn claimed_expiry(&self) -> Option<Timestamp> {
        match self.mode()? {
            AuthMode::ChatGpt | AuthMode::ChatGptAuthTokens | AuthMode::Unknown(_) => {
                self.access_claims().expires_at
            }
            _ => None,
        }
    }
}
