//! `codex sync`: runs the keeper in the foreground or as a user service, and shows its status.

mod export;
mod run;
mod service;
mod status;
mod supervisor;
mod upgrade;

use clap::{Args, Subcommand};

pub(crate) use self::run::keep_beside;
pub(crate) use self::service::Installation;
pub(crate) use self::status::continue_or_end;

use crate::error::CommandOutcome;
use crate::output::Output;

#[derive(Args, Debug)]
#[command(after_help = crate::help::SYNC)]
pub(crate) struct SyncArguments {
    #[command(subcommand)]
    command: SyncCommand,
}

#[derive(Debug, Subcommand)]
enum SyncCommand {
    /// Keep the login and all accounts fresh until interrupted; a second keeper stands by
    Run(run::KeeperArguments),
    /// Start the keeper at every login: a systemd user unit, or a launchd agent on macOS
    Install(service::Install),
    /// Stop the keeper and remove its service
    Uninstall(service::Uninstall),
    /// Hand in the login to containers: a folder with an access token and a socket, without the refresh token
    Export(export::ExportArguments),
    /// Show whether a keeper runs, and when it refreshes next, for each account
    Status(status::SyncStatusArguments),
}

impl SyncArguments {
    pub(crate) fn json(&self) -> Option<bool> {
        match &self.command {
            SyncCommand::Run(_) | SyncCommand::Install(_) | SyncCommand::Uninstall(_) => None,
            SyncCommand::Export(export) => Some(export.json()),
            SyncCommand::Status(status) => Some(status.json),
        }
    }
}

pub(crate) fn run(arguments: &SyncArguments, output: &mut Output) -> CommandOutcome {
    match &arguments.command {
        SyncCommand::Run(arguments) => run::run(arguments, output),
        SyncCommand::Export(arguments) => export::run(arguments, output),
        SyncCommand::Install(arguments) => service::install(arguments, output),
        SyncCommand::Uninstall(arguments) => service::uninstall(arguments, output),
        SyncCommand::Status(arguments) => status::run(arguments, output),
    }
}
