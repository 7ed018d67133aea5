//! Times relative to now, to the minute, and how long they stay true.

use std::time::Duration;

use codex_auth::Timestamp;

use crate::output;

/// The seconds of a minute and of an hour.
const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

/// Formats `moment` relative to `now`: "in 3 h 12 min", "48 min ago", "in under a minute".
pub(super) fn relative(moment: Timestamp, now: Timestamp) -> String {
    let distance = moment.duration_since(now);
    match (distance.as_secs().unsigned_abs() < MINUTE, distance.is_negative()) {
        (true, false) => "in < 1 min".to_owned(),
        (true, true) => "just now".to_owned(),
        (false, _) => output::relative(moment, now),
    }
}

/// Returns how long [`relative`] returns the same text for `moment` from `now` on.
pub(super) fn until_changed(moment: Timestamp, now: Timestamp) -> Duration {
    let distance = moment.duration_since(now);
    let seconds = distance.as_secs().unsigned_abs();
    let step = if seconds < DAY { MINUTE } else { HOUR };
    let left = if distance.is_negative() { step - seconds % step } else { seconds % step + 1 };
    Duration::from_secs(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_changes_when_it_is_said_to_change_and_not_before() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        for distance in [-90_000_i64, -86_400, -3_661, -60, -59, -1, 0, 1, 59, 60, 61, 3_600, 7_199, 86_399] {
            let moment = Timestamp::from_second(now.as_second() + distance).unwrap();
            let text = relative(moment, now);
            let wait = i64::try_from(until_changed(moment, now).as_secs()).unwrap();
            let at =
                |second: i64| relative(moment, Timestamp::from_second(now.as_second() + second).unwrap());
            assert_eq!(at(wait - 1), text, "{distance}");
            assert!(at(wait) != text || distance.abs() >= 86_399, "{distance}: {text} after {wait} s");
        }
        assert_eq!(relative(now, now), "in < 1 min");
        let moment = Timestamp::from_second(now.as_second() + 11_520).unwrap();
        assert_eq!(relative(moment, now), "in 3 h 12 min");
    }
}
