//! `codex token`: one valid access token on stdout, for scripts and for programs that ask a command for their token.

use clap::Args;
use codex_auth::document::AuthDocument;
use codex_auth::manager::{Unusable, Usability};
use serde_json::json;

use crate::Outcome;
use crate::error::CommandError;
use crate::output::Output;
use crate::session::{Session, account, warnings};
use crate::status::unusable;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Report as JSON, the token included
    #[arg(long)]
    pub(crate) json: bool,

    /// Print a whole `Authorization` header
    #[arg(long, conflicts_with = "json")]
    header: bool,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Outcome {
    let session = Session::open(output)?;
    let found = session.stores.find()?;
    let document = found.stored.as_ref().map(|stored| &stored.document);
    output.head("account", account(document));
    let bearer = match (Usability::of(document, session.clock.now()), document) {
        (Usability::Usable, Some(document)) => document.bearer(),
        (Usability::Unusable(reason), _) => return Err(unusable(&reason)),
        _ => None,
    };
    let Some(bearer) = bearer else { return Err(unusable(&Unusable::NotLoggedIn)) };
    if output.is_json() {
        let notes = found.stored.iter().flat_map(|stored| &stored.notes).chain(&found.notes);
        output.report(json!({
            "token": bearer.expose(),
            "expires_at": document.and_then(AuthDocument::expires_at).map(|moment| moment.to_string()),
            "warnings": warnings(notes),
        }))?;
    } else if arguments.header {
        output.data(&format!("Authorization: Bearer {}", bearer.expose()))?;
    } else {
        output.data(bearer.expose())?;
    }
    Ok::<(), CommandError>(())
}
