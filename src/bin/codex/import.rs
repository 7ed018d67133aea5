//! `codex migrate --from-codex`: imports the login from Codex's own keychain item (macOS).

use std::io::{self, BufRead as _, IsTerminal as _};
use std::time::Duration;

use codex_auth::StoreKind;
use codex_auth::login::{CodexImport, ImportOutcome, ImportSource};
use codex_auth::manager::{AccountPolicy, RefreshReason};
use codex_auth::store::{self, DocumentLocation, KeychainError, PromptPolicy};
use serde_json::json;

use crate::context::{CommandContext, WaitingLine, account, location_text};
use crate::daemon::{self, DaemonArguments, LoginChange};
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::output::Output;
use crate::refresh::refreshed;

/// How long the user may take to answer the system's dialog.
const DIALOG_TIMEOUT: Duration = Duration::from_secs(120);
/// The confirmation that is asked for.
const QUESTION: &str = "\
Codex stores a login in its own keychain item. To import it, this program reads that
item once, which the system may ask you to allow, and refreshes its token at once.
That invalidates Codex's copy: Codex then has to log in again, or to share the file.
Import it? [y/N]";

/// Imports into the store `to`, or into the one that is chosen without it; `confirmed` skips the question.
pub(crate) fn run(
    to: Option<StoreKind>,
    confirmed: bool,
    daemon: DaemonArguments,
    output: &mut Output,
) -> CommandOutcome {
    let session = CommandContext::open(output)?;
    output.head("account", account(None));
    let import = match CodexImport::begin(&session.stores, to)? {
        ImportSource::Shared(location) => return shared(&location, output),
        ImportSource::Separate(import) => import,
    };
    let prompts = confirm(confirmed, output)?;
    let theirs = import.read(prompts, DIALOG_TIMEOUT).map_err(|error| not_readable(error, prompts))?;
    let theirs = theirs.ok_or_else(no_login)?.document;
    output.head("account", account(Some(&theirs)));
    let mut line = WaitingLine::new(output);
    let taken = import.commit(&theirs, &session.deadline, |waiting| line.show(waiting))?;
    if taken.needs_refresh(&theirs) {
        let snapshot = session.snapshot()?;
        refreshed(RefreshReason::Forced, &snapshot, AccountPolicy::Stay, &session.deadline)
            .map_err(not_refreshed)?;
    }
    let report = |output: &Output| report(&taken, output);
    daemon::after_change(daemon, LoginChange::Store, session.home(), Some(&theirs), output, report)
}

/// Reports that Codex and this program use the same keychain item, so that nothing is to import.
fn shared(location: &DocumentLocation, output: &Output) -> CommandOutcome {
    if output.is_json() {
        output.report(
            json!({"taken_over": false, "shared": true, "from": location.to_string(), "warnings": []}),
        )?;
    } else {
        output.inform(&format!(
            "nothing to import: Codex and this program share the {}",
            location_text(location)
        ));
    }
    Ok(())
}

/// Asks the user for confirmation. The system's dialog is allowed only if there is a terminal, so that someone can
/// answer.
fn confirm(confirmed: bool, output: &Output) -> Result<PromptPolicy, CommandError> {
    let is_terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
    if !confirmed {
        if !is_terminal {
            let why =
                "importing the login invalidates Codex's copy, and there is no terminal to confirm that";
            return Err(
                CommandError::new(Exit::Usage, why).hint("to confirm: codex migrate --from-codex --yes")
            );
        }
        output.say(QUESTION);
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if !["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
            return Err(CommandError::new(Exit::Failed, "nothing was imported: not confirmed"));
        }
    }
    Ok(if is_terminal { PromptPolicy::Allowed } else { PromptPolicy::Forbidden })
}

/// Adds a hint if the item could not be read because the system's dialog was not allowed.
fn not_readable(error: store::Error, prompts: PromptPolicy) -> CommandError {
    match (&error, prompts) {
        (store::Error::Keychain(KeychainError::Locked { .. }), PromptPolicy::Forbidden) => {
            CommandError::from(error)
                .hint("or run this in a terminal on the desktop, where the system can show its dialog")
        }
        _ => error.into(),
    }
}

fn no_login() -> CommandError {
    CommandError::new(Exit::Failed, "Codex stores no login in a keychain item of its own")
        .hint("to log in here: codex login")
}

/// Adds a hint if the login was stored but not refreshed, so that both programs have the same refresh token.
fn not_refreshed(error: CommandError) -> CommandError {
    error.hint(
        "the login was imported, but Codex still has the same refresh token, and the first to use it invalidates the \
         other's copy; to be the first: codex refresh",
    )
}

fn report(taken: &ImportOutcome, output: &Output) -> CommandOutcome {
    let location = taken.location();
    let warnings = match taken {
        ImportOutcome::Stored(kept) => kept.notes.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    if let ImportOutcome::Stored(stored) = taken
        && let Some(change) = &stored.setting
    {
        output.inform(&change.to_string());
    }
    if output.is_json() {
        output.report(json!({
            "taken_over": !matches!(taken, ImportOutcome::Superseded(_)),
            "shared": false,
            "to": location.to_string(),
            "warnings": warnings,
        }))?;
        return Ok(());
    }
    let done = match taken {
        ImportOutcome::Superseded(_) => "the login of Codex was imported before; it is in the",
        _ => "imported the login of Codex; it is in the",
    };
    output.inform(&format!("{done} {}", location_text(location)));
    warnings.iter().for_each(|warning| output.warn(warning));
    if location.kind() == StoreKind::Keychain {
        output.say("Codex has to log in again, or share the file (cli_auth_credentials_store = \"file\"):");
        output.say("  codex migrate --to file");
    }
    Ok(())
}
