//! Usage errors: one line that names the argument, then the command that prints the help.

use std::ffi::{OsStr, OsString};

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use codex_auth::config::OVERRIDE_KEYS;

use crate::error::{CommandError, Exit};
use crate::{hand_over, name};

/// The longest word that an error repeats.
const LONGEST_WORD: usize = 24;
/// The prefixes of keys and tokens.
const SECRET_PREFIXES: [&str; 6] = ["sk-", "sk_", "at-", "rt-", "rt_", "eyj"];
/// Options that require another one; clap names only the missing one.
const NEEDS: [(&str, &str); 1] = [("--yes", "--from-codex")];

/// Returns the error for a command line that clap refused.
pub(crate) fn error(error: &clap::Error, definition: Command, words: &[OsString]) -> CommandError {
    let command = command(definition, words);
    let argument = || names(error, ContextKind::InvalidArg);
    let first = || argument().into_iter().next().unwrap_or_else(|| "an argument".to_owned());
    let failed = |message: String| CommandError::new(Exit::Usage, message);
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let UnknownCommand { message, similar } = unknown_command(error);
            let failed = match command.contains(' ') {
                true => failed(format!("{message} for `{command}`")),
                false => hand_over::not_passed_on(message, words),
            };
            match similar {
                Some(similar) => failed.first_hint(format!("did you mean `{command} {similar}`?")),
                None => failed,
            }
        }
        ErrorKind::UnknownArgument => unknown_argument(error, words, &command),
        ErrorKind::ArgumentConflict => {
            let others = names(error, ContextKind::PriorArg);
            failed(match (argument().first(), others.as_slice()) {
                (Some(one), [other]) if one == other => format!("{one} was given twice"),
                (Some(one), others) => format!("{one} and {} exclude each other", others.join(", ")),
                (None, others) => format!("{} takes no further argument", others.join(", ")),
            })
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = argument();
            let placeholders = texts(error, ContextKind::InvalidArg).into_iter();
            let missing_words =
                placeholders.map(|text| text.replace(['<', '>', '[', ']'], "")).collect::<Vec<_>>();
            let given = |option: &str| words.iter().any(|word| word == option);
            let because = NEEDS
                .iter()
                .find(|(option, needed)| given(option) && missing.contains(&(*needed).to_owned()));
            let needs = because.map_or_else(|| format!("`{command}`"), |(option, _)| (*option).to_owned());
            failed(format!("{needs} needs {}", missing_words.join(", ")))
        }
        ErrorKind::InvalidValue
        | ErrorKind::NoEquals
        | ErrorKind::ValueValidation
        | ErrorKind::TooFewValues => {
            let reason = std::error::Error::source(error).map(ToString::to_string);
            let wanted = reason.unwrap_or_else(|| any_of(&names(error, ContextKind::ValidValue)));
            failed(format!("{} needs {wanted}", first()))
        }
        ErrorKind::TooManyValues => failed(format!("{} takes no value", first())),
        ErrorKind::InvalidUtf8 => failed(format!("an argument for `{command}` is not valid UTF-8")),
        _ => failed(format!("wrong arguments for `{command}`")),
    }
}

/// Returns the last hint of every usage error.
pub(crate) fn help_hint(definition: Command, words: &[OsString]) -> String {
    format!("{} --help", command(definition, words))
}

/// Joins words for a message: "a, b or c".
fn any_of(words: &[String]) -> String {
    match words {
        [] => "a value".to_owned(),
        [only] => only.clone(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

fn unknown_argument(error: &clap::Error, words: &[OsString], command: &str) -> CommandError {
    let failed = |message: String| CommandError::new(Exit::Usage, message);
    if let Some(option) = hand_over::first_word(words).and_then(OsStr::to_str)
        && let Some(assignment) = option.strip_prefix("--config").or_else(|| option.strip_prefix("-c"))
    {
        let value = words.iter().skip_while(|word| *word != option).nth(1).and_then(|word| word.to_str());
        let assignment = match assignment.strip_prefix('=').unwrap_or(assignment) {
            "" => value.unwrap_or_default(),
            joined => joined,
        };
        return failed(match assignment.split_once('=') {
            None => "-c needs KEY=VALUE".to_owned(),
            Some((key, _)) => {
                format!(
                    "-c cannot set{}; the keys of a login are {}",
                    shown(key.trim()),
                    OVERRIDE_KEYS.join(", ")
                )
            }
        });
    }
    let unknown = names(error, ContextKind::InvalidArg).into_iter().next().unwrap_or_default();
    let failed = failed(format!("unexpected argument{} for `{command}`", shown(&unknown)));
    match names(error, ContextKind::SuggestedArg).into_iter().next() {
        Some(similar) => failed.hint(format!("did you mean {similar}?")),
        None if ["-c", "--config"].contains(&unknown.as_str()) => failed.hint(format!(
            "-c KEY=VALUE comes before the command: codex -c KEY=VALUE {}",
            after_name(command)
        )),
        None => failed,
    }
}

/// A command that does not exist.
pub(crate) struct UnknownCommand {
    pub(crate) message: String,
    pub(crate) similar: Option<String>,
}

/// Returns what `error`, an [`ErrorKind::InvalidSubcommand`], is about.
pub(crate) fn unknown_command(error: &clap::Error) -> UnknownCommand {
    let unknown = names(error, ContextKind::InvalidSubcommand).into_iter().next();
    let message = format!("unknown command{}", shown(unknown.as_deref().unwrap_or_default()));
    // The last one is the most similar.
    UnknownCommand { message, similar: names(error, ContextKind::SuggestedSubcommand).pop() }
}

fn after_name(command: &str) -> &str {
    command.split_once(' ').map_or("", |(_, rest)| rest)
}

/// Returns the word in quotes, unless it may be a secret.
fn shown(word: &str) -> String {
    match may_be_shown(word) {
        true => format!(" '{}'", word.split('=').next().unwrap_or_default()),
        false => " (not shown, it may be a secret)".to_owned(),
    }
}

/// Returns whether a word of the command line has the shape of an option or of a command, and not that of a key or a
/// token.
fn may_be_shown(word: &str) -> bool {
    let name = word.trim_start_matches('-').split('=').next().unwrap_or_default();
    let lower = name.to_ascii_lowercase();
    let is_cased = name == lower || name.chars().skip(1).all(|letter| !letter.is_ascii_uppercase()) || {
        name.chars().all(|letter| !letter.is_ascii_lowercase())
    };
    let is_plain = |letter: char| letter.is_ascii_alphabetic() || letter == '-' || letter == '_';
    !name.is_empty()
        && name.len() <= LONGEST_WORD
        && is_cased
        && name.chars().all(is_plain)
        && !SECRET_PREFIXES.iter().any(|prefix| lower.starts_with(prefix))
}

/// Returns the names of arguments in a clap error, without the placeholders of their values: `--store <STORE>` is
/// `--store`, `<DIR>` is `DIR`.
fn names(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    let name = |text: String| {
        let name = text.split(' ').next().unwrap_or_default();
        let name =
            if name.starts_with('-') { name.split_once("=<").map_or(name, |(name, _)| name) } else { name };
        name.trim_matches(['<', '>', '[', ']']).to_owned()
    };
    texts(error, kind).into_iter().map(name).collect()
}

fn texts(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

/// Returns the command that `words` call, under the name of this run: `codex login`.
fn command(mut definition: Command, words: &[OsString]) -> String {
    definition.build();
    let mut called = &definition;
    let mut path = name::of_this_run().to_owned();
    for word in words.iter().skip(1).take_while(|word| *word != "--") {
        if let Some(next) = called.find_subcommand(word).filter(|next| !next.is_hide_set()) {
            path = format!("{path} {}", next.get_name());
            called = next;
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_not_repeated() {
        for word in ["--foo", "now", "Status", "HELP", "--with_x", "-x", "--store=sk-1"] {
            assert!(may_be_shown(word), "{word}");
        }
        for word in [
            "",
            "--",
            "sk-marked",
            "--sk-marked",
            "at-marked",
            "eyJhbGciOiJSUzI1NiJ9",
            "hunter2",
            "--hunter2",
            "aBcDeFgHiJ",
            "correct-horse-battery-staple",
            "two words",
            "user:password",
            "ünïcode",
        ] {
            assert!(!may_be_shown(word), "{word}");
        }
    }
}
