//! `codex completions`: prints a completion script, generated from the definition of the arguments and, under the name
//! `codex`, from the commands of the next codex on PATH.

mod account_names;
mod zsh_script;

use clap::{Arg, Args, Command};
use clap_complete::Shell;
use codex_auth::config::CODEX_COMMANDS;

pub(crate) use self::account_names::ACCOUNT;

use crate::error::CommandOutcome;
use crate::name;
use crate::next_codex;
use crate::output::Output;

#[derive(Args, Debug)]
#[command(after_help = crate::help::COMPLETIONS)]
pub(crate) struct CompletionsArguments {
    /// Shell: bash, elvish, fish, powershell or zsh (default: bash)
    #[arg(hide_possible_values = true, hide_default_value = true, default_value = "bash")]
    shell: Shell,
}

/// The script completes the name by which the program was called.
pub(crate) fn run(
    arguments: &CompletionsArguments,
    mut definition: Command,
    output: &Output,
) -> CommandOutcome {
    let mut script = Vec::new();
    definition.build();
    let mut command = shown(&definition, &|argument| !argument.is_hide_set());
    if let Some(script) = next_codex::completion_script() {
        command = with_next(command, &zsh_script::read(&script).unwrap_or_else(names_only));
    }
    clap_complete::generate(arguments.shell, &mut command, name::of_this_run(), &mut script);
    let script = String::from_utf8_lossy(&script);
    let script = account_names::filled_in(script.trim_end(), arguments.shell, &command, name::of_this_run());
    Ok(output.data(&script)?)
}

/// Copies a built definition with the arguments that `is_offered`, and without hidden commands, which `clap_complete`
/// would offer too.
fn shown(command: &Command, is_offered: &dyn Fn(&Arg) -> bool) -> Command {
    // Building the definition has already added these.
    let mut shown = Command::new(command.get_name().to_owned())
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .version(env!("CARGO_PKG_VERSION"))
        .args(
            // Building has copied the global ones to our own commands; those of Codex do not have them.
            command
                .get_arguments()
                .filter(|argument| is_offered(argument))
                .map(|argument| account_names::with_placeholder(argument.clone()).global(false)),
        )
        .subcommands(
            command
                .get_subcommands()
                .filter(|command| !command.is_hide_set())
                .map(|command| shown(command, is_offered)),
        );
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    shown
}

/// Adds the commands and options of `next` that `command` does not have.
fn with_next(command: Command, next: &Command) -> Command {
    let is_same = |known: &Arg, argument: &Arg| {
        let (long, short) = (argument.get_long(), argument.get_short());
        let is_alias =
            || known.get_all_aliases().is_some_and(|names| names.iter().any(|name| Some(*name) == long));
        (long.is_some() && (known.get_long() == long || is_alias()))
            || (short.is_some() && known.get_short() == short)
            || (argument.is_positional() && known.is_positional())
    };
    let is_known = |argument: &Arg| command.get_arguments().any(|known| is_same(known, argument));
    let arguments: Vec<_> = next.get_arguments().filter(|argument| !is_known(argument)).cloned().collect();
    let command = match next.has_subcommands() {
        // Words beside subcommands keep zsh from completing them.
        true => shown(&command, &|argument| !argument.is_positional()),
        false => command,
    };
    let own: Vec<_> = command.get_subcommands().map(topic).collect();
    let mut command = command.args(arguments);
    for subcommand in next.get_subcommands() {
        let name = subcommand.get_name();
        command = match command.find_subcommand(name) {
            Some(_) => command.mut_subcommand(name, |known| with_next(known, subcommand)),
            // The help of our commands is asked for in the same way.
            None if name == "help" => {
                let known = |own: &Command| subcommand.find_subcommand(own.get_name()).is_some();
                let own: Vec<_> = own.iter().filter(|own| !known(own)).cloned().collect();
                command.subcommand(subcommand.clone().subcommands(own))
            }
            None => command.subcommand(subcommand.clone()),
        };
    }
    command
}

/// A command without options, as an argument of `help`.
fn topic(command: &Command) -> Command {
    let topic =
        Command::new(command.get_name().to_owned()).disable_help_flag(true).disable_help_subcommand(true);
    match command.get_about() {
        Some(about) => topic.about(about.clone()),
        None => topic,
    }
}

/// The commands of Codex without their options, for a version whose script cannot be read.
fn names_only() -> Command {
    Command::new(name::SHARED).subcommands(CODEX_COMMANDS.iter().map(|name| topic(&Command::new(*name))))
}
