//! Runs the commands of the dashboard, as the command line runs them.

use std::io;
use std::process::{Command, ExitStatus};
use std::thread;

use codex_auth::accounts::ChosenHome;
use codex_auth::config::HomeSetting;
use codex_auth::store::KeychainClient;
use codex_auth::{Environment, Home};
use codex_auth_platform::{hardening, process};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::slash::{SlashCommand, SlashLine, in_slashes};
use crate::context::CommandContext;
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::output::Output;
use crate::screen_line::{LineKind, ScreenLine};
use crate::{account, choice, logout, refresh, why};

/// The lines of a command that runs on a thread. The channel closes when the command has ended.
pub(super) type CommandLines = UnboundedReceiver<ScreenLine>;

/// Returns the command as it is shown.
pub(super) fn title(line: &SlashLine) -> String {
    let name = match line.command {
        SlashCommand::Login(_) => "/login",
        SlashCommand::Logout(_) => "/logout",
        SlashCommand::Refresh(_) => "/refresh",
        SlashCommand::Why(_) => "/why",
        SlashCommand::Quit => "/quit",
    };
    match &line.account {
        Some(account) => format!("{name} {account}"),
        None => name.to_owned(),
    }
}

/// Starts a command on another thread. What it prints is sent to the screen. Without an account it is about the login of
/// `home` itself.
pub(super) fn start(line: SlashLine, home: Home) -> CommandLines {
    // A person is here to answer what the keychain's service asks.
    KeychainClient::system().allow_prompts();
    let (sender, lines) = unbounded_channel();
    let failed = sender.clone();
    let work = move || {
        let mut output = Output::to_screen(sender.clone());
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&line, &home, &mut output)));
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) => output.failure(&error),
            Err(_) => output.failure(&internal()),
        }
    };
    if let Err(error) = thread::Builder::new().name("codex-auth command".to_owned()).spawn(work) {
        send_error(&failed, &CommandError::cannot_start("a thread", &error));
    }
    lines
}

fn internal() -> CommandError {
    CommandError::new(Exit::Failed, "the command failed unexpectedly (internal error); report it")
}

fn send_error(lines: &UnboundedSender<ScreenLine>, error: &CommandError) {
    let _ = lines.send(ScreenLine { kind: LineKind::Error, text: error.to_string() });
}

fn run(line: &SlashLine, home: &Home, output: &mut Output) -> CommandOutcome {
    match &line.command {
        SlashCommand::Logout(arguments) if arguments.all => logout::run(arguments, output),
        SlashCommand::Logout(arguments) => {
            let (chosen, environment) = chosen(line, home, output)?;
            let context = CommandContext::at_for_logout(chosen, environment, output)?;
            logout::log_out(arguments, &context, output)
        }
        SlashCommand::Refresh(_) => refresh::refresh(&context(line, home, output)?, output),
        SlashCommand::Why(arguments) => why::explain_login(arguments, &context(line, home, output)?, output),
        SlashCommand::Login(_) | SlashCommand::Quit => Ok(()),
    }
}

/// Opens the home that a command is about.
fn context(line: &SlashLine, home: &Home, output: &mut Output) -> Result<CommandContext, CommandError> {
    let (chosen, environment) = chosen(line, home, output)?;
    CommandContext::at(chosen, environment, output)
}

/// Returns the home of the account that a command names, else `home`, whatever account this run has chosen.
fn chosen(
    line: &SlashLine,
    home: &Home,
    output: &mut Output,
) -> Result<(ChosenHome, Environment), CommandError> {
    if let Some(name) = &line.account {
        return account::named(name, output);
    }
    let mut environment = Environment::of_process()?;
    output.configure(&environment);
    if !choice::is_chosen(home) {
        environment.home = HomeSetting::Named(home.path().to_owned());
    }
    Ok((ChosenHome::of_home(home.clone()), environment))
}

/// Runs `codex login` in the terminal, which the dashboard has left: a login opens a browser or shows a code, and asks.
pub(super) fn log_in(line: &SlashLine, home: &Home) -> io::Result<ExitStatus> {
    let mut command = login_command(line, home)?;
    hardening::restore_inherited_settings(&mut command).status()
}

fn login_command(line: &SlashLine, home: &Home) -> io::Result<Command> {
    let mut command = process::own_command()?;
    match &line.account {
        Some(account) => drop(command.args(["--account", account])),
        None if choice::is_chosen(home) => {}
        // Neither a variable nor a pinned folder chooses an account.
        None => {
            command.env("CODEX_HOME", home.path()).env_remove("CODEX_AUTH_ACCOUNT").current_dir(home.path());
        }
    }
    let options = without_account(&line.options);
    command.arg("login").args(options);
    Ok(command)
}

/// Returns the options without `--account NAME`, which stands before the command.
fn without_account(options: &[String]) -> Vec<&String> {
    let mut rest = options.iter();
    let mut kept = Vec::new();
    while let Some(option) = rest.next() {
        match option.as_str() {
            "--account" => drop(rest.next()),
            option if option.starts_with("--account=") => {}
            _ => kept.push(option),
        }
    }
    kept
}

/// Returns a line with its commands as they are typed on the screen.
pub(super) fn on_screen(line: &ScreenLine) -> ScreenLine {
    ScreenLine { text: in_slashes(&line.text), kind: line.kind }
}
