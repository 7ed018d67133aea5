//! The lines about the selected login.

use codex_auth::Timestamp;

use super::look::{Piece, Tone, wrap};
use super::model::{KeeperRow, LoginRow};
use super::moments::relative;
use super::slash::in_slashes;

/// The columns of the names of fields.
const NAME_WIDTH: usize = 11;
/// The lines of one field.
const MAX_LINES: usize = 3;

/// Returns the fields of a login, wrapped to `width`.
pub(super) fn lines(login: &LoginRow, now: Timestamp, width: usize) -> Vec<Vec<Piece>> {
    let mut lines = Vec::new();
    let mut field = |name: &str, value: &str, tone: Tone| {
        for (at, text) in
            wrap(value, width.saturating_sub(NAME_WIDTH)).into_iter().take(MAX_LINES).enumerate()
        {
            let name = if at == 0 { name } else { "" };
            lines.push(vec![(format!("{name:<NAME_WIDTH$}"), Tone::Faint), (text, tone)]);
        }
    };
    if let Some(health) = login.health {
        let reason = login.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        field("state", &format!("{health}{reason}"), Tone::of(health));
    }
    for hint in &login.hints {
        field("hint", &in_slashes(hint), Tone::Hint);
    }
    if let Some(location) = &login.location {
        field("stored in", &format!("{} store, {location}", login.store), Tone::Plain);
    }
    if let Some(workspace) = &login.workspace {
        field("workspace", workspace, Tone::Plain);
    }
    let (programs, tone) = list(&login.programs);
    field("programs", &programs, tone);
    match &login.keeper {
        Some(KeeperRow::Responding { pid, next_refresh_at, reason }) => {
            let next = keeper_text(reason.as_deref(), *next_refresh_at, now);
            field("keeper", &format!("pid {pid}, {next}"), Tone::Plain);
        }
        Some(KeeperRow::Silent { pid }) => {
            let pid = pid.map(|pid| format!("pid {pid} ")).unwrap_or_default();
            field("keeper", &format!("{pid}does not respond"), Tone::Warning);
        }
        None => field("keeper", "none is running", Tone::Faint),
    }
    let (exports, tone) = list(&login.exports);
    field("exports", &exports, tone);
    for warning in &login.warnings {
        field("warning", warning, Tone::Warning);
    }
    lines
}

fn list(items: &[String]) -> (String, Tone) {
    if items.is_empty() { ("none".to_owned(), Tone::Faint) } else { (items.join(", "), Tone::Plain) }
}

fn keeper_text(reason: Option<&str>, next_refresh_at: Option<Timestamp>, now: Timestamp) -> String {
    match (reason, next_refresh_at) {
        (Some(reason), _) => format!("cannot refresh: {reason}"),
        (None, Some(moment)) => format!("refreshes {}", relative(moment, now)),
        (None, None) => "no refresh is planned".to_owned(),
    }
}
