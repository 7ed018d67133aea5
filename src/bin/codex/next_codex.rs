//! The next program called `codex` on PATH: which one it is and how it is started.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use codex_auth::config::ExecChain;
use codex_auth_platform::{filesystem, search_path};

use crate::choice;
use crate::error::CommandError;
use crate::name;
use crate::next_output::{self, both};
use crate::next_version;
use crate::run::not_started;

/// Returns the path of the next program.
pub(crate) fn path(chain: &ExecChain) -> Option<PathBuf> {
    search_path::find_programs(name::SHARED, &chain.path)
        .into_iter()
        // A link to `codex-auth` leads back to this program.
        .filter(|path| search_path::resolved_file_name(path).is_none_or(|file| file != name::OWN))
        .find(|path| filesystem::identity(path).is_none_or(|identity| !chain.is_skipped(identity)))
}

/// Replaces this process by `next`; returns only on an error.
pub(crate) fn exec(
    next: &Path,
    words: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>,
    chain: &ExecChain,
) -> CommandError {
    let mut command = Command::new(next);
    command.args(words.into_iter().skip(1)).env_remove(ExecChain::PASS_VARIABLE);
    if let Some(home) = choice::explicit_home() {
        command.env("CODEX_HOME", home.path());
    }
    command.env(ExecChain::VARIABLE, chain.variable_for_exec(both(next)));
    let error = command.exec();
    not_started(next.as_ref(), &error).hint("repair or remove that program")
}

/// Returns a command that starts the next program as a child; `None` if there is none, or under the name `codex-auth`.
pub(crate) fn as_child() -> Option<Command> {
    let chain = ExecChain::of_process();
    if name::of_this_run() == name::OWN {
        return None;
    }
    let mut command = Command::new(path(&chain)?);
    command.env(ExecChain::VARIABLE, chain.variable_for_child(search_path::own_program_id()));
    Some(command)
}

/// Returns the path of the next program, and its version.
pub(crate) fn with_version() -> Option<(PathBuf, Option<String>)> {
    let next = path(&ExecChain::of_process())?;
    let version = next_version::find(&next);
    Some((next, version))
}

/// Returns the completion script of the next program for zsh, which says more than those for other shells: empty if the
/// program prints none, `None` if there is no next program, or under the name `codex-auth`.
pub(crate) fn completion_script() -> Option<String> {
    let chain = ExecChain::of_process();
    let next = path(&chain).filter(|_| name::of_this_run() != name::OWN)?;
    Some(next_output::of(&next, &["completion", "zsh"]).unwrap_or_default())
}

/// Returns the programs called codex on PATH that are not run, each with the reason.
pub(crate) fn refused() -> Vec<String> {
    let refused = search_path::refused_programs(name::SHARED, &ExecChain::of_process().path);
    refused.iter().map(ToString::to_string).collect()
}
