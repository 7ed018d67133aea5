//! `codex token`: one valid access token on stdout, for scripts and for programs that ask a command for their token.

use clap::Args;
use codex_auth::manager::{AccountPolicy, Reason, Snapshot, Standing, Unusable, Usability};
use codex_auth::{AuthDocument, Timestamp};
use jiff::SignedDuration;
use serde_json::json;

use crate::Outcome;
use crate::error::{CommandError, Exit};
use crate::output::{Output, relative};
use crate::refresh::refreshed;
use crate::session::{Session, account, warnings};
use crate::status::unusable;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// How long the token must still be good for, for example 90s, 10m or 1h
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    min_ttl: Option<SignedDuration>,

    /// Report as JSON, the token included
    #[arg(long)]
    pub(crate) json: bool,

    /// Print a whole `Authorization` header
    #[arg(long, conflicts_with = "json")]
    header: bool,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Outcome {
    let session = Session::open(output)?;
    let snapshot = session.snapshot()?;
    let now = session.clock.now();
    let short = |snapshot: &Snapshot| {
        lasts(snapshot, now).zip(arguments.min_ttl).is_some_and(|(lasts, min)| lasts < min)
    };
    let reason = match (snapshot.standing(now), arguments.min_ttl) {
        (Standing::Fresh, Some(min)) if short(&snapshot) && refreshable(&snapshot) => {
            Some(Reason::MinTtl(min.as_secs().unsigned_abs()))
        }
        (Standing::Stale | Standing::Expired, _) if refreshable(&snapshot) => Some(Reason::Stale),
        _ => None,
    };
    let snapshot = match reason {
        None => snapshot,
        Some(reason) => match refreshed(reason, &snapshot, AccountPolicy::Follow) {
            Ok(()) => session.snapshot()?,
            // It lives still, and the authority may be back before it ends.
            Err(error) if alive(&snapshot, now) && error.kind() != Exit::LogInAgain => {
                output.warn(&format!("the token could not be refreshed: {error}"));
                snapshot
            }
            Err(error) => return Err(error),
        },
    };
    output.head("account", account(snapshot.document()));
    if short(&snapshot) {
        let end = snapshot.expires_at().map(|end| relative(end, now)).unwrap_or_default();
        output.warn(&format!("the token expires {end}, which is sooner than asked for"));
    }
    print(&snapshot, now, arguments, output)
}

fn print(snapshot: &Snapshot, now: Timestamp, arguments: &Arguments, output: &Output) -> Outcome {
    if let Usability::Unusable(reason) = Usability::of(snapshot.document(), snapshot.poison(), now) {
        return Err(unusable(&reason));
    }
    let Some(bearer) = snapshot.document().and_then(AuthDocument::bearer) else {
        return Err(unusable(&Unusable::NotLoggedIn));
    };
    if output.is_json() {
        output.report(json!({
            "token": bearer.expose(),
            "expires_at": snapshot.expires_at().map(|moment| moment.to_string()),
            "warnings": warnings(snapshot.notes()),
        }))?;
    } else if arguments.header {
        output.data(&format!("Authorization: Bearer {}", bearer.expose()))?;
    } else {
        output.data(bearer.expose())?;
    }
    Ok::<(), CommandError>(())
}

fn lasts(snapshot: &Snapshot, now: Timestamp) -> Option<SignedDuration> {
    snapshot.expires_at().map(|end| end.duration_since(now))
}

fn alive(snapshot: &Snapshot, now: Timestamp) -> bool {
    lasts(snapshot, now).is_none_or(|lasts| lasts.is_positive())
}

fn refreshable(snapshot: &Snapshot) -> bool {
    snapshot.document().and_then(AuthDocument::fingerprint).is_some()
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    let span = match text.parse::<u32>() {
        Ok(seconds) => SignedDuration::from_secs(seconds.into()),
        Err(_) => text.parse().map_err(|_| "not a time span such as 90s, 10m or 1h".to_owned())?,
    };
    if span.is_negative() { Err("a time span cannot be negative".to_owned()) } else { Ok(span) }
}
