//! `codex account`: keeps several logins in one home, and chooses between them.

mod add;
mod import;
mod list;
mod names;
mod question;
mod remove;
mod run;
mod switch;

use std::cell::RefCell;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use codex_auth::accounts::{
    self, Account, AccountEditor, AccountName, AccountReason, AccountSet, ChosenHome,
};
use codex_auth::config::HomeSetting;
use codex_auth::store::{self, LockDeadline, Waiting};
use codex_auth::{Environment, Home};
use serde_json::json;

pub(crate) use self::remove::log_out_all;

use crate::context::{CommandContext, WaitingLine};
use crate::error::{CommandError, CommandOutcome};
use crate::located;
use crate::output::{Output, path_text};

#[derive(Args, Debug)]
#[command(after_help = crate::help::ACCOUNT)]
pub(crate) struct AccountArguments {
    #[command(subcommand)]
    command: AccountCommand,
}

#[derive(Debug, Subcommand)]
enum AccountCommand {
    /// List the accounts, with the active one, their logins and pinned folders
    List(list::ListArguments),
    /// Log in to a new account; the present login becomes an account too
    Add(add::AddArguments),
    /// Make an account the active one, for every program that names none
    Use(switch::UseArguments),
    /// Show which account a command uses here, and why
    Which(list::WhichArguments),
    /// Use an account in a folder and everything below it
    Pin(names::PinArguments),
    /// Remove the pin of a folder
    Unpin(names::UnpinArguments),
    /// Give an account another name
    Rename(names::RenameArguments),
    /// Log out of an account and remove it
    Remove(remove::RemoveArguments),
    /// Run a command with an account, whichever is active
    Run(run::AccountRunArguments),
    /// Make an account of an auth.json; its token is not refreshed
    Import(import::ImportArguments),
    /// Make the active account a plain auth.json again
    Unlink(switch::UnlinkArguments),
    /// Print the names of the accounts, for completion scripts
    #[command(hide = true)]
    Names,
}

impl AccountArguments {
    pub(crate) fn json(&self) -> Option<bool> {
        match &self.command {
            AccountCommand::List(arguments) => Some(arguments.json),
            AccountCommand::Add(arguments) => Some(arguments.json()),
            AccountCommand::Use(arguments) => Some(arguments.json),
            AccountCommand::Which(arguments) => Some(arguments.json),
            AccountCommand::Remove(arguments) => Some(arguments.json),
            AccountCommand::Import(arguments) => Some(arguments.json),
            AccountCommand::Pin(arguments) => Some(arguments.json),
            AccountCommand::Unpin(arguments) => Some(arguments.json),
            AccountCommand::Rename(arguments) => Some(arguments.json),
            AccountCommand::Unlink(arguments) => Some(arguments.json),
            AccountCommand::Run(_) | AccountCommand::Names => None,
        }
    }
}

pub(crate) fn run(arguments: &AccountArguments, output: &mut Output) -> CommandOutcome {
    match &arguments.command {
        AccountCommand::List(arguments) => list::list(arguments, output),
        AccountCommand::Add(arguments) => add::run(arguments, output),
        AccountCommand::Use(arguments) => switch::run(arguments, output),
        AccountCommand::Which(arguments) => list::which(arguments, output),
        AccountCommand::Pin(arguments) => names::pin(arguments, output),
        AccountCommand::Unpin(arguments) => names::unpin(arguments, output),
        AccountCommand::Rename(arguments) => names::rename(arguments, output),
        AccountCommand::Remove(arguments) => remove::run(arguments, output),
        AccountCommand::Run(arguments) => run::run(arguments, output),
        AccountCommand::Import(arguments) => import::run(arguments, output),
        AccountCommand::Unlink(arguments) => switch::unlink(arguments, output),
        AccountCommand::Names => names::names(output),
    }
}

/// Parses the name of an account on the command line.
fn account_name(word: &str) -> Result<AccountName, String> {
    let wanted = "1 to 64 letters, digits, dots, underscores and dashes, the first a letter or digit";
    AccountName::parse(word).map_err(|_| wanted.to_owned())
}

/// The accounts of a home, for the commands that change or list them.
struct AccountContext {
    environment: Environment,
    set: AccountSet,
    deadline: LockDeadline,
}

impl AccountContext {
    /// Reads the accounts of the home that the environment names or, where that is the folder of an account, of the home
    /// around it.
    fn open(output: &mut Output) -> Result<Self, CommandError> {
        let mut environment = Environment::of_process()?;
        output.configure(&environment);
        let home = store::locate(&environment)?;
        let mut set = AccountSet::around(home.clone())?;
        if set.unlinked()?.is_some() {
            located::reconcile(set.home().clone(), &environment, output);
            set = AccountSet::open(set.home().clone())?;
        }
        if *set.home() != home {
            environment.home = HomeSetting::Named(set.home().path().to_owned());
        }
        output.set_home(json!(path_text(set.home().path())));
        let deadline = LockDeadline::after(environment.lock_timeout);
        let mut context = Self { environment, set, deadline };
        if !context.set.unlisted()?.is_empty() {
            context.recover(output);
        }
        Ok(context)
    }

    /// Lists accounts again whose list was lost. A command goes on where that is not possible now.
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "a path of the method has one lifetime, not any"
    )]
    fn recover(&mut self, output: &Output) {
        let recovered = self.edit(output, |editor| editor.recover());
        match recovered.and_then(|found| Ok((found, AccountSet::open(self.home().clone())?))) {
            Ok((found, set)) => {
                for account in &found {
                    output.inform(&format!(
                        "found the account {0} again, whose name was lost; to rename it: codex account rename {0} NAME",
                        account.name
                    ));
                }
                self.set = set;
            }
            Err(error) => output.warn(&format!("there are accounts whose list was lost: {error}")),
        }
    }

    fn home(&self) -> &Home {
        self.set.home()
    }

    fn find(&self, name: &AccountName) -> Result<Account, CommandError> {
        Ok(self.set.find(name.as_str())?.clone())
    }

    /// Returns the context of a command for the home of `account`.
    fn at(&self, account: &Account, output: &mut Output) -> Result<CommandContext, CommandError> {
        let (chosen, environment) = self.chosen(account)?;
        CommandContext::at(chosen, environment, output)
    }

    fn chosen(&self, account: &Account) -> Result<(ChosenHome, Environment), CommandError> {
        let (home, mut environment) = (self.set.home_of(account)?, self.environment.clone());
        environment.home = HomeSetting::Named(home.path().to_owned());
        let mut chosen = ChosenHome::of_home(home);
        (chosen.account, chosen.reason) = (Some(account.clone()), AccountReason::Option);
        Ok((chosen, environment))
    }

    /// Runs a change of the accounts, and says on a terminal which process it waits for.
    fn edit<T>(
        &self,
        output: &Output,
        change: impl FnOnce(&AccountEditor<'_>) -> Result<T, accounts::Error>,
    ) -> Result<T, CommandError> {
        let line = RefCell::new(WaitingLine::new(output));
        let on_wait = |waiting: &Waiting<'_>| line.borrow_mut().show(waiting);
        let editor = AccountEditor::new(&self.set, &self.environment, &self.deadline, &on_wait);
        Ok(change(&editor)?)
    }
}

/// Returns the home of the account `name` and the environment of a command for it, as `--account` chooses them.
pub(crate) fn named(name: &str, output: &mut Output) -> Result<(ChosenHome, Environment), CommandError> {
    let context = AccountContext::open(output)?;
    let account = context.set.find(name)?.clone();
    context.chosen(&account)
}

/// Says which account the present login has become.
fn tell_adopted(adopted: Option<&Account>, output: &Output) {
    if let Some(account) = adopted {
        output.inform(&format!("the login that was here is now the account {}", account.name));
        if account.name.as_str() == "default" {
            output.inform("to rename it: codex account rename default NAME");
        }
    }
}

/// Says which folders were pinned to an account that is no more.
fn tell_lost_pins(set: &AccountSet, account: &Account, output: &Output) {
    for pin in set.pins().iter().filter(|pin| pin.account == account.id) {
        output.inform(&format!("commands in {} use the active account from now on", pin.folder.display()));
    }
}

/// Returns the folder that a command names, else the working folder.
fn folder(named: Option<&PathBuf>) -> PathBuf {
    named.cloned().unwrap_or_else(|| PathBuf::from("."))
}
