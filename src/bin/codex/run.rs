//! `codex run`: runs a command with a private home that holds the access token only.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;

use clap::Args;
use codex_auth::AuthDocument;
use codex_auth::config::{CREDENTIAL_VARIABLES, VARIABLES};
use codex_auth::keeper::PrivateHome;
use codex_auth::manager::{AccountPolicy, AuthManager, RefreshReason, Snapshot, SnapshotStatus};
use codex_auth_platform::hardening;
use codex_auth_platform::process::{self, PassedSignal};
use codex_auth_platform::text::shell_word;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::context::CommandContext;
use crate::error::{CommandError, CommandOutcome, Exit};
use crate::output::Output;
use crate::refresh::refreshed;
use crate::status::unusable;
use crate::sync;

/// What a shell adds to the number of the signal that ended a command.
const SIGNAL_CODE: i32 = 128;
/// The exit codes of a shell for a command that is missing, and for one that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_RUN: u8 = 126;

/// The variables that a command needs to start and to find its files.
const SYSTEM_VARIABLES: [&str; 8] =
    ["HOME", "IFS", "LD_LIBRARY_PATH", "LD_PRELOAD", "PWD", "SHELL", "TMPDIR", "USER"];

/// The variables that choose a login; a command of the run has one login only.
const LOGIN_VARIABLES: [&str; 2] = ["CODEX_AUTH_ACCOUNT", "CODEX_AUTH_SOCKET"];

#[derive(Args, Debug)]
#[command(after_help = crate::help::RUN)]
pub(crate) struct RunArguments {
    /// Set this variable to the access token too. Every process of the command can read it, and it is not renewed
    #[arg(long, value_name = "NAME")]
    env: Option<String>,

    /// The command and its arguments
    #[arg(value_name = "CMD", required = true, last = true)]
    command: Vec<OsString>,
}

pub(crate) fn run(arguments: &RunArguments, output: &mut Output) -> CommandOutcome {
    arguments.env.as_deref().map_or(Ok(()), check_variable)?;
    let session = CommandContext::open(output)?;
    let snapshot = fresh(&session)?;
    let home = PrivateHome::create(session.home(), &snapshot, session.clock.now())?;
    let mut command = command(arguments, &home, &snapshot)?;
    home.share_with_child(&mut command);
    // Held before the command starts, so that no signal is missed.
    crate::runtime::run(async {
        let signals = Signals::new()?;
        let child = hardening::restore_inherited_settings(&mut command).spawn();
        let child = child.map_err(|error| not_started(command.get_program(), &error))?;
        let ended = watch_over(child, signals, &session, &home).await?;
        match exit_code(ended) {
            0 => Ok(()),
            code => Err(CommandError::exited(code)),
        }
    })
}

/// Reads the login, refreshed first if it is stale.
fn fresh(session: &CommandContext) -> Result<Arc<Snapshot>, CommandError> {
    let snapshot = session.snapshot()?;
    let now = session.clock.now();
    let refreshable = snapshot.document().and_then(AuthDocument::fingerprint).is_some();
    let is_stale = matches!(snapshot.status(now), SnapshotStatus::Stale | SnapshotStatus::Expired);
    let snapshot = match refreshable && is_stale {
        false => snapshot,
        true => {
            let done = refreshed(RefreshReason::Stale, &snapshot, AccountPolicy::Follow, &session.deadline);
            let latest = session.snapshot()?;
            // Its token may still be valid.
            done.or_else(|error| match latest.status(session.clock.now()) {
                SnapshotStatus::Fresh | SnapshotStatus::Stale => Ok(()),
                _ => Err(error),
            })?;
            latest
        }
    };
    match snapshot.usability(session.clock.now()).reason() {
        Some(reason) => Err(unusable(reason)),
        None => Ok(snapshot),
    }
}

/// Refuses a variable that a token cannot replace: the command or this program would not work with it.
fn check_variable(name: &str) -> CommandOutcome {
    let refused = |problem: String| Err(CommandError::new(Exit::Usage, problem));
    if name.is_empty() || name.contains(['=', '\0']) {
        return refused("--env needs the name of a variable".to_owned());
    }
    let is_credential = CREDENTIAL_VARIABLES.iter().any(|variable| variable.name == name);
    let is_known = VARIABLES.iter().any(|variable| variable.name == name) || name.starts_with("CODEX_AUTH_");
    if !is_credential && (is_known || SYSTEM_VARIABLES.contains(&name)) {
        return refused(format!("--env cannot set {name}, which programs need for something else"));
    }
    Ok(())
}

fn command(
    arguments: &RunArguments,
    home: &PrivateHome,
    snapshot: &Snapshot,
) -> Result<Command, CommandError> {
    let [program, words @ ..] = arguments.command.as_slice() else {
        return Err(CommandError::new(Exit::Usage, "a command is missing for `codex run`"));
    };
    let mut command = Command::new(program);
    command.args(words).env("CODEX_HOME", home.path());
    // They would make programs use another login than that of the private home.
    for variable in CREDENTIAL_VARIABLES.iter().map(|variable| variable.name).chain(LOGIN_VARIABLES) {
        command.env_remove(variable);
    }
    for address in ["CODEX_REFRESH_TOKEN_URL_OVERRIDE", "CODEX_REVOKE_TOKEN_URL_OVERRIDE"] {
        command.env(address, PrivateHome::CLOSED_ADDRESS);
    }
    if let (Some(name), Some(token)) = (&arguments.env, snapshot.document().and_then(AuthDocument::bearer)) {
        command.env(name, token.expose());
    }
    Ok(command)
}

/// Passes signals on and keeps the document in step with the login until the command has ended.
async fn watch_over(
    mut child: Child,
    mut signals: Signals,
    session: &CommandContext,
    home: &PrivateHome,
) -> Result<ExitStatus, CommandError> {
    let pid = child.id();
    let (end, mut ended) = tokio::sync::oneshot::channel();
    // Without the thread, the wait below blocks this one.
    let waiting = std::thread::Builder::new().spawn(move || end.send(process::wait_for_exit(pid)));
    let manager = AuthManager::builder(session.home().clone(), session.environment.clone());
    let manager = manager.policy(AccountPolicy::Follow).open_anyway();
    let _watch = manager.watch();
    let mut snapshots = manager.subscribe();
    let keeper = sync::keep_beside(session);
    tokio::pin!(keeper);
    let mut keeps = true;
    while waiting.is_ok() {
        tokio::select! {
            _ = &mut ended => break,
            received = signals.next() => {
                // It may have ended just now.
                let _ = process::send_signal(pid, received);
            }
            changed = snapshots.changed() => {
                if changed.is_err() {
                    continue;
                }
                let snapshot = snapshots.borrow_and_update().clone();
                if let Err(error) = home.update(&snapshot, session.clock.now()) {
                    tracing::warn!(%error, "the private home keeps its old token");
                }
            }
            outcome = &mut keeper, if keeps => {
                keeps = false;
                tracing::debug!(?outcome, "this run keeps no login fresh");
            }
        }
    }
    child
        .wait()
        .map_err(|error| CommandError::new(Exit::Failed, format!("cannot wait for the command: {error}")))
}

/// The signals that are passed on. The terminal sends its own to the command as well, which is in the same group.
struct Signals {
    hangup: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    user1: Signal,
    user2: Signal,
    alarm: Signal,
    is_of_terminal: bool,
}

impl Signals {
    fn new() -> Result<Self, CommandError> {
        let listen =
            |kind| signal(kind).map_err(|error| CommandError::cannot_start("a signal handler", &error));
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            interrupt: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
            terminate: listen(SignalKind::terminate())?,
            user1: listen(SignalKind::user_defined1())?,
            user2: listen(SignalKind::user_defined2())?,
            alarm: listen(SignalKind::alarm())?,
            is_of_terminal: io::stdin().is_terminal(),
        })
    }

    /// Waits for the next signal that the command does not get by itself.
    async fn next(&mut self) -> PassedSignal {
        loop {
            let (received, by_terminal) = tokio::select! {
                _ = self.hangup.recv() => (PassedSignal::Hangup, false),
                _ = self.terminate.recv() => (PassedSignal::Terminate, false),
                _ = self.user1.recv() => (PassedSignal::User1, false),
                _ = self.user2.recv() => (PassedSignal::User2, false),
                _ = self.alarm.recv() => (PassedSignal::Alarm, false),
                _ = self.interrupt.recv() => (PassedSignal::Interrupt, self.is_of_terminal),
                _ = self.quit.recv() => (PassedSignal::Quit, self.is_of_terminal),
            };
            if !by_terminal {
                return received;
            }
        }
    }
}

/// The exit code as a shell reports it.
pub(crate) fn exit_code(ended: ExitStatus) -> u8 {
    let code = ended.code().or_else(|| ended.signal().map(|signal| SIGNAL_CODE + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// The error for a program that cannot be started, with the exit code of a shell.
pub(crate) fn not_started(program: &OsStr, error: &io::Error) -> CommandError {
    let program = shell_word(program.as_ref());
    let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUN };
    CommandError::new(Exit::Failed, format!("cannot run {program}: {error}")).with_code(code)
}
