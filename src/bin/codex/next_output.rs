//! What another program called codex prints, within a time limit.

use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use codex_auth::config::ExecChain;
use codex_auth_platform::filesystem::{self, FileId};
use codex_auth_platform::{process, search_path};

/// How long the next program may take to print its version or its completion script.
const PRINT_TIMEOUT: Duration = Duration::from_secs(3);

/// Returns what `program` prints to standard output within [`PRINT_TIMEOUT`].
pub(crate) fn of(program: &Path, arguments: &[&str]) -> Option<String> {
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
pub(crate) fn both(next: &Path) -> impl Iterator<Item = FileId> {
    [search_path::own_program_id(), filesystem::identity(next)].into_iter().flatten()
}
