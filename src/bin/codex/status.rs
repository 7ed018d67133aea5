//! `codex status`: who is logged in, how, where and until when. It never refreshes and never leaves the machine.

use clap::Args;
use codex_auth::document::AuthDocument;
use codex_auth::external::EnvironmentToken;
use codex_auth::manager::{Unusable, Usability};
use codex_auth::store::{Found, State};
use serde_json::json;

use crate::error::{CommandError, Exit};
use crate::output::{Output, Paint, plain, relative};
use crate::session::{Session, account, kept_in, selected_elsewhere, warnings};
use crate::{Outcome, provider};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(_arguments: &Arguments, output: &mut Output) -> Outcome {
    let session = Session::open(output)?;
    let found = session.stores.find()?;
    let now = session.clock.now();
    let document = found.stored.as_ref().map(|stored| &stored.document);
    let (state, _) = State::read(session.home())?;
    let restrictions = &session.stores.settings().config.restrictions;
    let usability =
        Usability::of(document, state.poison.as_ref(), state.logging_out, now).under(restrictions, document);
    let notes: Vec<_> = found.stored.iter().flat_map(|stored| &stored.notes).chain(&found.notes).collect();
    output.head("account", account(document));
    let credential = provider::of_environment(&session.environment);
    // What `codex token` would say.
    let unusable = match &credential {
        Some(credential) => provider::unusable(credential, &session),
        None => reason(&usability),
    };
    let mut warnings = warnings(notes);
    warnings.extend(credential.as_ref().map(provider::warning));

    if output.is_json() {
        let mode = document.and_then(AuthDocument::mode);
        output.report(json!({
            "logged_in": usability != Usability::Unusable(Unusable::NotLoggedIn),
            "method": mode.as_ref().map(codex_auth::AuthMode::as_str),
            "provider": credential.as_ref().map(EnvironmentToken::variable),
            "usable": unusable.is_none(),
            "reason": unusable,
            "expires_at": document.and_then(|document| document.expires_at(now)).map(|moment| moment.to_string()),
            "last_refresh": document.and_then(AuthDocument::last_refresh).map(|moment| moment.to_string()),
            "store": found.stored.as_ref().map(|stored| stored.location.kind().as_str()),
            "location": found.stored.as_ref().map(|stored| stored.location.to_string()),
            "because": found.because.to_string(),
            "warnings": warnings,
        }))?;
    } else {
        show(&session, &found, &usability, output)?;
        warnings.iter().for_each(|warning| output.warn(warning));
    }
    match (credential, unusable) {
        (Some(_), None) => Ok(()),
        (Some(_), Some(_)) => Err(CommandError::told(Exit::LogInAgain)),
        (None, _) => verdict(&usability, output),
    }
}

fn show(
    session: &Session,
    found: &Found,
    usability: &Usability,
    output: &Output,
) -> Result<(), CommandError> {
    let now = session.clock.now();
    let Some((stored, mode)) =
        found.stored.as_ref().and_then(|stored| Some((stored, stored.document.mode()?)))
    else {
        output.data("not logged in")?;
        return Ok(());
    };
    let document = &stored.document;
    let claims = document.claims();
    let mut fields = vec![("method", plain(mode.as_str()))];
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
    fields.push(("kept in", format!("{} ({})", kept_in(&stored.location), found.because)));
    if let Some(moment) = document.expires_at(now) {
        fields.push(("expires", relative(moment, now)));
    }
    if let Some(moment) = document.last_refresh() {
        fields.push(("refreshed", relative(moment, now)));
    }
    fields.push((
        "usable",
        match reason(usability) {
            None => output.on_stdout("yes", Paint::Green),
            Some(reason) => format!("{}: {reason}", output.on_stdout("no", Paint::Red)),
        },
    ));
    Ok(output.fields(&fields)?)
}

fn reason(usability: &Usability) -> Option<String> {
    match usability {
        Usability::Unusable(reason) => Some(reason.to_string()),
        _ => None,
    }
}

fn verdict(usability: &Usability, output: &Output) -> Outcome {
    match usability {
        Usability::Unusable(reason) => {
            let failed = unusable(reason);
            if !output.is_json() {
                failed.hints().iter().for_each(|hint| output.say(&format!("hint: {hint}")));
            }
            Err(CommandError::told(failed.kind()))
        }
        _ => Ok(()),
    }
}

/// Why no token can be had, as an error of a command.
pub(crate) fn unusable(reason: &Unusable) -> CommandError {
    let (exit, hint) = match reason {
        Unusable::NotLoggedIn => (Exit::Failed, Some("log in first: codex login")),
        Unusable::LoggingOut | Unusable::NotABearer(_) | Unusable::NotRefreshable(_) => (Exit::Failed, None),
        Unusable::Forbidden(_) => {
            (Exit::LogInAgain, Some("log in for a workspace that is allowed: codex login"))
        }
        _ => (Exit::LogInAgain, Some("log in again: codex login")),
    };
    let failed = CommandError::new(exit, reason.to_string());
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}
