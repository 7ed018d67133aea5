//! The commands of the dashboard: those of the program, with the same options, after a slash.

use std::ffi::OsString;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::error::{CommandError, Exit};
use crate::login::LoginArguments;
use crate::logout::LogoutArguments;
use crate::name;
use crate::refresh::RefreshArguments;
use crate::usage::{self, UnknownCommand};
use crate::why::WhyArguments;

/// A typed line.
#[derive(Debug, Parser)]
#[command(name = "codex", disable_help_flag = true, disable_help_subcommand = true)]
pub(super) struct SlashLine {
    #[command(subcommand)]
    pub(super) command: SlashCommand,

    /// Of this account, instead of the selected one
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) account: Option<String>,

    /// What was typed after the command.
    #[arg(skip)]
    pub(super) options: Vec<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum SlashCommand {
    /// Log in: to the selected account, or again
    Login(LoginArguments),
    /// Log out: revoke the tokens and remove the login
    Logout(LogoutArguments),
    /// Get a new access token now
    Refresh(RefreshArguments),
    /// Explain why the login does not work, or why it was lost
    Why(WhyArguments),
    /// Leave the dashboard
    Quit,
}

/// A way to go on with a typed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suggestion {
    /// The whole line with the word completed.
    pub(super) line: String,
    /// The completed word.
    pub(super) word: String,
    /// What it does.
    pub(super) about: String,
}

/// Options that make no sense on the screen.
const NOT_ON_THE_SCREEN: [&str; 2] = ["json", "api-key"];
/// The option that the screen adds to each command.
const ACCOUNT: &str = "--account";

impl SlashLine {
    /// Parses `line`. A beginning of a command that fits only one stands for that.
    pub(super) fn parse(line: &str) -> Result<Self, CommandError> {
        let mut words = line.split_whitespace();
        let first = words.next().and_then(|word| word.strip_prefix('/')).ok_or_else(|| {
            CommandError::new(Exit::Usage, "a command begins with a slash").hint("the commands: /")
        })?;
        let options: Vec<_> = words.map(str::to_owned).collect();
        let command = match &suggestions(&format!("/{first}"), &[])[..] {
            [only] => only.word.trim_start_matches('/').to_owned(),
            _ => first.to_owned(),
        };
        let words = [name::of_this_run(), &command].into_iter().map(str::to_owned).chain(options.clone());
        let words: Vec<_> = words.map(OsString::from).collect();
        let refused = |error: clap::Error| match Self::command().find_subcommand(&command) {
            Some(_) => usage::error(&error, Self::command(), &words),
            None => unknown_command(&error),
        };
        let mut parsed = Self::try_parse_from(&words).map_err(refused)?;
        let is_json = match &parsed.command {
            SlashCommand::Login(arguments) => arguments.json(),
            SlashCommand::Logout(arguments) => arguments.json,
            SlashCommand::Refresh(arguments) => arguments.json,
            SlashCommand::Why(arguments) => arguments.json,
            SlashCommand::Quit => false,
        };
        if is_json {
            return Err(CommandError::new(Exit::Usage, "--json is for scripts; the screen shows text"));
        }
        parsed.options = options;
        Ok(parsed)
    }
}

fn unknown_command(error: &clap::Error) -> CommandError {
    let UnknownCommand { message, similar } = usage::unknown_command(error);
    let hint =
        similar.map_or_else(|| "the commands: /".to_owned(), |similar| format!("did you mean /{similar}?"));
    CommandError::new(Exit::Usage, message).hint(hint)
}

/// Returns how `line` can go on. `accounts` are the names of the accounts.
pub(super) fn suggestions(line: &str, accounts: &[String]) -> Vec<Suggestion> {
    let Some(rest) = line.strip_prefix('/') else { return Vec::new() };
    let definition = SlashLine::command();
    let Some((command, _)) = rest.split_once(' ') else {
        let commands = definition.get_subcommands().filter(|command| command.get_name().starts_with(rest));
        return commands
            .map(|command| {
                let word = format!("/{}", command.get_name());
                let about = command.get_about().map(ToString::to_string).unwrap_or_default();
                Suggestion { line: word.clone(), word, about }
            })
            .collect();
    };
    let Some(command) = definition.find_subcommand(command) else { return Vec::new() };
    let begun = line.rsplit(' ').next().unwrap_or_default();
    let before = line[..line.len() - begun.len()].to_owned();
    let complete = |word: String, about: String| Suggestion { line: format!("{before}{word}"), word, about };
    if before.trim_end().ends_with(ACCOUNT) {
        let names = accounts.iter().filter(|name| name.starts_with(begun));
        return names.map(|name| complete(name.clone(), String::new())).collect();
    }
    let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let arguments = arguments.chain(definition.get_arguments().filter(|_| !accounts.is_empty()));
    let is_given = |word: &str| before.split(' ').any(|given| given == word);
    let options = arguments.filter_map(|argument| {
        let long = argument.get_long().filter(|long| !NOT_ON_THE_SCREEN.contains(long))?;
        let word = format!("--{long}");
        let about = argument.get_help().map(ToString::to_string).unwrap_or_default();
        // Only after a dash, so that Tab adds no option that was not meant.
        (begun.starts_with('-') && word.starts_with(begun) && !is_given(&word)).then_some((word, about))
    });
    options.map(|(word, about)| complete(word, about)).collect()
}

/// Returns `text` with the commands that the dashboard has after a slash, as they are typed there.
pub(super) fn in_slashes(text: &str) -> String {
    let definition = SlashLine::command();
    let mut text = text.to_owned();
    for program in [name::SHARED, name::OWN] {
        for command in definition.get_subcommands() {
            let (old, new) =
                (format!("{program} {}", command.get_name()), format!("/{}", command.get_name()));
            text = replace_words(&text, &old, &new);
        }
    }
    text
}

/// Replaces `old` where it is not a part of longer words.
fn replace_words(text: &str, old: &str, new: &str) -> String {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(old) {
        let (before, after) = (&rest[..at], &rest[at + old.len()..]);
        let is_part = |letter: char| letter.is_alphanumeric() || "/-_.|".contains(letter);
        // `printenv KEY | codex login` needs a shell.
        let is_piped = before.trim_end().ends_with('|');
        let is_word = !before.ends_with(is_part) && !after.starts_with(is_part) && !is_piped;
        replaced.push_str(before);
        replaced.push_str(if is_word { new } else { old });
        rest = after;
    }
    replaced + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_completed_word_by_word() {
        let accounts = ["work".to_owned(), "private".to_owned()];
        let words = |line: &str| -> Vec<String> {
            suggestions(line, &accounts).into_iter().map(|suggestion| suggestion.line).collect()
        };
        assert_eq!(words("/"), ["/login", "/logout", "/refresh", "/why", "/quit"]);
        assert_eq!(words("/logo"), ["/logout"]);
        assert_eq!(words("/logout --f"), ["/logout --force"]);
        assert_eq!(words("/logout --account w"), ["/logout --account work"]);
        assert_eq!(
            words("/logout --force -"),
            ["--local", "--all", "--restart-daemon", "--account"]
                .map(|option| { format!("/logout --force {option}") })
        );
        assert!(words("/logout ").is_empty());
        assert!(words("/nothing ").is_empty() && words("logout").is_empty());
    }

    #[test]
    fn a_line_has_the_options_of_the_command() {
        let line = SlashLine::parse("/logo --force --account work").unwrap();
        assert!(matches!(&line.command, SlashCommand::Logout(arguments) if arguments.force));
        assert_eq!(line.account.as_deref(), Some("work"));
        assert!(matches!(SlashLine::parse("/q").unwrap().command, SlashCommand::Quit));
        for (typed, message) in [
            ("/lo", "unknown command 'lo'"),
            ("/logot", "unknown command 'logot'"),
            ("logout", "a command begins with a slash"),
            ("/logout --foo", "unexpected argument '--foo' for `codex logout`"),
            ("/logout --force --local", "--force and --local exclude each other"),
            ("/refresh --json", "--json is for scripts; the screen shows text"),
            ("/login sk-secret", "unknown command (not shown, it may be a secret) for `codex login`"),
        ] {
            assert!(SlashLine::parse(typed).unwrap_err().to_string().starts_with(message), "{typed}");
        }
    }

    #[test]
    fn hints_name_the_commands_as_they_are_typed_on_the_screen() {
        for (text, expected) in [
            ("log in again: codex login", "log in again: /login"),
            ("codex logout --force", "/logout --force"),
            ("codex-auth logout --all; codex login --store file", "/logout --all; /login --store file"),
            ("printenv KEY | codex login --with-api-key", "printenv KEY | codex login --with-api-key"),
            ("start it: codex sync run", "start it: codex sync run"),
            ("/usr/bin/codex login", "/usr/bin/codex login"),
        ] {
            assert_eq!(in_slashes(text), expected);
        }
    }
}
