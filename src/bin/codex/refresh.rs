//! `codex refresh`: gets a new access token now.

use clap::Args;
use codex_auth::AuthMode;
use codex_auth::document::AuthDocument;
use codex_auth::manager::{self, AccountPolicy, Job, JobOutcome, RefreshReason, Renewal, Snapshot, Unusable};
use codex_auth::store::{LockDeadline, StorageNote};
use serde_json::json;

use crate::child;
use crate::context::{CommandContext, account, credential, warnings};
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::fleet;
use crate::output::{Output, relative};
use crate::status::unusable;

#[derive(Args, Debug)]
#[command(after_help = crate::help::REFRESH)]
pub(crate) struct RefreshArguments {
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(_arguments: &RefreshArguments, output: &mut Output) -> CommandOutcome {
    let session = CommandContext::open(output)?;
    refresh(&session, output)
}

/// Refreshes the login of `session`.
pub(crate) fn refresh(session: &CommandContext, output: &mut Output) -> CommandOutcome {
    let snapshot = session.snapshot()?;
    tracing::debug!(
        "stored: {}",
        snapshot.location().map_or_else(|| "nothing".to_owned(), ToString::to_string)
    );
    output.head("account", account(snapshot.document()));
    let mode = snapshot.document().and_then(AuthDocument::mode);
    if let Some(mode @ (AuthMode::AgentIdentity | AuthMode::ApiKey | AuthMode::PersonalAccessToken)) = mode {
        return nothing_to_do(&mode, output);
    }
    if snapshot.document().is_some_and(AuthDocument::is_handed_in) && !snapshot.is_refreshable() {
        return handed_in(session, &snapshot, output);
    }
    for note in snapshot.notes().iter().filter(|note| matches!(note, StorageNote::HardLinked { .. })) {
        output.warn(&note.to_string());
    }
    let now = session.clock.now();
    let forbidden = |snapshot: &Snapshot| match snapshot.usability(now).reason() {
        Some(reason @ manager::Error::Unusable(Unusable::Forbidden(_))) => Err(unusable(reason)),
        _ => Ok(()),
    };
    forbidden(&snapshot)?;
    tracing::debug!("refreshing in a child process");
    let job = Job::refresh(RefreshReason::Forced, &snapshot, AccountPolicy::Stay);
    let run = || session.run(&job, child::WaitNotice::of(output));
    let is_shown = snapshot.renewal() == Renewal::Fleet && !output.is_screen();
    let done = if is_shown { fleet::waiting(session, run) } else { run() };
    // Another switch may have brought the login back since.
    let was_other =
        matches!(&done, Ok(JobOutcome::Failed(failure)) if failure.is(&manager::Error::OtherAccount));
    done.map_err(CommandError::from).and_then(into_refreshed).map_err(|error| {
        if was_other || is_replaced(&snapshot, session) { other_account() } else { error }
    })?;
    // The authority may have answered with another workspace.
    let snapshot = session.snapshot()?;
    forbidden(&snapshot)?;
    let expires_at = snapshot.expires_at(now);
    if output.is_json() {
        output.report(json!({
            "refreshed": true,
            "handed_in": false,
            "expires_at": expires_at.map(|moment| moment.to_string()),
            "warnings": warnings(snapshot.notes()),
        }))?;
        return Ok(());
    }
    let aside = session.stores.rescues_set_aside();
    let until = expires_at.map(|moment| {
        let verb = if moment > now { "expires" } else { "expired" };
        format!("; the token {verb} {}", relative(moment, now))
    });
    // Which of its hosts has refreshed it is not known here.
    let what = if snapshot.renewal() == Renewal::Fleet {
        "this host has a new token of its fleet"
    } else {
        "refreshed"
    };
    output.inform(&format!("{what}{}", until.unwrap_or_default()));
    snapshot.notes().iter().chain(&aside).for_each(|note| output.warn(&note.to_string()));
    Ok(())
}

/// Whether the login is one of another account by now.
fn is_replaced(before: &Snapshot, session: &CommandContext) -> bool {
    let now = session.snapshot().ok();
    match (before.document(), now.as_ref().and_then(|now| now.document())) {
        (Some(before), Some(now)) => !now.is_same_login_as(before),
        _ => false,
    }
}

fn other_account() -> CommandError {
    let message = "another account is logged in here by now; nothing was refreshed";
    CommandError::new(Exit::TryAgain, message).hint("to refresh its token, run the same command again")
}

/// Refreshes in a child process, or adopts the token that another process has refreshed meanwhile.
pub(crate) fn refreshed(
    reason: RefreshReason,
    snapshot: &Snapshot,
    policy: AccountPolicy,
    deadline: &LockDeadline,
) -> Result<(), CommandError> {
    tracing::debug!("refreshing in a child process: {reason:?}");
    let job = Job::refresh(reason, snapshot, policy);
    into_refreshed(child::run_within(&job, child::WaitNotice::Terminal, deadline)?)
}

/// Returns the error of a refresh that failed.
fn into_refreshed(outcome: JobOutcome) -> Result<(), CommandError> {
    let is_uncommitted = matches!(outcome, JobOutcome::Uncommitted(_));
    outcome.into_refreshed().map_err(|failure| match CommandError::from(failure) {
        error if is_uncommitted => error.hint("fix that and run the command again; no token is lost"),
        error => error,
    })?;
    tracing::debug!("a fresh token is stored");
    Ok(())
}

/// Reports a login that only a keeper elsewhere can refresh; an error only if it has ended.
fn handed_in(session: &CommandContext, snapshot: &Snapshot, output: &Output) -> CommandOutcome {
    let now = session.clock.now();
    if let Some(reason) = snapshot.usability(now).reason() {
        return Err(unusable(reason));
    }
    let expires_at = snapshot.expires_at(now);
    if output.is_json() {
        output.report(json!({
            "refreshed": false,
            "handed_in": true,
            "expires_at": expires_at.map(|moment| moment.to_string()),
            "warnings": warnings(snapshot.notes()),
        }))?;
        return Ok(());
    }
    let until = expires_at.map(|moment| format!("; the token expires {}", relative(moment, now)));
    output.inform(&format!(
        "nothing to refresh: this login is handed in by a keeper elsewhere{}",
        until.unwrap_or_default()
    ));
    Ok(())
}

fn nothing_to_do(mode: &AuthMode, output: &Output) -> CommandOutcome {
    if output.is_json() {
        output.report(json!({"refreshed": false, "handed_in": false, "expires_at": null, "warnings": []}))?;
    } else {
        output.inform(&format!("nothing to refresh: logged in with {}", credential(Some(mode))));
    }
    Ok(())
}
