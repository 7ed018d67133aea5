//! `codex account pin`, `unpin` and `rename`: what is in `accounts.toml` and nowhere else.

use std::path::PathBuf;

use clap::Args;
use codex_auth::Environment;
use codex_auth::accounts::{AccountName, AccountSet, Error};
use codex_auth::store::{self, Removal};
use serde_json::json;

use super::{AccountContext, account_name, folder};
use crate::completions::ACCOUNT;
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::output::{Output, path_text};

#[derive(Args, Debug)]
#[command(after_help = crate::help::ACCOUNT_PIN)]
pub(super) struct PinArguments {
    /// The account
    #[arg(value_parser = account_name, value_hint = ACCOUNT)]
    name: AccountName,

    /// The folder (default: the working folder)
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,

    /// Report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = crate::help::ACCOUNT_UNPIN)]
pub(super) struct UnpinArguments {
    /// The folder (default: the working folder)
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,

    /// Report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = crate::help::ACCOUNT_RENAME)]
pub(super) struct RenameArguments {
    /// The account
    #[arg(value_parser = account_name, value_hint = ACCOUNT)]
    name: AccountName,

    /// Its new name
    #[arg(value_parser = account_name)]
    new_name: AccountName,

    /// Report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn pin(arguments: &PinArguments, output: &mut Output) -> CommandOutcome {
    let context = AccountContext::open(output)?;
    let account = context.find(&arguments.name)?;
    let folder = folder(arguments.folder.as_ref());
    let pin = context.edit(output, |editor| editor.pin(&account.id, &folder))?;
    if output.is_json() {
        output.report(json!({"name": account.name.as_str(), "pinned": path_text(&pin.folder)}))?;
        return Ok(());
    }
    output.inform(&format!("commands in {} use the account {}", pin.folder.display(), account.name));
    Ok(())
}

pub(super) fn unpin(arguments: &UnpinArguments, output: &mut Output) -> CommandOutcome {
    let context = AccountContext::open(output)?;
    let named = folder(arguments.folder.as_ref());
    match context.edit(output, |editor| editor.unpin(&named))? {
        Removal::Removed if output.is_json() => output.report(json!({"unpinned": path_text(&named)}))?,
        Removal::Removed => output.inform("removed the pin"),
        Removal::Absent => {
            let message = format!("no account is pinned to {}", named.display());
            return Err(CommandError::new(Exit::Failed, message).hint("to see the pins: codex account list"));
        }
    }
    Ok(())
}

/// Prints the names, and nothing if they cannot be read.
pub(super) fn names(output: &Output) -> CommandOutcome {
    let environment = Environment::of_process()?;
    if let Ok(set) = store::locate(&environment).map_err(Error::from).and_then(AccountSet::around) {
        set.accounts().try_for_each(|account| output.data(account.name.as_str()))?;
    }
    Ok(())
}

pub(super) fn rename(arguments: &RenameArguments, output: &mut Output) -> CommandOutcome {
    let context = AccountContext::open(output)?;
    let account = context.find(&arguments.name)?;
    context.edit(output, |editor| editor.rename(&account.id, &arguments.new_name))?;
    if output.is_json() {
        output.report(json!({"before": account.name.as_str(), "name": arguments.new_name.as_str()}))?;
        return Ok(());
    }
    output.inform(&format!("{} is now called {}", account.name, arguments.new_name));
    Ok(())
}
