//! When a keeper refreshes a document: early enough that no other program finds the token stale.

use jiff::{SignedDuration, Timestamp};

use super::auth_document::AuthDocument;

/// The share of a token's lifetime that is left when it is refreshed, and the spread that keeps many machines from
/// refreshing at the same time.
const MARGIN_SHARE: f64 = 0.10;
const MARGIN_SHARE_SPREAD: f64 = 0.02;
/// Codex refreshes in the last five minutes; a keeper does so before.
const MIN_MARGIN: SignedDuration = SignedDuration::from_mins(10);
const MIN_MARGIN_SPREAD: SignedDuration = SignedDuration::from_mins(1);
const MAX_MARGIN: SignedDuration = SignedDuration::from_hours(24);
const MAX_MARGIN_SPREAD: SignedDuration = SignedDuration::from_hours(1);

impl AuthDocument {
    /// Returns when a keeper refreshes this document by the clock that reads `now`; `None` if never. `spread` is the
    /// keeper's random share of the spreads above, from 0 to 1.
    pub(crate) fn early_refresh_at(&self, spread: f64, now: Timestamp) -> Option<Timestamp> {
        let moment = match self.expires_at(now) {
            Some(end) => end.checked_sub(self.early_margin(end, spread)),
            // Codex refreshes a token without expiry after eight days.
            None => self.stale_at(now)?.checked_sub(MAX_MARGIN + MAX_MARGIN_SPREAD.mul_f64(spread)),
        };
        Some(moment.unwrap_or(Timestamp::MIN))
    }

    /// Returns how long before `end` a keeper refreshes.
    pub(crate) fn early_margin(&self, end: Timestamp, spread: f64) -> SignedDuration {
        let since_receipt = || self.last_refresh().map(|begin| end.duration_since(begin));
        let lifetime = self.lifetime().or_else(since_receipt).filter(SignedDuration::is_positive);
        let least = MIN_MARGIN + MIN_MARGIN_SPREAD.mul_f64(spread);
        let Some(lifetime) = lifetime else { return least };
        lifetime
            .mul_f64(MARGIN_SHARE + MARGIN_SHARE_SPREAD * spread)
            .max(least)
            .min(MAX_MARGIN - MAX_MARGIN_SPREAD.mul_f64(spread))
            .min(lifetime / 2)
    }
}
