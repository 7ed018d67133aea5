//! `codex sync export`: hands in the login to containers, by a folder that the keeper serves.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use codex_auth::AuthDocument;
use codex_auth::keeper::{Export, ExportList, ExportOptions, ExportedLogin, Unserved};
use codex_auth::manager::AuthManager;
use codex_auth::watch::Watch;
use serde_json::{Value, json};

use crate::context::{CommandContext, account};
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::output::{Output, path_text, relative};

/// How long a running keeper may take to serve a new export.
const KEEPER_WAIT: Duration = Duration::from_secs(5);

#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = crate::help::EXPORT
)]
pub(crate) struct ExportArguments {
    #[command(subcommand)]
    command: Option<ExportCommand>,

    /// The folder, which is created; mount it read-only into a container
    #[arg(value_name = "DIR", required = true)]
    folder: Option<PathBuf>,

    /// Let this user id read the document and use the socket too, by a POSIX access control list
    #[arg(long, value_name = "UID", value_parser = user_id)]
    uid: Option<u32>,

    /// Serve the socket to this user id only, as this machine sees it
    #[arg(long, value_name = "UID", value_parser = user_id)]
    require_uid: Option<u32>,

    /// Follow a login with another account; without it, the export ends then
    #[arg(long)]
    follow: bool,

    /// Report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum ExportCommand {
    /// Show the exports, and whether a keeper serves them
    List(ExportListArguments),
    /// End an export; a token that was handed in works until it expires
    Remove(ExportRemoveArguments),
}

#[derive(Args, Debug)]
struct ExportListArguments {
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct ExportRemoveArguments {
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// Report as JSON
    #[arg(long)]
    json: bool,
}

/// Parses a user id; the largest number means none.
fn user_id(word: &str) -> Result<u32, String> {
    let parsed = word.parse().ok().filter(|uid| *uid != u32::MAX);
    parsed.ok_or_else(|| "the number of a user, from 0 to 4294967294".to_owned())
}

impl ExportArguments {
    pub(super) fn json(&self) -> bool {
        match &self.command {
            Some(ExportCommand::List(list)) => list.json,
            Some(ExportCommand::Remove(remove)) => remove.json,
            None => self.json,
        }
    }
}

pub(super) fn run(arguments: &ExportArguments, output: &mut Output) -> CommandOutcome {
    let session = CommandContext::open(output)?;
    match (&arguments.command, &arguments.folder) {
        (Some(ExportCommand::List(_)), _) => list(&session, output),
        (Some(ExportCommand::Remove(remove)), _) => end(&remove.folder, &session, output),
        (None, Some(folder)) => {
            let (uid, require_uid, follow) = (arguments.uid, arguments.require_uid, arguments.follow);
            add(folder, ExportOptions { uid, require_uid, follow }, &session, output)
        }
        (None, None) => Err(CommandError::new(Exit::Usage, "a folder is missing for `codex sync export`")),
    }
}

/// Exports the login into each of `folders` that is not exported yet.
pub(super) fn add_all(folders: &[PathBuf], session: &CommandContext) -> CommandOutcome {
    for folder in folders {
        let known = ExportList::read(session.home())?;
        let export = new(folder, ExportOptions::default(), session)?;
        if !known.exports.iter().any(|known| known.folder == export.folder) {
            ExportList::add(session.home(), export, &session.environment)?;
        }
    }
    Ok(())
}

fn new(folder: &Path, options: ExportOptions, session: &CommandContext) -> Result<Export, CommandError> {
    let snapshot = session.snapshot()?;
    Ok(Export::new(session.home(), folder, snapshot.document(), options)?)
}

fn add(
    folder: &Path,
    options: ExportOptions,
    session: &CommandContext,
    output: &mut Output,
) -> CommandOutcome {
    output.head("account", account(session.snapshot()?.document()));
    let export = new(folder, options, session)?;
    ExportList::add(session.home(), export.clone(), &session.environment)?;
    let problem = unserved_soon(&export, session)?;
    if output.is_json() {
        let mut report = report(&export, problem.as_ref());
        report["warnings"] = json!(problem.iter().map(ToString::to_string).collect::<Vec<_>>());
        output.report(report)?;
        return Ok(());
    }
    output.inform(&format!("exported to {}: mount this folder read-only", export.folder.display()));
    problem.iter().for_each(|problem| output.warn(&problem.to_string()));
    Ok(())
}

/// Waits until the keeper serves `export`, and returns why it does not.
fn unserved_soon(export: &Export, session: &CommandContext) -> Result<Option<Unserved>, CommandError> {
    let files = vec![export.document(), export.socket()];
    let mut watch = Watch::new(files.clone());
    let ends = Instant::now() + KEEPER_WAIT;
    loop {
        let snapshot = session.snapshot()?;
        let problem = export.unserved(session.home(), &snapshot, session.clock.now());
        let left = ends.saturating_duration_since(Instant::now());
        // Nothing else changes by itself.
        if !matches!(problem, Some(Unserved::NotWritten { .. })) || left.is_zero() {
            return Ok(problem);
        }
        let _ = watch.wait(left);
        watch.update(files.clone());
    }
}

fn list(session: &CommandContext, output: &Output) -> CommandOutcome {
    let exports = ExportList::read(session.home())?.exports;
    // A login that cannot be read is a reason too.
    let manager = AuthManager::builder(session.home().clone(), session.environment.clone()).open_anyway();
    let snapshot = manager.current();
    let problem = |export: &Export| export.unserved(session.home(), &snapshot, session.clock.now());
    if output.is_json() {
        let reports: Vec<_> = exports.iter().map(|export| report(export, problem(export).as_ref())).collect();
        output.report(json!({"exports": reports}))?;
        return Ok(());
    }
    if exports.is_empty() {
        output.data("no exports")?;
    }
    for export in &exports {
        output.data(&export.folder.display().to_string())?;
        show(export, problem(export).as_ref(), session, output)?;
    }
    Ok(())
}

fn show(
    export: &Export,
    problem: Option<&Unserved>,
    session: &CommandContext,
    output: &Output,
) -> CommandOutcome {
    let now = session.clock.now();
    let login = match &export.login {
        ExportedLogin::Account { account_id, .. } => account_id.clone(),
        _ => "any account that is logged in".to_owned(),
    };
    let mut fields = vec![("account", login)];
    fields.extend(export.uid.map(|uid| ("shared with", format!("user {uid}"))));
    fields.extend(export.require_uid.map(|uid| ("socket", format!("for user {uid} only"))));
    let expires = export.written().and_then(|document| document.expires_at(now));
    fields.extend(expires.map(|end| ("expires", relative(end, now))));
    fields.push(("served", problem.map_or_else(|| "yes".to_owned(), |problem| format!("no: {problem}"))));
    Ok(output.fields(&fields)?)
}

fn end(folder: &Path, session: &CommandContext, output: &Output) -> CommandOutcome {
    let export = ExportList::remove(session.home(), folder, &session.environment)?;
    if output.is_json() {
        output.report(json!({"removed": true, "folder": path_text(&export.folder)}))?;
        return Ok(());
    }
    output.inform(&format!(
        "{} is no longer exported; a token that was handed in works until it expires",
        export.folder.display()
    ));
    Ok(())
}

fn report(export: &Export, problem: Option<&Unserved>) -> Value {
    let (account_id, user_id) = match &export.login {
        ExportedLogin::Account { account_id, user_id } => (Some(account_id), Some(user_id)),
        _ => (None, None),
    };
    let written: Option<AuthDocument> = export.written();
    json!({
        "folder": path_text(&export.folder),
        "document": path_text(&export.document()),
        "socket": path_text(&export.socket()),
        "uid": export.uid,
        "require_uid": export.require_uid,
        "follow": export.login == ExportedLogin::Follow,
        "account_id": account_id,
        "user_id": user_id,
        "served": problem.is_none(),
        "problem": problem.map(ToString::to_string),
        "expires_at": written.and_then(|document| document.access_claims().expires_at).map(|end| end.to_string()),
    })
}
