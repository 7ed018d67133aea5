//! What `codex login` says: who is signed in, where it is kept, and what became of the login before.

use codex_auth::AuthDocument;
use codex_auth::authority::{Profile, RevocationOutcome};
use codex_auth::login::{RevocationSkipped, StoreReport, SupersedeOutcome};
use codex_auth::store::StoredDocument;
use serde_json::{Value, json};

use crate::context::{kept_in, warnings};
use crate::error::CommandOutcome;
use crate::output::{Output, plain};

/// A login that is over.
pub(super) struct LoginReport<'a> {
    pub(super) document: &'a AuthDocument,
    pub(super) kept: &'a StoreReport,
    /// What became of the tokens of the login before; `None` when an interruption came in between.
    pub(super) superseded: Option<&'a SupersedeOutcome>,
}

/// Who is signed in before anything is done.
pub(super) fn signed_in(stored: &StoredDocument, output: &Output) {
    output.say(&format!(
        "{} is signed in here, and stays so until the new login is safe",
        who(&stored.document)
    ));
}

/// Whose token it is that was handed in.
pub(super) fn verified(profile: &Profile, output: &Output) {
    if let Some(owner) = profile.email.as_ref().or(profile.account_id.as_ref()) {
        output.say(&format!("the token is good, and belongs to {}", plain(owner)));
    }
}

/// That it is kept: said at once, whatever else is still to be done.
pub(super) fn logged_in(document: &AuthDocument, kept: &StoreReport, output: &Output) {
    if output.is_json() {
        return;
    }
    let mode = document.mode().map_or_else(|| "a credential".to_owned(), |mode| mode.to_string());
    let account = match document.tokens() {
        Some(_) => format!("logged in as {}", who(document)),
        None => format!("logged in with {mode}"),
    };
    let replaced = if kept.superseded.is_some() { ", in place of the login before" } else { "" };
    output.say(&format!("{account}{replaced}"));
    output.say(&format!("kept in the {} ({})", kept_in(&kept.location), kept.reason));
    for location in &kept.removed {
        output.say(&format!("removed the copy in the {}", kept_in(location)));
    }
    kept.notes.iter().for_each(|note| output.warn(&note.to_string()));
}

/// What became of the login before, and everything as JSON where that is asked for.
pub(super) fn ended(report: &LoginReport<'_>, output: &Output) -> CommandOutcome {
    let LoginReport { document, kept, superseded } = report;
    let old = kept.superseded.as_ref().map(who).unwrap_or_default();
    if !output.is_json() {
        match superseded {
            Some(SupersedeOutcome::NothingToRevoke) => {}
            Some(SupersedeOutcome::Failed(_)) | None => output.warn(&became(*superseded, &old)),
            Some(_) => output.say(&became(*superseded, &old)),
        }
        return Ok(());
    }
    let mut told = warnings(&kept.notes);
    if matches!(superseded, Some(SupersedeOutcome::Failed(_)) | None) {
        told.push(became(*superseded, &old));
    }
    output.report(json!({
        "logged_in": true,
        "method": document.mode().map(|mode| mode.to_string()),
        "store": kept.location.kind().as_str(),
        "location": kept.location.to_string(),
        "because": kept.reason.to_string(),
        "replaced": kept.superseded.is_some(),
        "old_tokens": word(*superseded),
        "removed": kept.removed.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "warnings": told,
    }))?;
    Ok(())
}

fn became(superseded: Option<&SupersedeOutcome>, old: &str) -> String {
    let ways = "`codex login --revoke-old` would have revoked them";
    match superseded {
        Some(SupersedeOutcome::Revoked(RevocationOutcome::AlreadyInvalid)) => {
            "the tokens of the login before were worth nothing any more".to_owned()
        }
        Some(SupersedeOutcome::Revoked(_)) => "revoked the tokens of the login before".to_owned(),
        Some(SupersedeOutcome::Skipped(RevocationSkipped::ByPolicy)) => {
            format!("the tokens of the login before ({old}) live on until they expire, as you asked")
        }
        Some(SupersedeOutcome::Skipped(RevocationSkipped::OtherAccount)) => {
            format!("the login before was of another account ({old}), and its tokens live on; {ways}")
        }
        Some(SupersedeOutcome::Skipped(_)) => {
            format!(
                "whether the login before ({old}) was of the same account cannot be told, so its tokens live on; {ways}"
            )
        }
        Some(SupersedeOutcome::Failed(error)) => {
            format!("the tokens of the login before may live on until they expire: {error}")
        }
        _ => "interrupted before the tokens of the login before were revoked; they may live on".to_owned(),
    }
}

fn word(superseded: Option<&SupersedeOutcome>) -> Value {
    json!(match superseded {
        Some(SupersedeOutcome::NothingToRevoke) => return Value::Null,
        Some(SupersedeOutcome::Revoked(RevocationOutcome::AlreadyInvalid)) => "already-invalid",
        Some(SupersedeOutcome::Revoked(_)) => "revoked",
        Some(SupersedeOutcome::Skipped(_)) => "left-alive",
        Some(_) | None => "unknown",
    })
}

/// Whose login it is, for people: the e-mail address and the plan, else the account, else the kind of credential.
fn who(document: &AuthDocument) -> String {
    let claims = document.claims();
    let name = claims.email.clone().or_else(|| document.identity().account_id);
    let name = name.map(|name| plain(&name));
    match (name, &claims.plan) {
        (Some(name), Some(plan)) => format!("{name} ({})", plain(plan.as_str())),
        (Some(name), None) => name,
        (None, _) => {
            let mode = document.mode().map_or_else(|| "a credential".to_owned(), |mode| mode.to_string());
            format!("somebody with {}", plain(&mode))
        }
    }
}
