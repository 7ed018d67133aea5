//! `codex account pin`, `unpin` and `rename`: what is in `accounts.toml` and nowhere else.

use std::path::PathBuf;

use clap::Args;
use codex_auth::accounts::AccountName;
use codex_auth::store::Removal;

use super::{AccountContext, account_name, folder};
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::output::Output;

#[derive(Args, Debug)]
#[command(after_help = crate::help::ACCOUNT_PIN)]
pub(super) struct PinArguments {
    /// The account
    #[arg(value_parser = account_name)]
    name: AccountName,

    /// The folder (default: the working folder)
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = crate::help::ACCOUNT_UNPIN)]
pub(super) struct UnpinArguments {
    /// The folder (default: the working folder)
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = crate::help::ACCOUNT_RENAME)]
pub(super) struct RenameArguments {
    /// The account
    #[arg(value_parser = account_name)]
    name: AccountName,

    /// Its new name
    #[arg(value_parser = account_name)]
    new_name: AccountName,
}

pub(super) fn pin(arguments: &PinArguments, output: &mut Output) -> CommandOutcome {
    let context = AccountContext::open(output)?;
    let account = context.find(&arguments.name)?;
    let folder = folder(arguments.folder.as_ref());
    let pin = context.edit(output, |editor| editor.pin(&account.id, &folder))?;
    output.inform(&format!("commands in {} use the account {}", pin.folder.display(), account.name));
    Ok(())
}

pub(super) fn unpin(arguments: &UnpinArguments, output: &mut Output) -> CommandOutcome {
    let context = AccountContext::open(output)?;
    let named = folder(arguments.folder.as_ref());
    match context.edit(output, |editor| editor.unpin(&named))? {
        Removal::Removed => output.inform("removed the pin"),
        Removal::Absent => {
            let message = format!("no account is pinned to {}", named.display());
            return Err(CommandError::new(Exit::Failed, message).hint("to see the pins: codex account list"));
        }
    }
    Ok(())
}

pub(super) fn rename(arguments: &RenameArguments, output: &mut Output) -> CommandOutcome {
    let context = AccountContext::open(output)?;
    let account = context.find(&arguments.name)?;
    context.edit(output, |editor| editor.rename(&account.id, &arguments.new_name))?;
    output.inform(&format!("{} is now called {}", account.name, arguments.new_name));
    Ok(())
}
