//! The program `codex`, which keeps one login alive for every program on a machine.
#![forbid(unsafe_code)]

mod account;
mod app_server;
mod arguments;
mod child;
mod choice;
mod completions;
mod context;
mod daemon;
mod doctor;
mod error;
mod fleet;
mod hand_over;
mod help;
mod history;
mod import;
mod located;
mod log;
mod login;
mod logout;
mod man;
mod migrate;
mod name;
mod next_codex;
mod next_output;
mod next_version;
mod output;
mod pager;
mod piped;
mod provider;
mod refresh;
mod replaced;
mod run;
mod runtime;
mod screen_line;
mod status;
mod sync;
mod token;
mod top;
mod usage;
mod watch;
mod why;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use clap::error::ErrorKind as ClapKind;
use clap::{CommandFactory as _, Parser, Subcommand};
use codex_auth::Environment;
use codex_auth::store::{ItemSharing, KeychainClient};
use codex_auth_platform::hardening;
use zeroizing_alloc::ZeroAlloc;

use self::error::{CommandError, CommandOutcome, Exit};
use self::hand_over::{Definition, HandOver};
use self::output::Output;

#[cfg(target_env = "musl")]
use dlmalloc::GlobalDlmalloc as Heap;
#[cfg(not(target_env = "musl"))]
use std::alloc::System as Heap;

/// Wipes what the program frees, so that after a logout no token is left in the memory of a running process.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<Heap> = ZeroAlloc(Heap);

/// Keeps one login alive for every program on this machine
#[derive(Parser)]
#[command(
    name = "codex",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = help::overview()
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// Report as JSON
    #[arg(long)]
    json: bool,

    /// Use this account, whichever is active
    #[arg(long, global = true, value_name = "NAME", value_hint = completions::ACCOUNT)]
    account: Option<String>,

    /// Print only data, warnings and errors
    #[arg(short, long, global = true)]
    quiet: bool,

    /// Show what caused an error, down to the message of the operating system
    #[arg(short, long, global = true)]
    verbose: bool,
}

// Deferred: to define the arguments of all commands takes longer than to print a token.
#[derive(Subcommand)]
#[command(defer = true)]
enum Command {
    /// Log in: store a credential for every program on this machine
    Login(login::LoginArguments),
    /// Log out: revoke the tokens and remove the login from this machine
    Logout(logout::LogoutArguments),
    /// Show the account, the store, the expiry and whether the login is usable
    #[command(alias = "whoami")]
    Status(status::StatusArguments),
    /// Print an access token, refreshed if it is about to expire
    Token(token::TokenArguments),
    /// Get a new access token now
    Refresh(refresh::RefreshArguments),
    /// Move the login to another store
    Migrate(migrate::MigrateArguments),
    /// Print every change of the login, by any program, until interrupted
    Watch(watch::WatchArguments),
    /// Print what happened to the login on this machine
    #[command(name = "log")]
    History(history::LogArguments),
    /// Explain why the login does not work, or why it was lost the last time
    Why(why::WhyArguments),
    /// Show all logins and every change on the whole screen; log in and out there
    Top(top::TopArguments),
    /// Run a command with a private home that holds an access token, and no refresh token
    Run(run::RunArguments),
    /// Keep the login fresh in the background
    Sync(sync::SyncArguments),
    /// Share one login between several hosts, through etcd
    Fleet(fleet::FleetArguments),
    /// Keep several logins, and choose between them
    Account(account::AccountArguments),
    /// Find what is wrong with a login, and print how to fix it
    Doctor(doctor::DoctorArguments),
    /// Answer an editor's requests about the account, and pass on the others
    AppServer(app_server::AppServerArguments),
    /// Print a completion script for a shell
    #[command(alias = "completion")]
    Completions(completions::CompletionsArguments),
    /// Write the manual pages into a folder
    Man(man::ManArguments),
    /// Run a job for a parent process of this program
    #[command(name = child::COMMAND, hide = true)]
    Transaction(child::ChildArguments),
}

const DEFINITION: Definition =
    Definition { is_own_command, accepts, help: || Arguments::command().render_help().to_string() };

fn is_own_command(word: &str) -> bool {
    // The first does not know the aliases.
    Command::has_subcommand(word) || Arguments::command().find_subcommand(word).is_some()
}

/// Whether this program handles the command with these arguments. Those of `login`, `doctor` and `completion` that it
/// does not know are left to Codex, which may have new ones.
fn accepts(command: &str, arguments: &[&OsString]) -> bool {
    match command {
        "app-server" => app_server::is_ours(arguments),
        "completion" | "doctor" => is_understood(command, arguments),
        "login" if KeychainClient::system().sharing() == ItemSharing::AnyProgram => {
            is_understood(command, arguments)
        }
        _ => true,
    }
}

/// Whether this program knows all options of the arguments.
fn is_understood(command: &str, arguments: &[&OsString]) -> bool {
    let words = [OsString::from(name::SHARED), command.into()];
    let parsed = Arguments::try_parse_from(words.iter().chain(arguments.iter().copied()));
    !matches!(parsed, Err(error) if error.kind() == ClapKind::UnknownArgument)
}

impl Command {
    /// Returns whether the command line asks for a report in JSON; `None` for a command without one.
    fn json(&self) -> Option<bool> {
        match self {
            Self::Login(login) => Some(login.json()),
            Self::Logout(logout) => Some(logout.json),
            Self::Status(status) => Some(status.json),
            Self::Token(token) => Some(token.json),
            Self::Migrate(migrate) => Some(migrate.json),
            Self::Doctor(doctor) => Some(doctor.json),
            Self::Refresh(refresh) => Some(refresh.json),
            Self::Watch(watch) => Some(watch.json),
            Self::History(history) => Some(history.json),
            Self::Why(why) => Some(why.json),
            Self::Account(account) => account.json(),
            Self::Sync(sync) => sync.json(),
            Self::Fleet(fleet) => Some(fleet.json()),
            Self::AppServer(_)
            | Self::Completions(_)
            | Self::Man(_)
            | Self::Run(_)
            | Self::Top(_)
            | Self::Transaction(_) => None,
        }
    }

    fn run(&self, output: &mut Output) -> CommandOutcome {
        match self {
            Self::Login(arguments) => login::run(arguments, output),
            Self::Logout(arguments) => logout::run(arguments, output),
            Self::Status(arguments) => status::run(arguments, output),
            Self::Token(arguments) => token::run(arguments, output),
            Self::Migrate(arguments) => migrate::run(arguments, output),
            Self::Refresh(arguments) => refresh::run(arguments, output),
            Self::Watch(arguments) => watch::run(arguments, output),
            Self::History(arguments) => history::run(arguments, output),
            Self::Why(arguments) => why::run(arguments, output),
            Self::Account(arguments) => account::run(arguments, output),
            Self::Top(arguments) => top::run(arguments, output),
            Self::Run(arguments) => run::run(arguments, output),
            Self::Sync(arguments) => sync::run(arguments, output),
            Self::Fleet(arguments) => fleet::run(arguments, output),
            Self::AppServer(arguments) => app_server::run(arguments, output),
            Self::Transaction(arguments) => child::serve(arguments, output),
            Self::Doctor(arguments) => doctor::run(arguments, output),
            Self::Completions(arguments) => completions::run(arguments, Arguments::command(), output),
            Self::Man(arguments) => man::run(arguments, Arguments::command(), output),
        }
    }
}

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let words = match hand_over::hand_over(&words, &DEFINITION) {
        Ok(HandOver::Done(code)) => return code,
        Ok(HandOver::Ours(words)) => words,
        Err(error) => return fail(error, &words, &output_for(&words)),
    };
    let words = hand_over::with_help_option(&words);
    // Where core dumps cannot be disabled, the program works all the same.
    let _ = hardening::harden();
    let arguments = match Arguments::of(&words) {
        Ok(arguments) => arguments,
        Err(error) => return not_parsed(&error, &words),
    };
    // The dashboard must not prompt before its first command.
    let is_asked = !matches!(arguments.command, Command::Top(_));
    if is_asked && io::stdin().is_terminal() && io::stderr().is_terminal() {
        // A person is here to answer what the keychain's service asks.
        KeychainClient::system().allow_prompts();
    }
    if let Some(name) = &arguments.account {
        choice::name_account(name);
    }
    let json = arguments.json || arguments.command.json() == Some(true);
    let mut output = Output::new(json, arguments.verbose, arguments.quiet);
    if let Ok(environment) = Environment::of_process() {
        output.configure(&environment);
        if !matches!(arguments.command, Command::Sync(_) | Command::Top(_)) {
            log::start(&environment, None);
        }
    }
    let done = match arguments.command.json() {
        None if arguments.json => Err(CommandError::new(Exit::Usage, "this command has no --json")),
        _ => arguments.command.run(&mut output),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error, &words, &output),
    }
}

/// Returns the output before the options are parsed, or if they cannot be: JSON if `words` ask for it.
fn output_for(words: &[OsString]) -> Output {
    let mut options = words.iter().skip(1).take_while(|word| *word != "--");
    let mut output = Output::new(options.any(|word| word == "--json"), false, false);
    if let Ok(environment) = Environment::of_process() {
        output.configure(&environment);
    }
    output
}

/// Prints `error`, after a usage error with the command that prints the help.
fn fail(error: CommandError, words: &[OsString], output: &Output) -> ExitCode {
    let error = match error.kind() {
        Exit::Usage => error.hint(usage::help_hint(Arguments::command(), words)),
        _ => error,
    };
    output.failure(&error);
    error.exit()
}

impl Arguments {
    /// Parses the command line. A `codex token` without other options is recognised without clap, which would take a seventh of the
    /// time of the whole command.
    fn of(words: &[OsString]) -> Result<Self, clap::Error> {
        let bare = |account| {
            let command = Command::Token(token::TokenArguments::default());
            Ok(Self { command, json: false, account, quiet: false, verbose: false })
        };
        match words {
            [_, word] if word == "token" => bare(None),
            [_, word, option, name] if word == "token" && option == "--account" => {
                match name.to_str().filter(|name| !name.starts_with('-')) {
                    Some(name) => bare(Some(name.to_owned())),
                    None => Self::try_parse_from(words),
                }
            }
            words => Self::try_parse_from(words),
        }
    }
}

/// Prints the help or the version, which clap returns as errors, or what is wrong with the command line.
fn not_parsed(error: &clap::Error, words: &[OsString]) -> ExitCode {
    let output = output_for(words);
    match error.kind() {
        ClapKind::DisplayVersion => {
            let _ = output.data(&format!("{} {}", name::of_this_run(), env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        ClapKind::DisplayHelp => {
            output.help(&error.render());
            ExitCode::SUCCESS
        }
        ClapKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            output.help_on_stderr(&error.render());
            Exit::Usage.into()
        }
        _ => fail(usage::error(error, Arguments::command(), words), words, &output),
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_command_that_codex_has_too_or_takes_for_a_prompt() {
        let definition = Arguments::command();
        let shown = definition.get_subcommands().filter(|command| !command.is_hide_set());
        let words =
            shown.flat_map(|command| [command.get_name()].into_iter().chain(command.get_all_aliases()));
        let (mut shared, mut shadowed): (Vec<_>, Vec<_>) =
            words.partition(|word| codex_auth::config::CODEX_COMMANDS.contains(word));
        // clap's own, which is no subcommand here.
        shared.push("help");
        shared.sort_unstable();
        shadowed.sort_unstable();
        assert_eq!(help::SHARED.map(|(name, _)| name).as_slice(), shared);
        assert_eq!(help::SHADOWED.as_slice(), shadowed);
    }

    #[test]
    fn a_bare_token_is_parsed_as_clap_parses_it() {
        let words = ["codex", "token"].map(OsString::from);
        let [known, parsed] = [Arguments::of(&words), Arguments::try_parse_from(&words)].map(|arguments| {
            let Ok(Arguments {
                command: Command::Token(token),
                json: false,
                account: None,
                quiet: false,
                verbose: false,
            }) = arguments
            else {
                panic!()
            };
            format!("{token:?}")
        });
        assert_eq!(known, parsed);
    }
}
