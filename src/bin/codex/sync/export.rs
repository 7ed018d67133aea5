//! `codex sync export`: hands in the login to containers, by a folder that the keeper serves.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use codex_auth::AuthDocument;
use codex_auth::keeper::{Export, ExportList, ExportOptions, ExportedLogin, RunningKeeper};
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
    let keeper = RunningKeeper::of(session.home());
    let problem = match &keeper {
        None => Some(
            "no keeper runs, so nothing is handed in yet; start one: codex sync install --now, or codex sync run"
                .to_owned(),
        ),
        Some(keeper) if keeper.is_older() => Some(format!(
            "{} is of an older version, which serves no exports; restart it",
            keeper.holder
        )),
        Some(keeper) if !is_served_soon(&export) => Some(format!(
            "{} has not written the export; see its log, and if it is a service: codex sync install --now",
            keeper.holder
        )),
        Some(_) => None,
    };
    if output.is_json() {
        let mut report = report(&export);
        report["warnings"] = json!(problem.into_iter().collect::<Vec<_>>());
        output.report(report)?;
        return Ok(());
    }
    output.inform(&format!("exported to {}: mount this folder read-only", export.folder.display()));
    problem.iter().for_each(|problem| output.warn(problem));
    Ok(())
}

/// Waits until the keeper serves `export`.
fn is_served_soon(export: &Export) -> bool {
    let files = vec![export.document(), export.socket()];
    let mut watch = Watch::new(files.clone());
    let ends = Instant::now() + KEEPER_WAIT;
    while !export.is_served() {
        let left = ends.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let _ = watch.wait(left);
        watch.update(files.clone());
    }
    true
}

fn list(session: &CommandContext, output: &Output) -> CommandOutcome {
    let exports = ExportList::read(session.home())?.exports;
    if output.is_json() {
        output.report(json!({"exports": exports.iter().map(report).collect::<Vec<_>>()}))?;
        return Ok(());
    }
    if exports.is_empty() {
        output.data("no exports")?;
    }
    for export in &exports {
        output.data(&export.folder.display().to_string())?;
        show(export, session, output)?;
    }
    Ok(())
}

fn show(export: &Export, session: &CommandContext, output: &Output) -> CommandOutcome {
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
    let served = if export.is_served() { "yes" } else { "no: see codex sync status" };
    fields.push(("served", served.to_owned()));
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

fn report(export: &Export) -> Value {
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
        "served": export.is_served(),
        "expires_at": written.and_then(|document| document.access_claims().expires_at).map(|end| end.to_string()),
    })
}
