//! How long an access token is still good for, and when it wants a successor.

use jiff::{SignedDuration, Timestamp};

use super::{AuthDocument, AuthMode};

/// Codex refreshes by itself this long before the end (`codex-behaviour.md` 3.1).
const MARGIN: SignedDuration = SignedDuration::from_mins(5);
/// Codex refreshes an opaque token that is older (`codex-behaviour.md` 3.1).
const OLDEST: SignedDuration = SignedDuration::from_hours(8 * 24);
/// How far ahead of the clock a token may have been received, before the clock counts as set back since.
const SKEW: SignedDuration = SignedDuration::from_secs(60);
/// How long a token is good for after it was received, whatever end it claims; unless it claims a shorter life.
const JUST_RECEIVED: SignedDuration = SignedDuration::from_secs(60);

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

/// When a token ends and when it wants a successor, by the clock of this machine.
///
/// A token claims its end by the authority's clock. Its lifetime is counted from the time of receipt instead, so that a
/// wrong clock does not matter. The claimed end counts if the time of receipt cannot be this token's by this clock:
/// - It is in the future: the clock was set back since.
/// - The token would have ended before it was issued: another clock gave that time, or it is the previous token's, which
///   Codex keeps when it switches to another workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Validity {
    claimed: TokenLifetime,
    received: Option<ReceivedAt>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct TokenLifetime {
    expires_at: Option<Timestamp>,
    stale_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ReceivedAt {
    at: Timestamp,
    span: TokenLifetime,
    /// When the token was made, if by its time of receipt it had ended then.
    made_after_end: Option<Timestamp>,
}

impl ReceivedAt {
    fn counts(&self, now: Timestamp) -> bool {
        let latest = now.checked_add(SKEW).unwrap_or(Timestamp::MAX);
        // A clock that is behind the making of the token is slow; then the time of receipt is all there is.
        self.at <= latest && self.made_after_end.is_none_or(|made| made > latest)
    }
}

impl Validity {
    /// That of a token which was not issued to this machine.
    pub(crate) fn claimed(expires_at: Option<Timestamp>, stale_at: Option<Timestamp>) -> Self {
        Self { claimed: TokenLifetime { expires_at, stale_at }, received: None }
    }

    /// When the token ends by the clock that says `now`, if it is one that tells.
    pub(crate) fn expires_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.span(now).expires_at
    }

    /// When it begins to want a successor; `None` if it never does by itself.
    pub(crate) fn stale_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.span(now).stale_at
    }

    fn span(&self, now: Timestamp) -> TokenLifetime {
        self.received.filter(|received| received.counts(now)).map_or(self.claimed, |received| received.span)
    }
}

impl AuthDocument {
    /// When the access token ends by the clock that says `now`, if it is one that tells. This is the end that counts
    /// everywhere; the claimed one is in [`Self::access_claims`].
    #[must_use]
    pub fn expires_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.validity().expires_at(now)
    }

    /// When it begins to want a successor; `None` if it never does by itself.
    #[must_use]
    pub fn stale_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.validity().stale_at(now)
    }

    /// How long the access token is good for in all, by its own word.
    #[must_use]
    pub fn lifetime(&self) -> Option<SignedDuration> {
        let claims = self.access_claims();
        let lifetime = claims.expires_at?.duration_since(claims.issued_at?);
        lifetime.is_positive().then_some(lifetime)
    }

    /// How the credential stands at `now`. A token-only document is fresh until it ends: there is nothing to refresh
    /// it with, so an early warning would serve nobody.
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
        let Some(claimed) = self.claimed_end() else {
            return Validity::claimed(None, received_at.and_then(|at| at.checked_add(OLDEST).ok()));
        };
        if self.fingerprint().is_none() {
            return Validity::claimed(Some(claimed), Some(claimed));
        }
        let lifetime = self.lifetime();
        let margin = lifetime.map_or(MARGIN, |lifetime| MARGIN.min(lifetime / 4));
        let stale_at = claimed.checked_sub(margin).ok();
        let received = received_at.and_then(|at| {
            // Whole seconds, as tokens tell them.
            let at = Timestamp::from_second(at.as_second()).ok()?;
            let Some(lifetime) = lifetime else {
                let least = at.checked_add(JUST_RECEIVED).ok()?;
                let span = TokenLifetime {
                    expires_at: Some(claimed.max(least)),
                    stale_at: stale_at.max(Some(least)),
                };
                return Some(ReceivedAt { at, span, made_after_end: None });
            };
            let end = at.checked_add(lifetime).ok()?;
            let span = TokenLifetime { expires_at: Some(end), stale_at: end.checked_sub(margin).ok() };
            let made = self.access_claims().issued_at;
            Some(ReceivedAt {
                at,
                span,
                made_after_end: made.filter(|made| end.duration_since(*made) <= SKEW),
            })
        });
        Validity { received, ..Validity::claimed(Some(claimed), stale_at) }
    }

    /// The end that the access token claims, by the authority's clock.
    fn claimed_end(&self) -> Option<Timestamp> {
        match self.mode()? {
            AuthMode::ChatGpt | AuthMode::ChatGptAuthTokens | AuthMode::Unknown(_) => {
                self.access_claims().expires_at
            }
            _ => None,
        }
    }
}
