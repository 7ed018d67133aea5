//! The next program called `codex` on PATH: which one it is, how it is started, and what it prints.

use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use codex_auth::config::ExecChain;
use codex_auth_platform::filesystem::{self, FileId};
use codex_auth_platform::{process, search_path};

use crate::error::{CommandError, Exit};
use crate::name;

/// How long the next program may take to print its version or its completion script.
const PRINT_TIMEOUT: Duration = Duration::from_secs(3);

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
    command.env(ExecChain::VARIABLE, chain.variable_for_exec(both(next)));
    let error = command.exec();
    CommandError::new(Exit::Failed, format!("cannot run {}: {error}", next.display()))
        .hint("repair or remove that program")
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

/// Returns the path of the next program, and the version that it prints.
pub(crate) fn with_version() -> Option<(PathBuf, Option<String>)> {
    let next = path(&ExecChain::of_process())?;
    let version = version(&next);
    Some((next, version))
}

/// Returns the first line that `program --version` prints.
pub(crate) fn version(program: &Path) -> Option<String> {
    let printed = printed(program, &["--version"])?;
    let line = printed.lines().next().unwrap_or_default();
    Some(crate::output::plain(line.trim())).filter(|line| !line.is_empty())
}

/// Returns the completion script of the next program for zsh, which says more than those for other shells: empty if the
/// program prints none, `None` if there is no next program, or under the name `codex-auth`.
pub(crate) fn completion_script() -> Option<String> {
    let chain = ExecChain::of_process();
    let next = path(&chain).filter(|_| name::of_this_run() != name::OWN)?;
    Some(printed(&next, &["completion", "zsh"]).unwrap_or_default())
}

/// Returns the programs called codex on PATH that are not run, each with the reason.
pub(crate) fn refused() -> Vec<String> {
    let refused = search_path::refused_programs(name::SHARED, &ExecChain::of_process().path);
    refused.iter().map(ToString::to_string).collect()
}

/// Returns what `program` prints to standard output within [`PRINT_TIMEOUT`].
fn printed(program: &Path, arguments: &[&str]) -> Option<String> {
    let chain = ExecChain::of_process();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // A script that starts this program again must not be asked again.
    command.env(ExecChain::VARIABLE, chain.variable_for_child(both(program)));
    let mut child = process::remove_loader_variables(&mut command).spawn().ok()?;
    let mut stdout = child.stdout.take()?;
    let (send, text) = mpsc::channel();
    let read = move || {
        let mut text = Vec::new();
        let read: io::Result<_> = stdout.read_to_end(&mut text).map(|_| text);
        send.send(read)
    };
    let text = thread::Builder::new().spawn(read).ok().and_then(|_| text.recv_timeout(PRINT_TIMEOUT).ok());
    if text.is_none() {
        let _ = child.kill();
    }
    let _ = child.wait();
    Some(String::from_utf8_lossy(&text?.ok()?).into_owned())
}

/// This program and `next`.
fn both(next: &Path) -> impl Iterator<Item = FileId> {
    [search_path::own_program_id(), filesystem::identity(next)].into_iter().flatten()
}
