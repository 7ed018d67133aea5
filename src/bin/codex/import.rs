//! `codex migrate --from-codex`: takes over the login that Codex keeps in a keychain item of its own.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::time::Duration;

use codex_auth::StoreKind;
use codex_auth::config::StoreSelection;
use codex_auth::login::{ImportOutcome, import};
use codex_auth::manager::{AccountPolicy, RefreshReason};
use codex_auth::store::{self, DocumentLocation, KeychainError, PromptPolicy};
use serde_json::json;

use crate::CommandOutcome;
use crate::context::{CommandContext, account, kept_in};
use crate::error::{CommandError, Exit};
use crate::migrate::MigrateArguments;
use crate::output::Output;
use crate::refresh::refreshed;

/// How long a person has for the dialogue of the system.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a person agrees to.
const QUESTION: &str = "\
Codex keeps a login in a keychain item of its own. To take it over, this program
reads that item once, for which the system may ask you, and refreshes its token at
once. From then on Codex's copy is worth nothing: Codex has to log in again, or to
share the file.
Take it over? [y/N]";

pub(crate) fn run(arguments: &MigrateArguments, output: &mut Output) -> CommandOutcome {
    let session = CommandContext::open(output)?;
    output.head("account", account(None));
    let keychain = session.stores.keychain();
    if keychain.shares_codexs_item() {
        return shared(&keychain.location(), output);
    }
    let choice = session.stores.choose(arguments.to.map(StoreSelection::from))?;
    session.stores.check(&choice)?;
    let dialogues = consent(arguments, output)?;
    let theirs = keychain.codexs_item(dialogues, PATIENCE).map_err(|error| guarded(error, dialogues))?;
    let theirs = theirs.ok_or_else(nothing_there)?;
    output.head("account", account(Some(&theirs.document)));
    let taken = {
        let lease = session.lease(output)?;
        import(&mut session.stores.writer(&lease)?, &choice, &theirs.document)?
    };
    if !matches!(taken, ImportOutcome::Superseded) && theirs.document.fingerprint().is_some() {
        let snapshot = session.snapshot()?;
        refreshed(RefreshReason::Forced, &snapshot, AccountPolicy::Stay, &session.deadline)
            .map_err(half_way)?;
    }
    report(&session, &taken, output)
}

/// Where every program may have the item, both use the same one.
fn shared(location: &DocumentLocation, output: &Output) -> CommandOutcome {
    if output.is_json() {
        output.report(
            json!({"taken_over": false, "shared": true, "from": location.to_string(), "warnings": []}),
        )?;
    } else {
        output.say(&format!("nothing to take over: Codex and this program share the {}", kept_in(location)));
    }
    Ok(())
}

/// Asks whoever sits at the terminal. Only somebody who was there to be asked will be there for the system's question.
fn consent(arguments: &MigrateArguments, output: &Output) -> Result<PromptPolicy, CommandError> {
    let is_terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
    if !arguments.yes {
        if !is_terminal {
            let why = "taking over the login of Codex ends it there, and there is nobody to ask";
            return Err(CommandError::new(Exit::Usage, why).hint("agree to it with --yes"));
        }
        output.say(QUESTION);
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if !["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
            return Err(CommandError::new(Exit::Failed, "nothing was taken over: you did not agree"));
        }
    }
    Ok(if is_terminal { PromptPolicy::Allowed } else { PromptPolicy::Forbidden })
}

/// Without a dialogue an item that is another program's counts as locked, whatever the keychain is.
fn guarded(error: store::Error, dialogues: PromptPolicy) -> CommandError {
    match (&error, dialogues) {
        (store::Error::Keychain(KeychainError::Locked { .. }), PromptPolicy::Forbidden) => {
            CommandError::from(error)
                .hint("or do this in a terminal of the desktop, where the system can ask you")
        }
        _ => error.into(),
    }
}

fn nothing_there() -> CommandError {
    CommandError::new(Exit::Failed, "Codex keeps no login in a keychain item of its own")
        .hint("log in here: codex login")
}

/// The copy is safe, and so far both programs have the same refresh token.
fn half_way(error: CommandError) -> CommandError {
    error.hint("the login is kept here, and Codex has the same one still; whoever refreshes first ends the other's: codex refresh")
}

fn report(session: &CommandContext, taken: &ImportOutcome, output: &Output) -> CommandOutcome {
    let found = session.stores.find()?;
    let location =
        found.stored.map_or_else(|| session.stores.keychain().location(), |stored| stored.location);
    let warnings = match taken {
        ImportOutcome::Kept(kept) => kept.notes.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    if output.is_json() {
        output.report(json!({
            "taken_over": !matches!(taken, ImportOutcome::Superseded),
            "shared": false,
            "to": location.to_string(),
            "warnings": warnings,
        }))?;
        return Ok(());
    }
    let done = match taken {
        ImportOutcome::Superseded => "the login of Codex was taken over before; it is in the",
        _ => "took over the login of Codex; it is in the",
    };
    output.say(&format!("{done} {}", kept_in(&location)));
    warnings.iter().for_each(|warning| output.warn(warning));
    if location.kind() == StoreKind::Keychain {
        output
            .say("Codex has to log in again, or to share the file (cli_auth_credentials_store = \"file\"):");
        output.say("  codex migrate --to file");
    }
    Ok(())
}
