//! `codex account import`: makes an account of the `auth.json` of another folder or program.

use std::path::PathBuf;

use clap::Args;
use codex_auth::Stores;
use codex_auth::accounts::{AccountImport, AccountName};
use codex_auth::login::LoginSession;
use serde_json::json;

use super::add::settle;
use super::{AccountContext, account_name};
use crate::context::account as identity;
use crate::error::CommandOutcome;
use crate::output::{Output, path_text, plain};

#[derive(Args, Debug)]
#[command(after_help = crate::help::ACCOUNT_IMPORT)]
pub(super) struct ImportArguments {
    /// The file, or a folder with an auth.json
    #[arg(value_name = "FILE|DIR")]
    path: PathBuf,

    /// The name of the account (default: the part of its e-mail address before the @)
    #[arg(value_parser = account_name)]
    name: Option<AccountName>,

    /// Only show what would be done
    #[arg(long)]
    dry_run: bool,

    /// Report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(arguments: &ImportArguments, output: &mut Output) -> CommandOutcome {
    let context = AccountContext::open(output)?;
    LoginSession::check_home(&Stores::open(context.home().clone(), &context.environment)?)?;
    let import = AccountImport::read(&context.set, &arguments.path, &context.environment)?;
    output.head("account", identity(Some(&import.document)));
    let wanted = match &arguments.name {
        Some(name) => name.clone(),
        None => import.suggested_name()?,
    };
    let who = import.document.claims().email.as_deref().map(|email| format!(" ({})", plain(email)));
    let who = who.unwrap_or_default();
    if arguments.dry_run {
        let name = match context.set.find(wanted.as_str()) {
            Ok(_) if arguments.name.is_some() => {
                return Err(codex_auth::accounts::Error::NameTaken { name: wanted }.into());
            }
            _ => wanted,
        };
        if output.is_json() {
            output
                .report(json!({"dry_run": true, "name": name.as_str(), "from": path_text(&import.path)}))?;
        } else {
            output.say(&format!("would import {} as the account {name}{who}", import.path.display()));
        }
        return Ok(());
    }
    let account = context.edit(output, |editor| editor.import(&import, arguments.name.as_ref()))?;
    output.inform(&format!("imported {} as the account {}{who}", import.path.display(), account.name));
    if import.document.fingerprint().is_some() {
        output.warn(&format!(
            "{} has the same refresh token, which works once: do not use that copy any more",
            import.path.display()
        ));
    }
    settle(&context, &account, output)?;
    if output.is_json() {
        output.report(
            json!({"dry_run": false, "name": account.name.as_str(), "from": path_text(&import.path)}),
        )?;
    }
    Ok(())
}
