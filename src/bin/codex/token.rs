//! `codex token`: prints a valid access token, for scripts and for programs that run a command to get one.

use std::path::Path;

use clap::Args;
use codex_auth::external::ExternalToken;
use codex_auth::keeper::{Client, IssuedToken, RefreshPolicy};
use codex_auth::manager::{AccountPolicy, Snapshot, TokenDemand, Unusable};
use codex_auth::redaction;
use codex_auth::{AuthDocument, Clock, Environment, Home, Secret, Timestamp};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::choice;
use crate::context::{CommandContext, account, keeper_error, warnings};
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::fleet::removed_login;
use crate::located;
use crate::output::{Output, path_text, relative};
use crate::provider;
use crate::refresh::refreshed;
use crate::status::unusable;

#[derive(Args, Debug, Default)]
#[command(after_help = crate::help::TOKEN)]
pub(crate) struct TokenArguments {
    /// Minimum time until the token expires, for example 90s, 10m or 1h
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    min_ttl: Option<SignedDuration>,

    /// Print the token of a model provider instead, from its command in config.toml
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,

    /// Report as JSON, including the token
    #[arg(long)]
    pub(crate) json: bool,

    /// Print a whole `Authorization` header
    #[arg(long, conflicts_with = "json")]
    header: bool,
}

pub(crate) fn run(arguments: &TokenArguments, output: &mut Output) -> CommandOutcome {
    // Clap does not see a `--json` before the command.
    if arguments.header && output.is_json() {
        return Err(CommandError::new(Exit::Usage, "--json and --header exclude each other"));
    }
    if let Some(name) = &arguments.provider {
        let session = CommandContext::open(output)?;
        let token = provider::of_command(&session, name)?;
        return print_provided(name, &token, Some(&session), arguments, output);
    }
    // A process that has only a socket or a credential needs no home.
    let mut environment = Environment::of_process()?;
    let credential = provider::of_environment(&environment).filter(|_| !choice::is_named());
    if let Some(credential) = credential {
        return print_provided(credential.variable(), credential.token(), None, arguments, output);
    }
    if let Some(path) = environment.socket.as_ref().filter(|_| !choice::is_named()) {
        return print_issued(&from_socket(path, arguments)?, arguments, output);
    }
    let chosen = located::locate(&mut environment, output)?;
    // The running keeper has read the store already.
    if let Some(issued) = cached_by_keeper(&chosen.home, &environment, arguments) {
        return print_issued(&issued, arguments, output);
    }
    let session = CommandContext::at(chosen, environment, output)?;
    let snapshot = session.snapshot()?;
    let now = session.clock.now();
    let min_ttl = arguments.min_ttl.map(SignedDuration::unsigned_abs);
    let reason = snapshot.refresh_reason(min_ttl.map_or(TokenDemand::Fresh, TokenDemand::Lasting), now);
    let snapshot = match reason {
        None => snapshot,
        Some(reason) => match refreshed(reason, &snapshot, AccountPolicy::Follow, &session.deadline) {
            Ok(()) => session.snapshot()?,
            Err(error) if error.kind() == Exit::StoreUnavailable => {
                // New tokens that could not be stored are valid all the same.
                let latest = session.snapshot()?;
                if !alive(&latest, now) {
                    return Err(error);
                }
                output.warn(&error.to_string());
                latest
            }
            // The token is still valid, and the authority may be available before it expires.
            Err(error) if alive(&snapshot, now) && error.kind() != Exit::LogInAgain => {
                output.warn(&format!("the token could not be refreshed: {error}"));
                snapshot
            }
            Err(error) => return Err(error),
        },
    };
    output.head("account", account(snapshot.document()));
    warn_if_short(snapshot.expires_at(now), now, arguments, output);
    if let Some(removed) = removed_login(session.home(), snapshot.document()) {
        return Err(removed);
    }
    print(&snapshot, now, arguments, output)
}

/// Returns the token that the keeper of this home has in memory. After any other answer the store is read.
fn cached_by_keeper(
    home: &Home,
    environment: &Environment,
    arguments: &TokenArguments,
) -> Option<IssuedToken> {
    let client = Client::of(home, environment)?;
    client.token(arguments.min_ttl.map(SignedDuration::unsigned_abs), RefreshPolicy::CachedOnly).ok()
}

/// Returns a token from the keeper behind `CODEX_AUTH_SOCKET`, which refreshes it if necessary.
fn from_socket(socket: &Path, arguments: &TokenArguments) -> Result<IssuedToken, CommandError> {
    let min_ttl = arguments.min_ttl.map(SignedDuration::unsigned_abs);
    Client::at(socket).token(min_ttl, RefreshPolicy::Wait).map_err(keeper_error)
}

fn print_provided(
    name: &str,
    token: &ExternalToken,
    session: Option<&CommandContext>,
    arguments: &TokenArguments,
    output: &mut Output,
) -> CommandOutcome {
    let now = Clock::system().now();
    if !token.is_valid_at(now) {
        let expired = CommandError::new(Exit::LogInAgain, format!("the token of {name} has expired"));
        return Err(expired.hint("set another one, or unset it to use the stored login"));
    }
    output.set_home(session.map_or(Value::Null, |session| json!(path_text(session.home().path()))));
    output.head("account", Value::Null);
    warn_if_short(token.expires_at(), now, arguments, output);
    write_token(Some(name), token.access_token(), token.expires_at(), &[], arguments, output)
}

fn print_issued(issued: &IssuedToken, arguments: &TokenArguments, output: &mut Output) -> CommandOutcome {
    output.set_home(json!(issued.home));
    output.head("account", json!(issued.account));
    warn_if_short(issued.expires_at, Clock::system().now(), arguments, output);
    write_token(None, &issued.token, issued.expires_at, &[], arguments, output)
}

fn print(snapshot: &Snapshot, now: Timestamp, arguments: &TokenArguments, output: &Output) -> CommandOutcome {
    if let Some(reason) = snapshot.usability(now).reason() {
        return Err(unusable(reason));
    }
    let Some(bearer) = snapshot.document().and_then(AuthDocument::bearer) else {
        return Err(unusable(&Unusable::NotLoggedIn.into()));
    };
    write_token(None, bearer, snapshot.expires_at(now), &warnings(snapshot.notes()), arguments, output)
}

fn write_token(
    provider: Option<&str>,
    token: &Secret,
    expires_at: Option<Timestamp>,
    warnings: &[String],
    arguments: &TokenArguments,
    output: &Output,
) -> CommandOutcome {
    if !redaction::is_header_safe(token.expose()) {
        let message =
            "the token contains a character that no HTTP header can contain, so no server accepts it";
        return Err(CommandError::new(Exit::LogInAgain, message).hint("log in again: codex login"));
    }
    if output.is_json() {
        output.report(json!({
            "provider": provider,
            "token": token.expose(),
            "expires_at": expires_at.map(|moment| moment.to_string()),
            "warnings": warnings,
        }))?;
    } else if arguments.header {
        output.data(&format!("Authorization: Bearer {}", token.expose()))?;
    } else {
        output.data(token.expose())?;
    }
    Ok(())
}

fn warn_if_short(expires_at: Option<Timestamp>, now: Timestamp, arguments: &TokenArguments, output: &Output) {
    if let Some((end, min)) = expires_at.zip(arguments.min_ttl)
        && end.duration_since(now) < min
    {
        output.warn(&format!("the token expires {}, sooner than --min-ttl requires", relative(end, now)));
    }
}

fn alive(snapshot: &Snapshot, now: Timestamp) -> bool {
    snapshot.expires_at(now).is_none_or(|end| end > now)
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    let span = match text.parse::<u32>() {
        Ok(seconds) => SignedDuration::from_secs(seconds.into()),
        Err(_) => text.parse().map_err(|_| "a time span such as 90s, 10m or 1h".to_owned())?,
    };
    if span.is_negative() { Err("a time span that is not negative".to_owned()) } else { Ok(span) }
}
