//! When the access token of the record becomes stale and ends, without trust in a wall clock.
//!
//! A member that has seen a token appear counts its lifetime, which the token claims, on its own boot clock from then on;
//! that is never too early. A member that has found the token in the record, after a start or a partition, uses the wall
//! clock as it was then and counts on from there, so a clock that is set meanwhile changes nothing; and when the whole
//! lifetime has passed on its boot clock, the token has ended whatever the wall clock says.

use std::time::Duration;

use codex_auth_platform::boot_clock::BootTime;
use jiff::{SignedDuration, Timestamp};

use crate::document::AuthDocument;
use crate::secret::Fingerprint;

/// The assumed lifetime of a token that claims none: as for Codex.
const OPAQUE_LIFETIME: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// The clock of one access token.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenClock {
    pub(super) token: Option<Fingerprint>,
    seen: BootTime,
    wall: Timestamp,
    sight: Sight,
}

/// How a member came to see a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// It has seen the token appear.
    Appeared,
    /// The token was there, for how long is unknown.
    Found,
}

impl TokenClock {
    pub(super) fn start(document: &AuthDocument, sight: Sight, now: Timestamp) -> Self {
        Self { token: document.fingerprint(), seen: BootTime::now(), wall: now, sight }
    }

    /// Returns how long until the token has certainly ended; zero if it has.
    pub(super) fn until_end(&self, document: &AuthDocument) -> Duration {
        let lifetime = document.lifetime().and_then(|lifetime| Duration::try_from(lifetime).ok());
        let whole = (self.seen + lifetime.unwrap_or(OPAQUE_LIFETIME)).remaining();
        let end = document.access_claims().expires_at.filter(|_| self.sight == Sight::Found);
        end.map_or(whole, |end| whole.min(self.until(end)))
    }

    /// Returns how long until the refresher refreshes the token; zero if it is due, `None` if it never is.
    pub(super) fn until_due(&self, document: &AuthDocument, spread: f64) -> Option<Duration> {
        let due = match document.lifetime().filter(|_| self.sight == Sight::Appeared) {
            // Counted from when the token appeared, by the wall clock of then.
            Some(lifetime) => {
                let end = self.wall.checked_add(lifetime).ok()?;
                end.checked_sub(document.early_margin(end, spread)).ok()?
            }
            None => document.early_refresh_at(spread, self.now())?,
        };
        Some(self.until(due))
    }

    /// Returns the wall clock as it was when the token was seen, and counted on since.
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.seen.elapsed()).unwrap_or(SignedDuration::MAX);
        self.wall.checked_add(passed).unwrap_or(Timestamp::MAX)
    }

    fn until(&self, moment: Timestamp) -> Duration {
        Duration::try_from(moment.duration_since(self.now())).unwrap_or(Duration::ZERO)
    }
}
