//! `codex account remove` and `codex logout --all`: logs out of accounts.

use clap::Args;
use codex_auth::accounts::{Account, AccountName};
use codex_auth::diagnosis::programs_using;
use codex_auth::keeper::ExportList;
use codex_auth::manager::Job;
use codex_auth::manager::logout::{LogoutReport, LogoutScope};
use codex_auth::{Home, Stores};
use serde_json::json;

use super::question::{confirm, pids};
use super::{AccountContext, account_name, check_unused, tell_lost_pins};
use crate::child;
use crate::completions::ACCOUNT;
use crate::error::{CommandError, CommandOutcome};
use crate::logout;
use crate::output::{Output, path_text};

#[derive(Args, Debug)]
#[command(after_help = crate::help::ACCOUNT_REMOVE)]
pub(super) struct RemoveArguments {
    /// The account
    #[arg(value_parser = account_name, value_hint = ACCOUNT)]
    name: AccountName,

    /// Remove it even if its tokens cannot be revoked
    #[arg(long, conflicts_with = "local")]
    force: bool,

    /// Do not revoke its tokens, which stay valid until they expire
    #[arg(long)]
    local: bool,

    /// Do not ask while other programs use the active login
    #[arg(long)]
    yes: bool,

    /// Report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(arguments: &RemoveArguments, output: &mut Output) -> CommandOutcome {
    let context = AccountContext::open(output)?;
    let account = context.find(&arguments.name)?;
    let home = context.set.home_of(&account)?;
    check_unused(&context.set, [&account])?;
    let was_active = context.set.active() == Some(&account);
    let others = if was_active { programs_using(context.home()) } else { Vec::new() };
    if !arguments.yes {
        let effect = "Its tokens are revoked: it cannot refresh them, and is refused soon.";
        confirm(&others, effect, &format!("Remove {}?", account.name), output)?;
    }
    let scope = logout::scope(arguments.force, arguments.local);
    if Stores::open(home.clone(), &context.environment)?.find()?.stored.is_some() {
        let command = format!("codex account remove {}", account.name);
        let report = log_out(&context, &home, scope, &command, output)?;
        logout::check(&report, scope, output)?;
    }
    // The list of its exports goes with its folder.
    ExportList::withdraw(&home, context.environment.lock_timeout)?;
    context.edit(output, |editor| editor.remove(&account.id))?;
    if output.is_json() {
        output.report(json!({
            "removed": account.name.as_str(),
            "was_active": was_active,
            "other_programs": others.iter().map(|other| other.pid).collect::<Vec<_>>(),
        }))?;
        return Ok(());
    }
    if !others.is_empty() {
        output.warn(&format!("Codex is running with that login ({})", pids(&others)));
    }
    output.inform(&format!("removed the account {}", account.name));
    tell_lost_pins(&context.set, &account, output);
    if was_active {
        output.inform("no account is active now; to activate one: codex account use NAME");
    }
    Ok(())
}

/// Logs out of every account of the home, and of a login that is none.
pub(crate) fn log_out_all(scope: LogoutScope, output: &mut Output) -> CommandOutcome {
    let context = AccountContext::open(output)?;
    let mut homes: Vec<(Option<&Account>, Home)> = Vec::new();
    for account in context.set.accounts() {
        homes.push((Some(account), context.set.home_of(account)?));
    }
    if context.set.active().is_none() {
        homes.push((None, context.home().clone()));
    }
    let mut reports = Vec::new();
    let mut first_failure = None;
    for (account, home) in homes {
        let name = account.map(|account| account.name.as_str());
        let done = log_out(&context, &home, scope, "codex logout --all", output)
            .and_then(|report| logout::check(&report, scope, output).map(|()| report));
        match done {
            Ok(report) => {
                let what = if report.removed.is_empty() { "was not logged in" } else { "logged out" };
                if !output.is_json() {
                    output.inform(&format!("{}: {what}", name.unwrap_or("the login of this home")));
                }
                reports.push(json!({"name": name, "home": path_text(home.path()), "logged_out": true}));
            }
            Err(error) => {
                reports.push(json!({"name": name, "home": path_text(home.path()), "logged_out": false, "reason": error.to_string(), "hints": error.hints()}));
                if !output.is_json() {
                    output.warn(&format!("{}: {error}", name.unwrap_or("the login of this home")));
                    error.hints().iter().for_each(|hint| output.hint(hint));
                }
                first_failure = first_failure.or(Some(error));
            }
        }
    }
    if output.is_json() {
        output.report(json!({"logged_out": first_failure.is_none(), "accounts": reports}))?;
    }
    match first_failure {
        Some(error) => Err(CommandError::reported(error.kind())),
        None => Ok(()),
    }
}

fn log_out(
    context: &AccountContext,
    home: &Home,
    scope: LogoutScope,
    command: &str,
    output: &Output,
) -> Result<LogoutReport, CommandError> {
    let notice = child::WaitNotice::of(output);
    let outcome = child::run_at(home, &Job::logout(scope), notice, &context.deadline)?;
    outcome.into_logged_out().map_err(|failure| logout::not_revoked(failure, command))
}
