//! `codex sync`: the keeper, in the foreground or as a service of the user, and how it stands.

mod run;
mod service;
mod status;
mod supervisor;
mod upgrade;

use clap::{Args, Subcommand};

pub(crate) use self::service::Installation;

use crate::Outcome;
use crate::output::Output;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep the login fresh until interrupted; a second keeper stands by
    Run,
    /// Have the keeper started by itself: a systemd user unit, or a launchd agent on macOS
    Install(service::Install),
    /// Stop that and remove it
    Uninstall(service::Uninstall),
    /// Show whether a keeper is at work, and what it does next
    Status(status::Arguments),
}

impl Arguments {
    pub(crate) fn json(&self) -> bool {
        match &self.command {
            Command::Run | Command::Install(_) | Command::Uninstall(_) => false,
            Command::Status(status) => status.json,
        }
    }
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Outcome {
    match &arguments.command {
        Command::Run => run::run(output),
        Command::Install(arguments) => service::install(arguments, output),
        Command::Uninstall(arguments) => service::uninstall(arguments, output),
        Command::Status(arguments) => status::run(arguments, output),
    }
}
