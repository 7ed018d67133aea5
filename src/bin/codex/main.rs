//! The program `codex`: one login, kept alive and in one place for everything on this machine.
#![forbid(unsafe_code)]

mod app_server;
mod arguments;
mod child;
mod completions;
mod context;
mod doctor;
mod error;
mod hand_over;
mod import;
mod log;
mod login;
mod logout;
mod man;
mod migrate;
mod output;
mod provider;
mod refresh;
mod runtime;
mod status;
mod sync;
mod token;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind as ClapKind};
use clap::{CommandFactory as _, Parser, Subcommand};
use codex_auth::Environment;
use codex_auth_platform::hardening;
use zeroizing_alloc::ZeroAlloc;

use self::error::{CommandError, Exit};
use self::hand_over::{Definition, HandOver};
use self::output::Output;

#[cfg(target_env = "musl")]
use dlmalloc::GlobalDlmalloc as Heap;
#[cfg(not(target_env = "musl"))]
use std::alloc::System as Heap;

/// What is given back is wiped: after a logout no token is left in the memory of a program that goes on.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<Heap> = ZeroAlloc(Heap);

/// Keeps one login alive and in one place for everything on this machine that uses it.
#[derive(Parser)]
#[command(
    name = "codex",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Before a command, -c KEY=VALUE sets a key of config.toml that concerns the login, for one run."
)]
struct TopArguments {
    #[command(subcommand)]
    command: Command,

    /// Show what caused an error, down to the system's own words
    #[arg(short, long, global = true)]
    verbose: bool,
}

// Arguments of a command are made only when it is called: making all of them takes longer than printing a token.
#[derive(Subcommand)]
#[command(defer = true)]
enum Command {
    /// Log in: keep a credential for everything on this machine
    Login(login::LoginArguments),
    /// Log out: remove the login from this machine
    Logout(logout::LogoutArguments),
    /// Show who is logged in, how, where it is kept and until when
    Status(status::StatusArguments),
    /// Print one valid access token
    Token(token::TokenArguments),
    /// Get a new access token now
    Refresh(refresh::RefreshArguments),
    /// Move the login to another store
    Migrate(migrate::MigrateArguments),
    /// Show every change of the login, by whichever program, until interrupted
    Watch(watch::WatchArguments),
    /// Keep the login fresh ahead of time, so that no program ever waits for it
    Sync(sync::SyncArguments),
    /// Look for what is wrong with a login, and say what mends it
    Doctor(doctor::DoctorArguments),
    /// Answer an editor's questions about the account, and pass its other requests on
    AppServer(app_server::AppServerArguments),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArguments),
    /// Write the manual pages into a folder
    Man(man::ManArguments),
    /// Do what must not stop half-way, for this program itself
    #[command(name = child::COMMAND, hide = true)]
    Transaction(child::ChildArguments),
}

const DEFINITION: Definition =
    Definition { is_own_command, help: || TopArguments::command().render_help().to_string() };

fn is_own_command(name: &str, arguments: &[OsString]) -> bool {
    Command::has_subcommand(name) && (name != "app-server" || app_server::is_ours(arguments))
}

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    match hand_over::hand_over(&words, &DEFINITION) {
        Ok(HandOver::Done(code)) => return code,
        Ok(HandOver::Ours) => {}
        Err(error) => {
            Output::of_process().failure(&error);
            return error.exit();
        }
    }
    // Not being able to forbid core dumps is no reason to keep a person from their login.
    let _ = hardening::harden();
    let arguments = match TopArguments::of(&words) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error, &words),
    };
    let json = match &arguments.command {
        Command::Login(login) => login.json(),
        Command::Logout(logout) => logout.json,
        Command::Status(status) => status.json,
        Command::Token(token) => token.json,
        Command::Migrate(migrate) => migrate.json,
        Command::Doctor(doctor) => doctor.json,
        Command::Refresh(refresh) => refresh.json,
        Command::Watch(watch) => watch.json,
        Command::Sync(sync) => sync.json(),
        Command::AppServer(_) | Command::Completions(_) | Command::Man(_) | Command::Transaction(_) => false,
    };
    let mut output = Output::new(json, arguments.verbose);
    if let Ok(environment) = Environment::of_process() {
        output.configure(&environment);
    }
    let done = match arguments.command {
        Command::Login(arguments) => login::run(&arguments, &mut output),
        Command::Logout(arguments) => logout::run(&arguments, &mut output),
        Command::Status(arguments) => status::run(&arguments, &mut output),
        Command::Token(arguments) => token::run(&arguments, &mut output),
        Command::Migrate(arguments) => migrate::run(&arguments, &mut output),
        Command::Refresh(arguments) => refresh::run(&arguments, &mut output),
        Command::Watch(arguments) => watch::run(&arguments, &mut output),
        Command::Sync(arguments) => sync::run(&arguments, &mut output),
        Command::AppServer(arguments) => app_server::run(&arguments, &mut output),
        Command::Transaction(arguments) => child::serve(&arguments, &mut output),
        Command::Doctor(arguments) => doctor::run(&arguments, &mut output),
        Command::Completions(arguments) => completions::run(&arguments, TopArguments::command(), &output),
        Command::Man(arguments) => man::run(&arguments, TopArguments::command(), &output),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.failure(&error);
            error.exit()
        }
    }
}

impl TopArguments {
    /// What was typed. A bare `codex token` is known by sight: to tell it from all else that can be typed takes a seventh of
    /// its whole time.
    fn of(words: &[OsString]) -> Result<Self, clap::Error> {
        match words {
            [_, word] if word == "token" => {
                Ok(Self { command: Command::Token(token::TokenArguments::default()), verbose: false })
            }
            words => Self::try_parse_from(words),
        }
    }
}

/// What the command line should have been. An error repeats what was typed only where it is nearly right: anything else
/// may be a secret in the wrong place.
fn usage(error: &clap::Error, words: &[OsString]) -> ExitCode {
    let nearly_right =
        [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue]
            .into_iter()
            .any(|kind| error.get(kind).is_some());
    let help = !error.use_stderr() || error.kind() == ClapKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if nearly_right || help {
        let _ = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8));
    }
    let see_help = "see what there is: codex --help";
    if error.kind() == ClapKind::InvalidSubcommand {
        Output::of_process().failure(&hand_over::unknown_command(words).hint(see_help));
        return Exit::Usage.into();
    }
    let mut problem = error.kind().as_str().unwrap_or("the command line makes no sense").to_owned();
    // In these the argument is one of ours, by the name that we gave it.
    let ours = matches!(
        error.kind(),
        ClapKind::InvalidValue | ClapKind::MissingRequiredArgument | ClapKind::ValueValidation
    );
    if let Some(argument) = error.get(ContextKind::InvalidArg).filter(|_| ours) {
        problem.push_str(&format!(": {argument}"));
    }
    let mut failed = CommandError::new(Exit::Usage, problem);
    if let Some(why) = std::error::Error::source(error) {
        failed = failed.hint(why.to_string());
    }
    Output::of_process().failure(&failed.hint(see_help));
    Exit::Usage.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_token_is_what_the_definition_makes_of_it() {
        let words = ["codex", "token"].map(OsString::from);
        let [known, parsed] =
            [TopArguments::of(&words), TopArguments::try_parse_from(&words)].map(|arguments| {
                let Ok(TopArguments { command: Command::Token(token), verbose: false }) = arguments else {
                    panic!()
                };
                format!("{token:?}")
            });
        assert_eq!(known, parsed);
    }
}
