//! The messages of `codex login`: the account, the store, and what happens to the tokens of an older login.

use codex_auth::AuthDocument;
use codex_auth::authority::{Profile, RevocationOutcome};
use codex_auth::login::{OldLoginPolicy, RevocationSkipped, StoreReport, SupersedeOutcome};
use codex_auth::store::StoredDocument;
use serde_json::{Value, json};

use crate::context::{credential, location_text, warnings};
use crate::error::CommandOutcome;
use crate::output::{Output, plain};

/// A login that was stored.
pub(super) struct LoginReport<'a> {
    pub(super) document: &'a AuthDocument,
    pub(super) kept: &'a StoreReport,
    /// What happened to the tokens of the older login; `None` after an interruption.
    pub(super) superseded: Option<&'a SupersedeOutcome>,
}

/// Says who is logged in, and what will happen to the tokens of that login.
pub(super) fn logged_in_before(stored: &StoredDocument, policy: OldLoginPolicy, output: &Output) {
    output.inform(&format!("{} is logged in here until the new login is stored", who(&stored.document)));
    old_tokens(&stored.document, policy, output);
}

/// Says what will happen to the tokens of the `old` login, and which option changes that.
pub(super) fn old_tokens(old: &AuthDocument, policy: OldLoginPolicy, output: &Output) {
    if old.fingerprint().is_none() {
        return;
    }
    output.inform(match policy {
        OldLoginPolicy::RevokeAlways => "the tokens of the old login are revoked (--revoke-old)",
        OldLoginPolicy::Keep => "the tokens of the old login stay valid until they expire (--keep-old)",
        _ => {
            "the tokens of the old login are revoked if it is of the same account; --keep-old leaves them valid, \
             --revoke-old revokes those of another account too"
        }
    });
}

/// Says whose token was handed in.
pub(super) fn verified(profile: &Profile, output: &Output) {
    if let Some(owner) = profile.email.as_ref().or(profile.account_id.as_ref()) {
        output.inform(&format!("the token belongs to {}", plain(owner)));
    }
}

/// Says that the login is stored, before the old tokens are revoked.
pub(super) fn logged_in(document: &AuthDocument, kept: &StoreReport, output: &Output) {
    if let Some(change) = &kept.setting {
        output.inform(&change.to_string());
    }
    if output.is_json() {
        return;
    }
    let account = match document.tokens() {
        Some(_) => format!("logged in as {}", who(document)),
        None => format!("logged in with {}", credential(document.mode().as_ref())),
    };
    let replaced = if kept.superseded.is_some() { ", in place of the old login" } else { "" };
    output.inform(&format!("{account}{replaced}"));
    output.inform(&format!("stored in the {} ({})", location_text(&kept.location), kept.reason));
    for location in &kept.removed {
        output.inform(&format!("removed the copy in the {}", location_text(location)));
    }
    kept.notes.iter().for_each(|note| output.warn(&note.to_string()));
}

/// Says what happened to the old tokens, or reports everything as JSON.
pub(super) fn ended(report: &LoginReport<'_>, output: &Output) -> CommandOutcome {
    let LoginReport { document, kept, superseded } = report;
    let old = kept.superseded.as_ref().map(who).unwrap_or_default();
    if !output.is_json() {
        match superseded {
            Some(SupersedeOutcome::NothingToRevoke) => {}
            Some(SupersedeOutcome::Failed(_)) | None => output.warn(&outcome_text(*superseded, &old)),
            Some(_) => output.inform(&outcome_text(*superseded, &old)),
        }
        return Ok(());
    }
    let mut warnings = warnings(&kept.notes);
    if matches!(superseded, Some(SupersedeOutcome::Failed(_)) | None) {
        warnings.push(outcome_text(*superseded, &old));
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
        "warnings": warnings,
    }))?;
    Ok(())
}

fn outcome_text(superseded: Option<&SupersedeOutcome>, old: &str) -> String {
    let flag = "`codex login --revoke-old` would have revoked them";
    match superseded {
        Some(SupersedeOutcome::Revoked(RevocationOutcome::AlreadyInvalid)) => {
            "the tokens of the old login were invalid already".to_owned()
        }
        Some(SupersedeOutcome::Revoked(_)) => "revoked the tokens of the old login".to_owned(),
        Some(SupersedeOutcome::Skipped(RevocationSkipped::ByPolicy)) => {
            format!("the tokens of the old login ({old}) stay valid until they expire (--keep-old)")
        }
        Some(SupersedeOutcome::Skipped(RevocationSkipped::OtherAccount)) => {
            format!("the old login was of another account ({old}), so its tokens stay valid; {flag}")
        }
        Some(SupersedeOutcome::Skipped(_)) => {
            format!("the old login ({old}) does not name its account, so its tokens stay valid; {flag}")
        }
        Some(SupersedeOutcome::Failed(error)) => {
            format!("the tokens of the old login are not revoked yet; the next refresh or login tries again: {error}")
        }
        _ => "interrupted before the tokens of the old login were revoked; the next refresh or login revokes them"
            .to_owned(),
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

/// Returns the e-mail address and plan of a login, else its account, else the kind of credential.
fn who(document: &AuthDocument) -> String {
    let claims = document.claims();
    let name = claims.email.clone().or_else(|| document.identity().account_id);
    let name = name.map(|name| plain(&name));
    match (name, &claims.plan) {
        (Some(name), Some(plan)) => format!("{name} ({})", plain(plan.as_str())),
        (Some(name), None) => name,
        (None, _) => format!("a login with {}", credential(document.mode().as_ref())),
    }
}
