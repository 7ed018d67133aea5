//! The program `codex`: one login, kept alive and in one place for everything on this machine.
#![forbid(unsafe_code)]

mod completions;
mod error;
mod login;
mod logout;
mod migrate;
mod output;
mod session;
mod status;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::error::CommandError;
use self::output::Output;

/// Keeps one login alive and in one place for everything on this machine that uses it.
#[derive(Parser)]
#[command(name = "codex", version, arg_required_else_help = true, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// Show what caused an error, down to the system's own words
    #[arg(short, long, global = true)]
    verbose: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Log in: keep a credential for everything on this machine
    Login(login::Arguments),
    /// Log out: remove the login from this machine
    Logout(logout::Arguments),
    /// Show who is logged in, how, where it is kept and until when
    Status(status::Arguments),
    /// Print one valid access token
    Token(token::Arguments),
    /// Move the login to another store
    Migrate(migrate::Arguments),
    /// Print a completion script for a shell
    Completions(completions::Arguments),
}

fn main() -> ExitCode {
    for failure in codex_auth_platform::process::harden() {
        // Not being able to forbid core dumps is no reason to keep a person from their login.
        let _ = failure;
    }
    let arguments = Arguments::parse();
    let json = match &arguments.command {
        Command::Login(login) => login.json(),
        Command::Logout(logout) => logout.json,
        Command::Status(status) => status.json,
        Command::Token(token) => token.json,
        Command::Migrate(migrate) => migrate.json,
        Command::Completions(_) => false,
    };
    let mut output = Output::new(json, arguments.verbose);
    let done = match arguments.command {
        Command::Login(arguments) => login::run(&arguments, &mut output),
        Command::Logout(arguments) => logout::run(&arguments, &mut output),
        Command::Status(arguments) => status::run(&arguments, &mut output),
        Command::Token(arguments) => token::run(&arguments, &mut output),
        Command::Migrate(arguments) => migrate::run(&arguments, &mut output),
        Command::Completions(arguments) => completions::run(&arguments, &mut output),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.failure(&error);
            error.exit()
        }
    }
}

/// How a command ends when it does not fail outright.
type Outcome = Result<(), CommandError>;
