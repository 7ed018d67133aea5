//! The name by which this program was called.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The name that this program shares with Codex.
pub(crate) const SHARED: &str = "codex";
/// The second name of this program, under which it handles every command itself.
pub(crate) const OWN: &str = "codex-auth";

/// The words after the program's name in messages about its own commands.
pub(crate) const COMMANDS: [&str; 22] = [
    "--help",
    "--account",
    "-c",
    "account",
    "app-server",
    "completions",
    "doctor",
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
