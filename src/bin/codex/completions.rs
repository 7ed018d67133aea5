//! `codex completions`: prints a completion script, generated from the definition of the arguments.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Args, Command, CommandFactory as _};
use clap_complete::Shell;

use crate::output::Output;
use crate::{CommandOutcome, hand_over};

#[derive(Args, Debug)]
pub(crate) struct CompletionsArguments {
    /// Shell: bash, elvish, fish, powershell or zsh
    #[arg(hide_possible_values = true)]
    shell: Shell,
}

/// The script completes the name by which the program was called.
pub(crate) fn run(arguments: &CompletionsArguments, output: &mut Output) -> CommandOutcome {
    let mut script = Vec::new();
    let mut command = crate::TopArguments::command();
    command.build();
    let mut command = shown(&command);
    clap_complete::generate(arguments.shell, &mut command, hand_over::name_of_this_run(), &mut script);
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

/// Parses one of a few words, and lists them for completions.
#[derive(Clone, Debug)]
pub(crate) struct WordParser<T> {
    pub(crate) words: &'static [&'static str],
    pub(crate) parse: fn(&str) -> Result<T, String>,
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for WordParser<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, word: &OsStr) -> Result<T, clap::Error> {
        self.parse.parse_ref(command, argument, word)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.words.iter().map(PossibleValue::new)))
    }
}
