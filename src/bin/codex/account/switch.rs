//! `codex account use` and `unlink`: change what `auth.json` of the home leads to.

use std::path::PathBuf;

use clap::Args;
use codex_auth::accounts::{
    Account, AccountName, Activation, ActiveLink, ChosenHome, FOREIGN_REFRESH, ForeignLink, required_lifetime,
};
use codex_auth::diagnosis::{CodexProcess, programs_using};
use codex_auth::manager::{AccountPolicy, AuthManager, Job, JobOutcome, RefreshReason};
use codex_auth::{Clock, Environment, Home, Stores};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::question::{ask, can_ask, confirm, pids};
use super::{AccountContext, account_name, check_unused, tell_adopted, tell_lost_pins};
use crate::completions::ACCOUNT;
use crate::daemon::{self, CommandEffect, DaemonArguments};
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::output::{Output, path_text};
use crate::{child, runtime};

#[derive(Args, Debug)]
#[command(after_help = crate::help::ACCOUNT_USE)]
pub(super) struct UseArguments {
    /// The account
    #[arg(value_parser = account_name, value_hint = ACCOUNT)]
    name: AccountName,

    /// Do not ask while other programs use the active login, or before a link auth.json of yours is replaced
    #[arg(long)]
    yes: bool,

    /// Do not wait for a refresh that a running Codex may have begun
    #[arg(long)]
    now: bool,

    #[command(flatten)]
    daemon: DaemonArguments,

    /// Report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = crate::help::ACCOUNT_UNLINK)]
pub(super) struct UnlinkArguments {
    /// Report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Whether the token of the outgoing login was refreshed before the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutgoingRefresh {
    NotNeeded,
    Refreshed,
}

#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "a path of the method has one lifetime, not any"
)]
pub(super) fn run(arguments: &UseArguments, output: &mut Output) -> CommandOutcome {
    let context = AccountContext::open(output)?;
    let account = context.find(&arguments.name)?;
    let others = programs_using(context.home());
    let is_active = context.set.active() == Some(&account);
    let link = match context.set.link() {
        ActiveLink::Elsewhere(target) => Some(target),
        _ => None,
    };
    let foreign = match link {
        Some(_) if arguments.yes || can_ask() => ForeignLink::Replace,
        _ => ForeignLink::Keep,
    };
    context.edit(output, |editor| editor.check_activation(&account, foreign))?;
    if !is_active && !arguments.yes {
        let effect = "It goes on with that login until it is restarted, and new programs use the other one.";
        confirm(&others, effect, &format!("Switch to {}?", arguments.name), output)?;
    }
    if let Some(target) = link.filter(|_| !arguments.yes) {
        output.say(&format!(
            "{} is a link to {}, which is not an account of this home",
            context.home().document().display(),
            target.display()
        ));
        ask(&format!("Replace the link by one to {}?", arguments.name), output)?;
    }
    if !is_active {
        tell_adopted(context.edit(output, |editor| editor.adopt())?.as_ref(), output);
        let refreshed = refresh_outgoing(&context, output)?;
        if refreshed == OutgoingRefresh::Refreshed && !others.is_empty() && !arguments.now {
            wait_for_others(&others, output)?;
        }
    }
    let activation = context.edit(output, |editor| editor.activate(&account, foreign))?;
    let stored = Stores::open(context.home().clone(), &context.environment)?.find()?.stored;
    let stored = stored.map(|stored| stored.document);
    let done = Switch { account: &account, activation: &activation, link, others: &others };
    let report = |output: &Output| report(&done, context.home(), stored.is_some(), output);
    daemon::after_change(
        arguments.daemon,
        CommandEffect::Login,
        context.home(),
        stored.as_ref(),
        output,
        report,
    )
}

/// Refreshes the token of the active login if it expires soon. A failure is only a warning, because the switch loses
/// nothing that our own processes do.
fn refresh_outgoing(context: &AccountContext, output: &Output) -> Result<OutgoingRefresh, CommandError> {
    let manager = AuthManager::builder(context.home().clone(), context.environment.clone());
    // Without a readable login there is nothing to refresh.
    let Ok(manager) = manager.open() else { return Ok(OutgoingRefresh::NotNeeded) };
    let snapshot = manager.current();
    let required =
        snapshot.document().and_then(|document| required_lifetime(document, Clock::system().now()));
    let Some(required) = required else { return Ok(OutgoingRefresh::NotNeeded) };
    let job = Job::refresh(RefreshReason::MinTtl(required), &snapshot, AccountPolicy::Stay);
    let done = child::run_at(context.home(), &job, child::WaitNotice::Terminal, &context.deadline);
    match done.and_then(JobOutcome::into_refreshed) {
        Ok(()) => Ok(OutgoingRefresh::Refreshed),
        Err(failure) => {
            output.warn(&format!("the token of the active account was not refreshed: {}", failure.message));
            Ok(OutgoingRefresh::NotNeeded)
        }
    }
}

/// Waits until a refresh that another program began before ours is stored or refused.
fn wait_for_others(others: &[CodexProcess], output: &Output) -> CommandOutcome {
    output.inform(&format!(
        "waiting {} s for a refresh that Codex ({}) may have begun; --now skips this",
        FOREIGN_REFRESH.as_secs(),
        pids(others)
    ));
    runtime::run(async {
        let interrupt = signal(SignalKind::interrupt());
        let mut interrupt =
            interrupt.map_err(|error| CommandError::cannot_start("a signal handler", &error))?;
        tokio::select! {
            () = tokio::time::sleep(FOREIGN_REFRESH) => Ok(()),
            _ = interrupt.recv() => {
                Err(CommandError::new(Exit::Interrupted, "interrupted; nothing was switched"))
            }
        }
    })
}

/// Returns why commands here use another account than `account`, if they do.
fn choice_here(account: &Account) -> Option<String> {
    let here = ChosenHome::find(&Environment::of_process().ok()?, None).ok()?;
    let other = here.account.filter(|other| other.id != account.id)?;
    Some(format!("commands here use the account {} all the same: {}", other.name, here.reason))
}

/// What `codex account use` has done.
struct Switch<'a> {
    account: &'a Account,
    activation: &'a Activation,
    /// Where the link of the user's led that was replaced.
    link: Option<&'a PathBuf>,
    others: &'a [CodexProcess],
}

fn report(done: &Switch<'_>, home: &Home, is_logged_in: bool, output: &Output) -> CommandOutcome {
    let Switch { account, activation, link, others } = done;
    let from = match activation {
        Activation::Switched { from } => from.as_ref().map(|from| from.name.as_str()),
        _ => None,
    };
    let is_switched = **activation != Activation::Unchanged;
    let name = &account.name;
    let mut warnings: Vec<_> = choice_here(account).into_iter().collect();
    if !is_logged_in {
        warnings.push(format!("it is not logged in; to log in: codex login --account {name}"));
    }
    if is_switched && !others.is_empty() {
        warnings.push(format!(
            "Codex is running ({}) and keeps the other account until it is restarted; if it is refreshing that \
             account's token at this moment, that account may have to log in again",
            pids(others)
        ));
    }
    if output.is_json() {
        output.report(json!({
            "active": name.as_str(),
            "switched": is_switched,
            "before": from,
            "replaced_link": link.map(|target| path_text(target)),
            "other_programs": others.iter().map(|other| other.pid).collect::<Vec<_>>(),
            "warnings": warnings,
        }))?;
        return Ok(());
    }
    match (is_switched, from) {
        (false, _) => output.inform(&format!("{name} is active already")),
        (true, Some(from)) => output.inform(&format!("{name} is active now, instead of {from}")),
        (true, None) => output.inform(&format!("{name} is active now")),
    }
    if let Some(target) = link {
        let document = home.document();
        output.inform(&format!("{} was a link to {}, which stays", document.display(), target.display()));
    }
    warnings.iter().for_each(|warning| output.warn(warning));
    Ok(())
}

#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "a path of the method has one lifetime, not any"
)]
pub(super) fn unlink(_arguments: &UnlinkArguments, output: &mut Output) -> CommandOutcome {
    let context = AccountContext::open(output)?;
    check_unused(&context.set, context.set.active())?;
    let account = context.edit(output, |editor| editor.unlink())?;
    if output.is_json() {
        output.report(json!({"unlinked": account.name.as_str()}))?;
        return Ok(());
    }
    output.inform(&format!(
        "{} is a file again, with the login of {}, which is no account any more",
        context.home().document().display(),
        account.name
    ));
    tell_lost_pins(&context.set, &account, output);
    Ok(())
}
