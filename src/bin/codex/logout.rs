//! `codex logout`: revokes the tokens, then removes every copy of the login from this machine.

use clap::Args;
use codex_auth::error::Remedy;
use codex_auth::keeper::ExportList;
use codex_auth::manager::logout::{LogoutReport, LogoutRevocation, LogoutScope, RemovedCopy};
use codex_auth::manager::{Job, JobFailure};
use serde_json::json;

use crate::context::CommandContext;
use crate::daemon::{self, CommandEffect, DaemonArguments};
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::output::Output;
use crate::{account, child};

#[derive(Args, Debug)]
#[command(after_help = crate::help::LOGOUT)]
pub(crate) struct LogoutArguments {
    /// Remove the login even if its tokens cannot be revoked; wait at most 5 seconds for other processes
    #[arg(long, conflicts_with = "local")]
    pub(crate) force: bool,

    /// Remove the login without revoking its tokens, which stay valid until they expire
    #[arg(long)]
    pub(crate) local: bool,

    /// Log out of every account of this home
    #[arg(long)]
    pub(crate) all: bool,

    #[command(flatten)]
    daemon: DaemonArguments,

    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(arguments: &LogoutArguments, output: &mut Output) -> CommandOutcome {
    if arguments.all {
        return account::log_out_all(scope(arguments.force, arguments.local), output);
    }
    let session = CommandContext::open_for_logout(output)?;
    log_out(arguments, &session, output)
}

/// Logs out of the login of `session`.
pub(crate) fn log_out(
    arguments: &LogoutArguments,
    session: &CommandContext,
    output: &mut Output,
) -> CommandOutcome {
    let scope = scope(arguments.force, arguments.local);
    let outcome = session.run(&Job::logout(scope), child::WaitNotice::of(output))?;
    let report = outcome.into_logged_out().map_err(|failure| not_revoked(failure, "codex logout"))?;
    if !report.failed.is_empty() {
        return show(&report, scope, output);
    }
    // A running keeper does the same as soon as it notices.
    if let Err(error) = ExportList::withdraw(session.home(), session.environment.lock_timeout) {
        output.warn(&format!("a token may remain in an export: {error}"));
    }
    let show = |output: &Output| show(&report, scope, output);
    daemon::after_change(arguments.daemon, CommandEffect::Login, session.home(), None, output, show)
}

/// Returns the error for a logout by `command` that failed.
pub(crate) fn not_revoked(failure: JobFailure, command: &str) -> CommandError {
    match CommandError::from(failure) {
        error if error.kind() == Exit::TryAgain => error
            .hint("the login is still stored, so that you can try again")
            .hint(format!("to remove it without revoking its tokens: {command} --force")),
        error => error,
    }
}

/// Returns the scope that the options ask for.
pub(crate) fn scope(force: bool, local: bool) -> LogoutScope {
    match (force, local) {
        (true, _) => LogoutScope::Force,
        (_, true) => LogoutScope::Local,
        _ => LogoutScope::Revoke,
    }
}

/// Shows the warnings of a logout, and returns the error for the first copy that was not removed.
pub(crate) fn check(report: &LogoutReport, scope: LogoutScope, output: &Output) -> CommandOutcome {
    warn(report, output);
    match report.failed.first() {
        Some(first) => Err(remains(first.failure.clone(), scope)),
        None => Ok(()),
    }
}

fn show(report: &LogoutReport, scope: LogoutScope, output: &Output) -> CommandOutcome {
    if let Some(change) = &report.setting {
        output.inform(change);
    }
    if output.is_json() {
        output.report(json_report(report))?;
    } else {
        for RemovedCopy { store, location, .. } in &report.removed {
            output.inform(&format!("removed the login from the {store} store, {location}"));
        }
        if report.legacy_token_removed {
            output.inform("removed the auth_token of an old version from config.toml");
        }
        warn(report, output);
    }
    let Some(first) = report.failed.first() else {
        if !output.is_json() {
            let is_none = report.removed.is_empty() && report.revocations == LogoutRevocation::NotNeeded;
            output.inform(if is_none { "not logged in" } else { "logged out" });
        }
        return Ok(());
    };
    if !output.is_json() {
        if report.revocations == LogoutRevocation::Revoked && report.removed.is_empty() {
            output.warn("the tokens were revoked; the remaining copy is of no use");
        }
        // The first becomes the error.
        report.failed.iter().skip(1).for_each(|remaining| output.warn(&remaining.failure.message));
    }
    let failed = remains(first.failure.clone(), scope);
    Err(if output.is_json() { CommandError::reported(failed.kind()) } else { failed })
}

/// Warns of what a logout has not done.
fn warn(report: &LogoutReport, output: &Output) {
    report.notes.iter().for_each(|note| output.warn(note));
    if report.handed_in {
        output.warn(
            "this login is handed in by a keeper elsewhere, which keeps it: its tokens were not revoked",
        );
    }
    match &report.revocations {
        LogoutRevocation::NotTried => {
            output.warn("the tokens were not revoked (--local) and stay valid until they expire");
        }
        LogoutRevocation::Failed(why) => {
            output.warn(&format!("the tokens were not revoked and may stay valid until they expire: {why}"));
        }
        _ => {}
    }
}

/// Returns the error for a copy that was not removed.
fn remains(mut failure: JobFailure, scope: LogoutScope) -> CommandError {
    let again = "then run again: codex logout";
    match failure.remedy {
        Some(Remedy::UnlockKeychain | Remedy::UseFileStore) => {
            // Another store for the next login would not remove this copy.
            failure.remedy = None;
            CommandError::from(failure).hint(again)
        }
        Some(Remedy::ForceLogout) => CommandError::from(failure),
        Some(Remedy::ShareFile) => {
            failure.remedy = None;
            CommandError::from(failure)
                .hint("remove it with OpenAI's Codex, called by its path: codex --enable secret_auth_storage logout")
        }
        Some(Remedy::Wait) if scope != LogoutScope::Force => {
            CommandError::from(failure).hint("to remove it without waiting: codex logout --force")
        }
        _ => CommandError::from(failure).hint(again),
    }
}

fn json_report(report: &LogoutReport) -> serde_json::Value {
    json!({
        "logged_out": report.failed.is_empty(),
        "revoked": report.revocations == LogoutRevocation::Revoked,
        "removed": report.removed.iter().map(|removed| &removed.location).collect::<Vec<_>>(),
        "failed": report.failed.iter().map(|left| &left.failure.message).collect::<Vec<_>>(),
        "legacy_token_removed": report.legacy_token_removed,
        "handed_in": report.handed_in,
        "warnings": report.notes,
    })
}
