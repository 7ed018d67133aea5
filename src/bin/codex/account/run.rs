//! `codex account run`: runs a command with the folder of an account as its home.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use clap::Args;
use codex_auth::accounts::{AccountName, prepare_home};
use codex_auth_platform::hardening;

use super::{AccountContext, account_name};
use crate::completions::ACCOUNT;
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::output::Output;
use crate::run::not_started;

#[derive(Args, Debug)]
#[command(after_help = crate::help::ACCOUNT_RUN)]
pub(super) struct AccountRunArguments {
    /// The account
    #[arg(value_parser = account_name, value_hint = ACCOUNT)]
    name: AccountName,

    /// The command, after --
    #[arg(value_name = "COMMAND", required = true, last = true)]
    command: Vec<OsString>,
}

/// Replaces this process by the command; returns only on an error.
pub(super) fn run(arguments: &AccountRunArguments, output: &mut Output) -> CommandOutcome {
    let context = AccountContext::open(output)?;
    let account = context.find(&arguments.name)?;
    let home = context.set.home_of(&account)?;
    prepare_home(&context.set, &account)?;
    let [program, words @ ..] = arguments.command.as_slice() else {
        return Err(CommandError::new(Exit::Usage, "`codex account run` needs a command after --"));
    };
    let mut command = Command::new(program);
    command.args(words).env("CODEX_HOME", home.path()).env_remove("CODEX_AUTH_ACCOUNT");
    let error = hardening::restore_inherited_settings(&mut command).exec();
    Err(not_started(program, &error))
}
