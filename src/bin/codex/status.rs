//! `codex status`: shows the account, the store and the expiry, without a refresh or a network request.

use std::path::Path;

use clap::Args;
use codex_auth::accounts::{AccountReason, AccountSet};
use codex_auth::document::AuthDocument;
use codex_auth::external::EnvironmentToken;
use codex_auth::keeper::Client;
use codex_auth::manager::{self, JobFailure, LoginStatus, Unusable, Usability};
use codex_auth::redaction::printable;
use codex_auth::{AuthMode, Clock, Environment, ErrorKind};
use serde_json::json;

use crate::choice;
use crate::context::{CommandContext, account, keeper_error, location_text, selected_elsewhere, warnings};
use crate::daemon::DaemonState;
use crate::error::{CommandError, CommandOutcome, Exit, KEEPER_ELSEWHERE, LOG_IN_FIRST};
use crate::fleet::{FleetBrief, removed_login};
use crate::located;
use crate::output::{Output, Paint, path_text, plain, relative};
use crate::provider;
use crate::replaced::tell_replaced;

/// The longest reason that is shown.
const LONGEST_REASON: usize = 400;

#[derive(Args, Debug)]
#[command(after_help = crate::help::STATUS)]
pub(crate) struct StatusArguments {
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(_arguments: &StatusArguments, output: &mut Output) -> CommandOutcome {
    let mut environment = Environment::of_process()?;
    output.configure(&environment);
    let credential = provider::of_environment(&environment).filter(|_| !choice::is_named());
    let socket = environment.socket.as_ref().filter(|_| credential.is_none() && !choice::is_named());
    if let Some(socket) = socket {
        return of_keeper(socket, output);
    }
    let chosen = located::locate(&mut environment, output)?;
    let session = CommandContext::at(chosen, environment, output)?;
    let status = LoginStatus::read(&session.stores, &session.environment)?;
    let usability = status.usability();
    let (found, snapshot) = (status.find_report(), status.snapshot());
    let document = snapshot.document();
    let mode = document.and_then(AuthDocument::mode);
    output.head("account", account(document));
    // The same answer as that of `codex token`.
    let unusable = match &credential {
        Some(credential) => provider::unusable(credential, &session),
        None => usability.reason().map(ToString::to_string),
    };
    let daemon = DaemonState::look(session.home(), || Ok::<_, CommandError>(document.cloned()));
    if let Some(daemon) = &daemon {
        daemon.report(output);
    }
    let mut warnings = warnings(snapshot.notes().iter().chain(&found.notes));
    warnings.extend(credential.as_ref().map(provider::warning));

    if let (Some(account), Some(document)) = (&session.chosen.account, document)
        && let Ok(set) = AccountSet::around(session.home().clone())
    {
        tell_replaced(&set, account, document, &session.environment, output);
    }
    let fleet = FleetBrief::of(session.home(), document).unwrap_or_else(|problem| {
        warnings.push(problem);
        None
    });
    if let Some(fleet) = &fleet {
        output.head("fleet", fleet.json());
    }
    if session.chosen.reason != AccountReason::NoAccounts {
        let name = session.chosen.account.as_ref().map(|account| account.name.as_str());
        output.head("account_name", json!(name));
        output.head("account_reason", json!(session.chosen.reason.as_str()));
    }
    if output.is_json() {
        output.report(json!({
            "logged_in": mode.is_some(),
            "method": mode.as_ref().map(codex_auth::AuthMode::as_str),
            "provider": credential.as_ref().map(EnvironmentToken::variable),
            "usable": unusable.is_none(),
            "reason": unusable,
            "busy": usability.busy().filter(|_| credential.is_none()),
            "expires_at": snapshot.expires_at(session.clock.now()).map(|moment| moment.to_string()),
            "handed_in": document.is_some_and(AuthDocument::is_handed_in) && !snapshot.is_refreshable(),
            "last_refresh": document.and_then(AuthDocument::last_refresh).map(|moment| moment.to_string()),
            "store": snapshot.location().map(|location| location.kind().as_str()),
            "location": snapshot.location().map(ToString::to_string),
            "because": found.reason.to_string(),
            "warnings": warnings,
        }))?;
    } else {
        show(&session, &status, &usability, fleet.as_ref(), output)?;
        warnings.iter().for_each(|warning| output.warn(warning));
        daemon.iter().for_each(|daemon| daemon.warn(output));
    }
    match (credential, unusable) {
        (Some(_), None) => Ok(()),
        (Some(_), Some(_)) => Err(CommandError::reported(Exit::LogInAgain)),
        (None, _) => match removed_login(session.home(), document) {
            Some(removed) => Err(told(&removed, output)),
            None => verdict(&usability, output),
        },
    }
}

/// The login of the keeper behind `CODEX_AUTH_SOCKET`, which `codex token` asks too.
fn of_keeper(socket: &Path, output: &mut Output) -> CommandOutcome {
    let status = Client::at(socket).status().map_err(keeper_error)?;
    output.set_home(json!(status.home));
    output.head("account", json!(status.account));
    let why = format!("keeper at {} (CODEX_AUTH_SOCKET)", socket.display());
    let kind = status.kind.unwrap_or(ErrorKind::Failed);
    if output.is_json() {
        output.report(json!({
            "logged_in": !(status.reason.is_some() && kind == ErrorKind::NotLoggedIn),
            "method": null,
            "provider": null,
            "usable": status.reason.is_none(),
            "reason": status.reason,
            "busy": status.busy,
            "expires_at": status.expires_at.map(|moment| moment.to_string()),
            "last_refresh": null,
            "store": null,
            "location": path_text(socket),
            "because": "CODEX_AUTH_SOCKET is set",
            "warnings": [],
        }))?;
    } else {
        let now = Clock::system().now();
        let mut fields = Vec::new();
        if let Some(account) = &status.account {
            fields.extend(account.email.iter().map(|email| {
                let plan =
                    account.plan.as_ref().map(|plan| format!(" ({})", plain(plan))).unwrap_or_default();
                ("account", format!("{}{plan}", plain(email)))
            }));
            fields.extend(account.id.iter().map(|id| ("workspace", plain(id))));
        }
        fields.push(("asked", why));
        fields.extend(status.expires_at.map(|moment| ("expires", relative(moment, now))));
        fields.push(("usable", usable(status.reason.as_deref(), status.busy.as_deref(), output)));
        output.fields(&fields)?;
    }
    let Some(reason) = status.reason else { return Ok(()) };
    let failed = CommandError::from(JobFailure::new(kind, reason));
    if !output.is_json() {
        failed.hints().iter().for_each(|hint| output.hint(hint));
    }
    Err(CommandError::reported(failed.kind()))
}

/// Whether a token is available, for a person.
fn usable(reason: Option<&str>, busy: Option<&str>, output: &Output) -> String {
    let (yes, no) = (output.on_stdout("yes", Paint::Green), output.on_stdout("no", Paint::Red));
    match (reason, busy) {
        (Some(reason), _) => format!("{no}: {}", printable(reason, LONGEST_REASON)),
        (None, Some(holder)) => format!("{yes}, when {} has finished", plain(holder)),
        (None, None) => yes,
    }
}

/// `codex login status`: the sentence and the exit code of Codex, on standard error.
pub(crate) fn run_as_codex(output: &mut Output) -> CommandOutcome {
    let session = CommandContext::open(output)?;
    let status = LoginStatus::read(&session.stores, &session.environment).map_err(|error| {
        let error = CommandError::from(error);
        let failed = CommandError::new(Exit::Failed, error.to_string());
        error.hints().iter().fold(failed, CommandError::hint)
    })?;
    let Some(mode) = status.snapshot().document().and_then(AuthDocument::mode) else {
        output.say("Not logged in");
        return Err(CommandError::reported(Exit::Failed));
    };
    match mode {
        // Codex shows the ends of the key.
        AuthMode::ApiKey => {
            output.say("API key configured - ***");
            output.say("Authentication is checked when you send a request.");
        }
        AuthMode::AgentIdentity => output.say("Logged in using access token"),
        AuthMode::PersonalAccessToken => output.say("Logged in using personal access token"),
        _ => output.say("Logged in using ChatGPT"),
    }
    Ok(())
}

fn show(
    session: &CommandContext,
    status: &LoginStatus,
    usability: &Usability,
    fleet: Option<&FleetBrief>,
    output: &Output,
) -> Result<(), CommandError> {
    let now = session.clock.now();
    let snapshot = status.snapshot();
    let Some((document, location, mode)) =
        snapshot.document().and_then(|document| Some((document, snapshot.location()?, document.mode()?)))
    else {
        output.data(&match (&session.chosen.account, &session.chosen.reason) {
            (Some(account), reason) => format!("not logged in ({}, {reason})", account.name),
            (None, AccountReason::NoAccounts) => "not logged in".to_owned(),
            (None, reason) => format!("not logged in ({reason})"),
        })?;
        if let Some(fleet) = fleet {
            output.fields(&[("fleet", fleet.line(now))])?;
        }
        return Ok(());
    };
    let claims = document.claims();
    let mut fields = Vec::new();
    if session.chosen.reason != AccountReason::NoAccounts {
        let name = session.chosen.account.as_ref().map(|account| account.name.as_str());
        fields.push((
            "name",
            format!("{} ({})", name.unwrap_or("none"), plain(&session.chosen.reason.to_string())),
        ));
    }
    fields.push(("method", plain(mode.as_str())));
    if let Some(email) = &claims.email {
        let plan =
            claims.plan.as_ref().map(|plan| format!(" ({})", plain(plan.as_str()))).unwrap_or_default();
        fields.push(("account", format!("{}{plan}", plain(email))));
    }
    if let Some(id) = document.workspace() {
        let selected = selected_elsewhere(document);
        let but = selected.map(|id| format!(", while the login names {}", plain(&id))).unwrap_or_default();
        fields.push(("workspace", format!("{}{but}", plain(&id))));
    }
    if let (None, Some(bearer)) = (document.tokens(), document.bearer()) {
        fields.push(("fingerprint", bearer.fingerprint().to_string()));
    }
    fields.push(("stored in", format!("{} ({})", location_text(location), status.find_report().reason)));
    if let Some(moment) = snapshot.expires_at(now) {
        fields.push(("expires", relative(moment, now)));
    }
    fields.extend(fleet.map(|fleet| ("fleet", fleet.line(now))));
    if document.is_handed_in() && !snapshot.is_refreshable() {
        fields.push(("refresh", "this login is handed in by a keeper elsewhere".to_owned()));
    }
    if let Some(moment) = document.last_refresh() {
        fields.push(("refreshed", relative(moment, now)));
    }
    let reason = usability.reason().map(ToString::to_string);
    fields.push(("usable", usable(reason.as_deref(), usability.busy().as_deref(), output)));
    Ok(output.fields(&fields)?)
}

fn verdict(usability: &Usability, output: &Output) -> CommandOutcome {
    usability.reason().map_or(Ok(()), |reason| Err(told(&unusable(reason), output)))
}

/// Shows the hints of an error whose message the report has.
fn told(failed: &CommandError, output: &Output) -> CommandError {
    if !output.is_json() {
        failed.hints().iter().for_each(|hint| output.hint(hint));
    }
    CommandError::reported(failed.kind())
}

/// Returns the error of a command that needs a token.
pub(crate) fn unusable(reason: &manager::Error) -> CommandError {
    let failed = CommandError::from(codex_auth::Error::from(reason.clone()));
    let hint = match (reason, failed.kind()) {
        (manager::Error::Unusable(Unusable::NotLoggedIn), _) => LOG_IN_FIRST,
        (manager::Error::Unusable(Unusable::NotReplaced), _) => KEEPER_ELSEWHERE,
        (manager::Error::Unusable(Unusable::Forbidden(_)), _) => "log in as config.toml allows: codex login",
        (manager::Error::Unusable(_), Exit::LogInAgain) => "log in again: codex login",
        (manager::Error::Unusable(_), exit) => return CommandError::new(exit, reason.to_string()),
        _ => return failed,
    };
    CommandError::new(failed.kind(), reason.to_string()).hint(hint)
}
