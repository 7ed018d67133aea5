//! The names of accounts in completion scripts: a script asks this program for them at the Tab key.

use std::fmt::Write as _;

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, ValueHint};
use clap_complete::Shell;

/// Marks an argument whose value is the name of an account.
pub(crate) const ACCOUNT: ValueHint = ValueHint::Username;

/// What the generator writes for the names, until [`filled_in`] replaces it.
const PLACEHOLDER: &str = "NAMES-OF-ACCOUNTS";

/// Returns `argument`, with the placeholder as its value if that is the name of an account.
pub(super) fn with_placeholder(argument: Arg) -> Arg {
    match argument.get_value_hint() == ACCOUNT {
        true => argument.value_parser(PossibleValuesParser::new([PLACEHOLDER])),
        false => argument,
    }
}

/// Replaces the placeholder in the script for `program`, whose definition is `command`, by a call of the program.
pub(super) fn filled_in(script: &str, shell: Shell, command: &Command, program: &str) -> String {
    let ask = format!("{program} account names 2>/dev/null");
    match shell {
        Shell::Bash => script.replace(PLACEHOLDER, &format!("$({ask})")),
        Shell::Zsh => {
            let function = format!("_{program}_account_names");
            let body = format!("{function}() {{\n    compadd -- ${{(f)\"$({ask})\"}}\n}}\n\n");
            let script = script.replace(&format!("({PLACEHOLDER})"), &function);
            match script.find("if [ \"$funcstack") {
                Some(at) => format!("{}{body}{}", &script[..at], &script[at..]),
                None => script,
            }
        }
        Shell::Fish => {
            let mut script = script.replace(&format!("{PLACEHOLDER}\\t''"), &format!("({ask})"));
            // The generator leaves out the arguments that are no options.
            let prefix = format!("__fish_{}", program.replace('-', "_"));
            let commands = command.find_subcommand("account").into_iter().flat_map(Command::get_subcommands);
            for name in commands.filter(|command| names_account(command)).map(Command::get_name) {
                let condition =
                    format!("{prefix}_using_subcommand account; and __fish_seen_subcommand_from {name}");
                // Writing to a string cannot fail.
                let _ = write!(script, "\ncomplete -c {program} -n \"{condition}\" -f -a \"({ask})\"");
            }
            // Its condition for a line without a command does not hold before the value of an option.
            let condition = "test (count (commandline -opc)) = 2";
            let _ =
                write!(script, "\ncomplete -c {program} -n \"{condition}\" -l account -r -f -a \"({ask})\"");
            script
        }
        _ => script.to_owned(),
    }
}

fn names_account(command: &Command) -> bool {
    command.get_positionals().any(|argument| argument.get_value_hint() == ACCOUNT)
}
