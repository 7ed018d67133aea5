//! When a keeper refreshes: so far ahead of the end that no other program finds the token stale.

use jiff::{SignedDuration, Timestamp};

use crate::document::AuthDocument;
use crate::manager::{Divergence, Snapshot};

/// The share of a token's lifetime that is left when it is refreshed, and how much earlier a keeper may be, so that those
/// of many machines do not come at once.
const SHARE: f64 = 0.10;
const SPREAD: f64 = 0.02;
/// Codex refreshes in the last five minutes (`codex-blackbox.md` 3); a keeper is done well before.
const LEAST: SignedDuration = SignedDuration::from_mins(10);
const LEAST_SPREAD: SignedDuration = SignedDuration::from_mins(1);
const MOST: SignedDuration = SignedDuration::from_hours(24);
const MOST_SPREAD: SignedDuration = SignedDuration::from_hours(1);

/// When to refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// At this moment, or at once if it is past.
    At(Timestamp),
    /// Not as things are: there is nothing to refresh, or it would be of no use.
    Never,
}

/// When what is in `snapshot` is to be refreshed by a keeper whose place in the spread is `early`, from 0 to 1, and whose
/// clock says `now`.
pub(super) fn due(snapshot: &Snapshot, early: f64, now: Timestamp) -> Due {
    let refreshable = snapshot.document().filter(|document| document.fingerprint().is_some());
    let Some(document) = refreshable else { return Due::Never };
    if let Some(Divergence::OtherAccount(_)) = snapshot.departure() {
        return Due::Never;
    }
    let moment = match document.expires_at(now) {
        Some(end) => end.checked_sub(margin(document, end, early)),
        // Codex refreshes such a token after eight days.
        None => match document.stale_at(now) {
            Some(stale) => stale.checked_sub(MOST + MOST_SPREAD.mul_f64(early)),
            None => return Due::Never,
        },
    };
    let moment = moment.unwrap_or(Timestamp::MIN);
    match snapshot.poison() {
        None => Due::At(moment),
        // Somebody may have mended what was refused for a while.
        Some(poison) => poison.until.map_or(Due::Never, |until| Due::At(moment.max(until))),
    }
}

/// How long before `end` to refresh.
fn margin(document: &AuthDocument, end: Timestamp, early: f64) -> SignedDuration {
    let since_receipt = || document.last_refresh().map(|begin| end.duration_since(begin));
    let lifetime = document.lifetime().or_else(since_receipt).filter(SignedDuration::is_positive);
    let least = LEAST + LEAST_SPREAD.mul_f64(early);
    let Some(lifetime) = lifetime else { return least };
    lifetime
        .mul_f64(SHARE + SPREAD * early)
        .max(least)
        .min(MOST - MOST_SPREAD.mul_f64(early))
        .min(lifetime / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::Snapshot;

    const MINUTE: i64 = 60;
    const DAY: i64 = 86_400;

    fn document(issued: i64, end: Option<i64>) -> AuthDocument {
        let token = |claims: serde_json::Value| {
            use base64::Engine as _;
            let part = |value: &serde_json::Value| {
                base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string())
            };
            format!("{}.{}.sig", part(&serde_json::json!({"alg": "none"})), part(&claims))
        };
        let mut claims = serde_json::json!({"iat": issued});
        if let Some(end) = end {
            claims["exp"] = end.into();
        }
        let text = serde_json::json!({
            "tokens": {
                "id_token": token(serde_json::json!({})), "access_token": token(claims), "refresh_token": "rt"
            },
            "last_refresh": "2027-01-15T08:00:00Z",
        });
        AuthDocument::parse(text.to_string().as_bytes()).unwrap()
    }

    /// How long before the end of a token of `lifetime` seconds it is refreshed, earliest and latest.
    fn margins(lifetime: i64) -> [i64; 2] {
        let end = Timestamp::from_second(1_800_000_000 + lifetime).unwrap();
        let document = document(1_800_000_000, Some(end.as_second()));
        [1.0, 0.0].map(|early| margin(&document, end, early).as_secs())
    }

    #[test]
    fn a_tenth_of_the_lifetime_is_left_within_ten_minutes_and_a_day_and_never_more_than_half() {
        assert_eq!(margins(30), [15, 15]);
        assert_eq!(margins(10 * MINUTE), [5 * MINUTE, 5 * MINUTE]);
        assert_eq!(margins(60 * MINUTE), [11 * MINUTE, 10 * MINUTE]);
        assert_eq!(margins(DAY), [DAY * 12 / 100, DAY / 10]);
        assert_eq!(margins(10 * DAY), [DAY - 60 * MINUTE, DAY]);
        assert_eq!(margins(30 * DAY), [DAY - 60 * MINUTE, DAY]);
    }

    #[test]
    fn a_token_that_does_not_say_when_it_ends_is_refreshed_a_day_before_codex_would() {
        let refreshed: Timestamp = "2027-01-15T08:00:00Z".parse().unwrap();
        let snapshot = Snapshot::of(document(1_800_000_000, None));
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let Due::At(moment) = due(&snapshot, 0.0, now) else { panic!() };
        assert_eq!(moment.duration_since(refreshed).as_hours(), 7 * 24);
    }

    #[test]
    fn a_token_that_ended_before_it_began_is_due_and_no_more() {
        let snapshot = Snapshot::of(document(1_800_000_000, Some(1_700_000_000)));
        let now = Timestamp::from_second(1_800_000_300).unwrap();
        let Due::At(moment) = due(&snapshot, 0.5, now) else { panic!() };
        assert!(moment < now);
    }
}
