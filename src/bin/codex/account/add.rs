//! `codex account add`: logs in to a new account.

use clap::Args;
use codex_auth::Stores;
use codex_auth::accounts::{Account, AccountName, ReservedAccount};
use codex_auth::login::LoginSession;
use serde_json::json;

use super::{AccountContext, account_name, tell_adopted};
use crate::error::CommandOutcome;
use crate::login::LoginOptions;
use crate::output::Output;

#[derive(Args, Debug)]
#[command(after_help = crate::help::ACCOUNT_ADD)]
pub(super) struct AddArguments {
    /// The name: letters, digits, dots, underscores and dashes
    #[arg(value_parser = account_name)]
    name: AccountName,

    #[command(flatten)]
    login: LoginOptions,
}

impl AddArguments {
    pub(super) fn json(&self) -> bool {
        self.login.json
    }
}

pub(super) fn run(arguments: &AddArguments, output: &mut Output) -> CommandOutcome {
    arguments.login.check()?;
    let context = AccountContext::open(output)?;
    LoginSession::check_home(&Stores::open(context.home().clone(), &context.environment)?)?;
    let ReservedAccount { account, is_new, .. } =
        context.edit(output, |editor| editor.reserve(&arguments.name))?;
    output.head("account_name", json!(account.name.as_str()));
    let others = context.set.other_homes(&account)?;
    let done = context.at(&account, output).and_then(|at| arguments.login.log_in_beside(others, at, output));
    if let Err(error) = done {
        if is_new && let Err(error) = context.edit(output, |editor| editor.withdraw(&account)) {
            // It is listed as logged out.
            tracing::debug!("the account {} was not removed again: {error}", account.name);
        }
        return Err(error.for_command(&format!("codex account add {}", arguments.name)));
    }
    settle(&context, &account, output)
}

/// Makes a login that was here before an account too, and says which account is active.
pub(super) fn settle(context: &AccountContext, account: &Account, output: &Output) -> CommandOutcome {
    let settled = context.edit(output, |editor| editor.settle(account))?;
    tell_adopted(settled.adopted.as_ref(), output);
    let name = &account.name;
    match &settled.active {
        Some(active) if active.id == account.id => output.inform(&format!("{name} is the active account")),
        Some(active) => {
            output.inform(&format!("{} stays active; to switch: codex account use {name}", active.name));
        }
        None => output.inform(&format!("to use it: codex account run {name} -- codex")),
    }
    Ok(())
}
