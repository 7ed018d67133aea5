//! `codex logout`: removes every copy of the login from this machine.

use clap::Args;
use codex_auth::config::LegacyToken;
use codex_auth::manager::logout;
use serde_json::json;

use crate::Outcome;
use crate::error::{CommandError, Exit};
use crate::output::Output;
use crate::session::{Session, kept_in, warnings};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Only remove the login here; the authority is not told, and tokens live on until they expire
    #[arg(long)]
    local: bool,

    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Outcome {
    let session = Session::open(output)?;
    let revocable = |stores: &codex_auth::Stores| {
        stores
            .find()
            .ok()
            .and_then(|found| found.stored)
            .is_some_and(|stored| stored.document.fingerprint().is_some())
    };
    if !arguments.local && revocable(&session.stores) {
        return Err(CommandError::new(Exit::Usage, "this version cannot revoke tokens")
            .hint("remove the login from this machine only: codex logout --local"));
    }
    if session.stores.is_untouched()? {
        return report_nothing(output);
    }
    let lease = session.lease(output)?;
    let done = logout::local(&session.stores, &lease)?;
    let failed: Vec<_> = done
        .failed
        .iter()
        .map(|(kind, error)| format!("the {kind} store still holds the login: {error}"))
        .collect();
    if output.is_json() {
        output.report(json!({
            "logged_out": failed.is_empty(),
            "removed": done.removed.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "failed": failed,
            "legacy_token_removed": done.legacy_token == LegacyToken::Present,
            "warnings": warnings(&done.notes),
        }))?;
    } else {
        for location in &done.removed {
            output.say(&format!("removed the login from the {}", kept_in(location)));
        }
        if done.legacy_token == LegacyToken::Present {
            output.say("removed the auth_token of an old version from config.toml");
        }
        done.notes.iter().for_each(|note| output.warn(&note.to_string()));
    }
    let Some((_, error)) = done.failed.into_iter().next() else {
        if !output.is_json() {
            output.say(if done.removed.is_empty() { "not logged in" } else { "logged out" });
        }
        return Ok(());
    };
    Err(if output.is_json() { CommandError::told(CommandError::from(error).kind()) } else { error.into() })
}

fn report_nothing(output: &Output) -> Outcome {
    if output.is_json() {
        output.report(json!({
            "logged_out": true, "removed": [], "failed": [], "legacy_token_removed": false, "warnings": []
        }))?;
    } else {
        output.say("not logged in");
    }
    Ok(())
}
