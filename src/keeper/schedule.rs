//! Computes when a keeper refreshes a snapshot.

use jiff::Timestamp;

use crate::manager::{Divergence, Snapshot};

/// When a refresh is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// At this time, or now if it has passed.
    At(Timestamp),
    /// Not for this snapshot.
    Never,
}

/// Returns when to refresh `snapshot`. `spread` is this keeper's random share of the spreads above, from 0 to 1.
pub(super) fn due(snapshot: &Snapshot, spread: f64, now: Timestamp) -> Due {
    // Only a document with a refresh token has a fingerprint.
    let refreshable = snapshot.document().filter(|document| document.fingerprint().is_some());
    let Some(document) = refreshable else { return Due::Never };
    if let Some(Divergence::OtherAccount(_)) = snapshot.divergence() {
        return Due::Never;
    }
    let Some(moment) = document.early_refresh_at(spread, now) else { return Due::Never };
    match snapshot.poison() {
        None => Due::At(moment),
        // The authority may accept the token again when the poison has expired.
        Some(poison) => poison.until.map_or(Due::Never, |until| Due::At(moment.max(until))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::AuthDocument;
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

    /// Earliest and latest margin of a token of `lifetime` seconds, in seconds.
    fn margins(lifetime: i64) -> [i64; 2] {
        let end = Timestamp::from_second(1_800_000_000 + lifetime).unwrap();
        let document = document(1_800_000_000, Some(end.as_second()));
        [1.0, 0.0].map(|spread| document.early_margin(end, spread).as_secs())
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
    fn a_token_without_expiry_is_refreshed_a_day_before_codex_would() {
        let refreshed: Timestamp = "2027-01-15T08:00:00Z".parse().unwrap();
        let snapshot = Snapshot::of(document(1_800_000_000, None));
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let Due::At(moment) = due(&snapshot, 0.0, now) else { panic!() };
        assert_eq!(moment.duration_since(refreshed).as_hours(), 7 * 24);
    }

    #[test]
    fn a_token_that_expires_before_it_was_issued_is_due_now() {
        let snapshot = Snapshot::of(document(1_800_000_000, Some(1_700_000_000)));
        let now = Timestamp::from_second(1_800_000_300).unwrap();
        let Due::At(moment) = due(&snapshot, 0.5, now) else { panic!() };
        assert!(moment < now);
    }
}
