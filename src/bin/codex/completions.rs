//! `codex completions`: prints a completion script, generated from the definition of the arguments.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::error::CommandOutcome;
use crate::name;
use crate::output::Output;

#[derive(Args, Debug)]
#[command(after_help = crate::help::COMPLETIONS)]
pub(crate) struct CompletionsArguments {
    /// Shell: bash, elvish, fish, powershell or zsh
    #[arg(hide_possible_values = true)]
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
    let mut command = shown(&definition);
    clap_complete::generate(arguments.shell, &mut command, name::of_this_run(), &mut script);
    Ok(output.data(String::from_utf8_lossy(&script).trim_end())?)
}

/// Copies a built definition without hidden commands and options, which `clap_complete` would offer too.
fn shown(command: &Command) -> Command {
    // Building the definition has already added these.
    let mut shown = Command::new(command.get_name().to_owned())
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .version(env!("CARGO_PKG_VERSION"))
        .args(command.get_arguments().filter(|argument| !argument.is_hide_set()).cloned())
        .subcommands(command.get_subcommands().filter(|command| !command.is_hide_set()).map(self::shown));
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    shown
}
