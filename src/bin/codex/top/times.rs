//! The time of day of an event.

use codex_auth::Timestamp;

/// Formats the time of day of `moment`.
pub(super) fn clock_time(moment: Timestamp) -> String {
    let text = format!("{moment:.0}");
    text.get(11..19).unwrap_or(&text).to_owned()
}
