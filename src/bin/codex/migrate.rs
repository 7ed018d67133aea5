//! `codex migrate`: moves the login to another store, or imports Codex's.

use clap::Args;
use codex_auth::StoreKind;
use codex_auth::accounts::AccountPlace;
use codex_auth::diagnosis::{CodexProcess, programs_using};
use codex_auth::manager::{self, AccountPolicy, RefreshReason};
use codex_auth::store::DocumentLocation;
use codex_auth::store::migrate::{self, MigrationMove, MigrationPlan, MigrationReport};
use serde_json::json;

use crate::arguments::WordParser;
use crate::context::{CommandContext, WaitingLine, account, location_text, warnings};
use crate::daemon::{self, CommandEffect, DaemonArguments};
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::output::Output;
use crate::refresh::refreshed;
use crate::{import, status};

const TARGETS: WordParser<StoreKind> = WordParser { words: &["keychain", "file"], parse: target };

#[derive(Args, Debug)]
#[command(after_help = crate::help::MIGRATE)]
pub(crate) struct MigrateArguments {
    /// The new store: keychain or file
    #[arg(long, value_name = "STORE", value_parser = TARGETS, hide_possible_values = true, required_unless_present = "from_codex")]
    pub(crate) to: Option<StoreKind>,

    /// Import the login from Codex's own keychain item (macOS)
    #[arg(long)]
    pub(crate) from_codex: bool,

    /// Import without asking for confirmation
    #[arg(long, requires = "from_codex")]
    pub(crate) yes: bool,

    /// Only show what would be done
    #[arg(long, conflicts_with = "from_codex")]
    dry_run: bool,

    #[command(flatten)]
    daemon: DaemonArguments,

    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(arguments: &MigrateArguments, output: &mut Output) -> CommandOutcome {
    let Some(to) = arguments.to.filter(|_| !arguments.from_codex) else {
        return import::run(arguments.to, arguments.yes, arguments.daemon, output);
    };
    let session = CommandContext::open(output)?;
    if let Some(account) =
        session.chosen.account.as_ref().filter(|account| account.place == AccountPlace::Folder)
    {
        let message = format!(
            "the account {} shares config.toml, which names its store, with all others",
            account.name
        );
        return Err(CommandError::new(Exit::Failed, message)
            .hint("to make it a plain login first: codex account unlink"));
    }
    let not_logged_in = || status::unusable(&codex_auth::manager::Unusable::NotLoggedIn.into());
    let plan = migrate::plan(&session.stores, to)?.ok_or_else(not_logged_in)?;
    output.head("account", account(Some(&plan.stored.document)));
    let others = programs_using(session.home());
    if !others.is_empty() {
        output.warn(&format!(
            "Codex is running with this login (pid {}); it may write to the old store until it is restarted",
            others.iter().map(|other| other.pid.to_string()).collect::<Vec<_>>().join(", ")
        ));
    }
    if arguments.dry_run {
        return preview(&session, &plan, &others, output);
    }
    refresh_before_move(&session, &plan, output)?;
    let mut line = WaitingLine::new(output);
    let done =
        manager::move_login(&session.stores, &session.environment, to, &session.deadline, |waiting| {
            line.show(waiting);
        })?
        .ok_or_else(not_logged_in)?;
    drop(line);
    let change = if done.action == MigrationMove::Copy { CommandEffect::Store } else { CommandEffect::Login };
    let report = |output: &Output| report(&plan.stored.location, &done, &others, output);
    let stored = Some(&plan.stored.document);
    daemon::after_change(arguments.daemon, change, session.home(), stored, output, report)
}

/// Refreshes a token that expires soon, so that no other program refreshes it during the move. A failure is only a
/// warning.
fn refresh_before_move(
    session: &CommandContext,
    plan: &MigrationPlan,
    output: &Output,
) -> Result<(), CommandError> {
    if let Some(lifetime) = plan.required_lifetime(session.clock.now())
        && let Err(error) = refreshed(
            RefreshReason::MinTtl(lifetime),
            &*session.snapshot()?,
            AccountPolicy::Stay,
            &session.deadline,
        )
    {
        output.warn(&format!("the token was not refreshed before the move: {error}"));
    }
    Ok(())
}

fn preview(
    session: &CommandContext,
    plan: &MigrationPlan,
    others: &[CodexProcess],
    output: &Output,
) -> CommandOutcome {
    let to = session.stores.location(plan.to);
    let setting = plan.setting.as_ref().map(|setting| format!("would {setting}"));
    if output.is_json() {
        setting.iter().for_each(|line| output.say(line));
        output.report(json!({
            "dry_run": true,
            "from": plan.stored.location.to_string(),
            "to": to.to_string(),
            "moves": plan.action == MigrationMove::Copy,
            "other_programs": others.iter().map(|other| other.pid).collect::<Vec<_>>(),
            "warnings": warnings(plan.stored.notes.iter().chain(&plan.notes)),
        }))?;
        return Ok::<(), CommandError>(());
    }
    match plan.action {
        MigrationMove::Copy => {
            output.say(&format!("would copy the login from the {}", location_text(&plan.stored.location)));
            output.say(&format!("      to the {}, read it back and compare", location_text(&to)));
            output.say("      then remove the old copy");
        }
        _ => output.say(&format!("the login is already in the {}", location_text(&plan.stored.location))),
    }
    setting.iter().for_each(|line| output.say(line));
    plan.stored.notes.iter().chain(&plan.notes).for_each(|note| output.warn(&note.to_string()));
    Ok(())
}

fn report(
    from: &DocumentLocation,
    done: &MigrationReport,
    others: &[CodexProcess],
    output: &Output,
) -> CommandOutcome {
    let left: Vec<_> = done
        .not_removed
        .iter()
        .map(|(kind, reason)| format!("a copy in the {kind} store was left: {reason}"))
        .collect();
    if let Some(setting) = &done.setting {
        output.inform(&setting.to_string());
    }
    if output.is_json() {
        output.report(json!({
            "dry_run": false,
            "from": from.to_string(),
            "to": done.location.to_string(),
            "moves": done.action == MigrationMove::Copy,
            "removed": done.removed.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "other_programs": others.iter().map(|other| other.pid).collect::<Vec<_>>(),
            "warnings": warnings(&done.notes).into_iter().chain(left).collect::<Vec<_>>(),
        }))?;
        return Ok(());
    }
    match done.action {
        MigrationMove::Copy => {
            output.inform(&format!("moved the login to the {}", location_text(&done.location)));
        }
        _ => output.inform(&format!("the login is already in the {}", location_text(&done.location))),
    }
    for location in &done.removed {
        output.inform(&format!("removed a copy from the {}", location_text(location)));
    }
    done.notes.iter().for_each(|note| output.warn(&note.to_string()));
    left.iter().for_each(|line| output.warn(line));
    Ok(())
}

fn target(word: &str) -> Result<StoreKind, String> {
    StoreKind::from_name(word).ok_or_else(|| "keychain or file".to_owned())
}
