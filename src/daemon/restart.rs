//! Restarts a daemon by Codex's own command, with the folder and the environment that it was started with.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use codex_auth_platform::process::start_in_new_session;
use codex_auth_platform::text::shell_word;

use super::error::Error;
use super::found::Daemon;
use super::process::environment;

/// Maximum duration of Codex's command. The daemon waits up to 60 s for turns in progress before it ends them.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(90);

/// When a daemon is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestartCondition {
    /// Only if no turn is in progress.
    Idle,
    /// Also during a turn. The daemon waits a minute for it, then cuts it.
    Always,
}

/// The outcome of [`Daemon::restart`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestartOutcome {
    /// Turns are in progress; nothing was done.
    Busy {
        /// The number of threads with a turn.
        turns: usize,
    },
    /// It was restarted.
    Restarted {
        /// The number of turns that were cut; those that begin after the check for idleness count too.
        turns_cut: usize,
    },
}

impl Daemon {
    /// Restarts the daemon by Codex's own command. Checks for turns in progress immediately before.
    ///
    /// Takes no lock of this crate. The command runs in its own session, so that it also completes if this process ends.
    /// Blocks until it has ended: usually one to ten seconds, 90 at most.
    ///
    /// # Errors
    /// - [`Error::NotManaged`], [`Error::Unreadable`], [`Error::NotStarted`]: nothing was done.
    /// - [`Error::NoAnswer`], [`Error::Unreachable`], [`Error::InvalidAnswer`]: the daemon did not say whether it has turns
    ///   in progress; nothing was done.
    /// - [`Error::Failed`], [`Error::Unfinished`].
    pub fn restart(mut self, condition: RestartCondition) -> Result<RestartOutcome, Error> {
        if !self.process.is_managed {
            return Err(Error::NotManaged { socket: self.socket().to_owned() });
        }
        let conditions = self.process.start_conditions()?;
        let program = self.process.program(&self.paths);
        let mut command = Command::new(&program);
        command.args(["app-server", "daemon", "restart"]);
        command.env_clear().envs(environment(&self.process, &conditions, &self.paths));
        command.current_dir(existing(&conditions.folder));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        start_in_new_session(&mut command);
        self.find_busy()?;
        if condition == RestartCondition::Idle && !self.busy.is_empty() {
            return Ok(RestartOutcome::Busy { turns: self.busy.len() });
        }
        let not_started = |source| Error::NotStarted { program: program.clone(), source };
        let ender = self.connection.ender().map_err(not_started)?;
        let child = command.spawn().map_err(not_started)?;
        let watching =
            thread::Builder::new().spawn(move || self.watch_until_closed()).map_err(not_started)?;
        let ended = wait(child);
        ender.end();
        // The thread ends with the connection.
        let cut = watching.join().unwrap_or_default();
        match ended.map_err(not_started)? {
            Some(status) if status.success() => Ok(RestartOutcome::Restarted { turns_cut: cut.len() }),
            Some(status) => Err(Error::Failed { program, status: status.to_string() }),
            None => Err(Error::Unfinished { program, seconds: COMMAND_TIMEOUT.as_secs() }),
        }
    }

    /// Returns the command that restarts the daemon, for a shell.
    #[must_use]
    pub fn restart_command(&self) -> String {
        let home = shell_word(self.paths.home());
        let program = shell_word(&self.process.program(&self.paths));
        let without = if self.has_environment_token() { "env -u CODEX_ACCESS_TOKEN " } else { "" };
        format!("{without}CODEX_HOME={home} {program} app-server daemon restart")
    }

    /// Follows the turns until the daemon closes the connection, and returns those that were in progress then.
    fn watch_until_closed(mut self) -> BTreeSet<String> {
        self.connection.set_deadline(Instant::now() + COMMAND_TIMEOUT);
        while self.next().is_ok() {}
        self.busy
    }
}

/// Waits for `child`; `None` if it has not ended after [`COMMAND_TIMEOUT`]. It then goes on, and is collected by the
/// system after this process.
fn wait(mut child: Child) -> io::Result<Option<ExitStatus>> {
    let (send, ended) = mpsc::channel();
    thread::Builder::new().spawn(move || send.send(child.wait()))?;
    match ended.recv_timeout(COMMAND_TIMEOUT) {
        Ok(status) => status.map(Some),
        Err(_) => Ok(None),
    }
}

/// The folder, or the root if it was removed.
fn existing(folder: &Path) -> &Path {
    let exists = codex_auth_platform::filesystem::identity(folder).is_some();
    if exists { folder } else { Path::new("/") }
}
