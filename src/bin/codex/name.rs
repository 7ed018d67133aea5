//! The name by which this program was called.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The name that this program shares with Codex.
pub(crate) const SHARED: &str = "codex";
/// The second name of this program, under which it handles every command itself.
pub(crate) const OWN: &str = "codex-auth";

/// The words after the program's name in messages about its own commands.
pub(crate) const COMMANDS: [&str; 23] = [
    "--help",
    "--account",
    "-c",
    "account",
    "app-server",
    "completions",
    "doctor",
    "fleet",
    "help",
    "log",
    "login",
    "logout",
    "man",
    "migrate",
    "refresh",
    "run",
    "status",
    "sync",
    "token",
    "top",
    "watch",
    "whoami",
    "why",
];

/// Returns the name by which this program was called.
pub(crate) fn of_this_run() -> &'static str {
    let words: Vec<_> = std::env::args_os().take(1).collect();
    if is_own(&words) { OWN } else { SHARED }
}

/// Returns `text` with the name of this run in its commands and in the files of completions, which are written for the
/// shared name.
pub(crate) fn in_commands(text: &str) -> String {
    let name = of_this_run();
    in_files(&text.replace("codex ", &format!("{name} ")))
}

/// Returns `text` with the name of this run in the names of completion files.
pub(crate) fn in_files(text: &str) -> String {
    text.replace("/completions/codex", &format!("/completions/{}", of_this_run()))
}

/// Returns whether `words` call the program by its second name.
pub(crate) fn is_own(words: &[OsString]) -> bool {
    words.first().map(Path::new).and_then(Path::file_name) == Some(OsStr::new(OWN))
}

/// Returns `text` with commands such as `codex login` under the name that this run was called by: a user of
/// `codex-auth` may have another `codex` on PATH.
pub(crate) fn in_own_name(text: &str) -> Cow<'_, str> {
    match of_this_run() {
        OWN => in_second_name(text).into(),
        _ => text.into(),
    }
}

fn in_second_name(text: &str) -> String {
    let is_part_of_a_word = |letter: char| letter.is_alphanumeric() || "/-_.".contains(letter);
    let mut own = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("codex ") {
        let (before, command) = rest.split_at(at);
        let after = &command["codex ".len()..];
        let word = after.split(|letter: char| !letter.is_alphanumeric() && letter != '-').next();
        let is_ours = word.is_some_and(|word| COMMANDS.contains(&word));
        own.push_str(before);
        let is_name = is_ours && !before.ends_with(is_part_of_a_word);
        own.push_str(if is_name { "codex-auth " } else { "codex " });
        rest = after;
    }
    own + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_ours_are_named_by_the_second_name_and_nothing_else_is() {
        for (text, expected) in [
            ("log in first: codex login", "log in first: codex-auth login"),
            ("`codex logout` removes both", "`codex-auth logout` removes both"),
            ("codex --help, or codex exec", "codex-auth --help, or codex exec"),
            ("cannot run /usr/bin/codex login", "cannot run /usr/bin/codex login"),
            ("the next codex on PATH", "the next codex on PATH"),
            ("mcodex login codex login", "mcodex login codex-auth login"),
        ] {
            assert_eq!(in_second_name(text), expected);
        }
    }
}
