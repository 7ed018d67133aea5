//! `codex login`: takes a credential from standard input and keeps it.

use std::io::{self, IsTerminal as _, Read as _};

use clap::{Args, Subcommand};
use codex_auth::claims::Claims;
use codex_auth::login::{self, INPUT_LIMIT, Kept};
use codex_auth::{AuthDocument, Secret, StoreKind, manager};
use serde_json::json;
use zeroize::Zeroizing;

use crate::error::{CommandError, Exit};
use crate::output::Output;
use crate::session::{Session, account, kept_in, store_kind, warnings};
use crate::{Outcome, status};

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// Where to keep it: keychain, file or auto (default: where the login is now, else the keychain where one is usable)
    #[arg(long, value_name = "STORE", value_parser = store_kind)]
    store: Option<StoreKind>,

    /// Read an API key from standard input
    #[arg(long)]
    with_api_key: bool,

    /// Read a personal access token (at-…) or an agent identity token from standard input
    #[arg(long, conflicts_with = "with_api_key")]
    with_access_token: bool,

    /// Report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The same as `codex status`
    Status(status::Arguments),
}

impl Arguments {
    pub(crate) fn json(&self) -> bool {
        match &self.command {
            Some(Command::Status(status)) => status.json,
            None => self.json,
        }
    }
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Outcome {
    if let Some(Command::Status(arguments)) = &arguments.command {
        return status::run(arguments, output);
    }
    let document = if arguments.with_api_key {
        AuthDocument::with_api_key(&from_stdin(
            "API key",
            "printenv OPENAI_API_KEY | codex login --with-api-key",
        )?)
    } else if arguments.with_access_token {
        let usage = "printenv CODEX_ACCESS_TOKEN | codex login --with-access-token";
        access_token(&from_stdin("access token", usage)?)?
    } else {
        return Err(CommandError::new(
            Exit::Usage,
            "this version signs in with a credential that you already have",
        )
        .hint("an API key: printenv OPENAI_API_KEY | codex login --with-api-key")
        .hint("an access token: printenv CODEX_ACCESS_TOKEN | codex login --with-access-token"));
    };

    let session = Session::open(output)?;
    let choice = session.stores.choose(arguments.store)?;
    let lease = session.lease(output)?;
    let kept = login::keep(&session.stores, &lease, &choice, &document)?;
    // What cannot be done now is for the next refresh.
    let _ = manager::finish_rescue(&lease, &session.environment);
    output.head("account", account(Some(&document)));
    report(&document, &kept, output)
}

fn report(document: &AuthDocument, kept: &Kept, output: &Output) -> Outcome {
    let mode = document.mode().map(|mode| mode.to_string());
    if output.is_json() {
        output.report(json!({
            "logged_in": true,
            "method": mode,
            "store": kept.location.kind().as_str(),
            "location": kept.location.to_string(),
            "because": kept.because.to_string(),
            "replaced": kept.superseded.is_some(),
            "removed": kept.removed.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "warnings": warnings(&kept.notes),
        }))?;
        return Ok(());
    }
    let replaced = if kept.superseded.is_some() { ", in place of the login before" } else { "" };
    output.say(&format!("logged in with {}{replaced}", mode.as_deref().unwrap_or("a credential")));
    output.say(&format!("kept in the {} ({})", kept_in(&kept.location), kept.because));
    for location in &kept.removed {
        output.say(&format!("removed the copy in the {}", kept_in(location)));
    }
    kept.notes.iter().for_each(|note| output.warn(&note.to_string()));
    Ok(())
}

/// Reads a credential that is piped in. A terminal is refused: what is typed there is seen, and ends in its history.
fn from_stdin(what: &str, usage: &str) -> Result<Secret, CommandError> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(CommandError::new(
            Exit::Usage,
            format!("the {what} is read from a pipe, and standard input is a terminal"),
        )
        .hint(usage));
    }
    // One more than the limit tells a long input from one that just fits; a buffer that grew would leave copies.
    let mut input = Zeroizing::new(Vec::with_capacity(INPUT_LIMIT + 1));
    let read = stdin.lock().take(INPUT_LIMIT as u64 + 1).read_to_end(&mut input);
    read.map_err(|error| CommandError::new(Exit::Failed, format!("cannot read standard input: {error}")))?;
    login::credential_from_input(&input).map_err(|error| {
        CommandError::new(Exit::Failed, format!("no {what} on standard input: {error}")).hint(usage)
    })
}

fn access_token(token: &Secret) -> Result<AuthDocument, CommandError> {
    if token.expose().starts_with("at-") {
        return Ok(AuthDocument::with_personal_access_token(token));
    }
    match Claims::read(token) {
        Ok(_) => Ok(AuthDocument::with_agent_identity(token)),
        Err(error) => Err(CommandError::new(
            Exit::Failed,
            format!("neither a personal access token (at-…) nor an agent identity token: {error}"),
        )),
    }
}
