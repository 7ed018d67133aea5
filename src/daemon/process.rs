//! The process of a daemon: that it is Codex, and that it is the one which Codex's own commands know.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use codex_auth_platform::peer::{self, Peer};
use codex_auth_platform::private_file::{self, Links};
use codex_auth_platform::process;
use codex_auth_platform::process_start::{StartConditions, StartTime, without_folders_in};
use serde::Deserialize;

use super::error::Error;
use super::served::DocumentAge;
use crate::home::Home;

/// The name of Codex's program.
const PROGRAM: &str = "codex";
/// Maximum size of the pid file.
const MAX_PID_FILE: u64 = 64 * 1024;
/// Seconds within which a daemon has read the login after its pid file was written.
const READ_WITHIN: i64 = 2;
/// Holds the token that a daemon serves instead of the stored login.
const ACCESS_TOKEN: &str = "CODEX_ACCESS_TOKEN";
/// Variables of this program that concern the process that started the daemon, and not the daemon.
const OWN_VARIABLES: [&str; 2] =
    [crate::config::ExecChain::VARIABLE, crate::config::ExecChain::PASS_VARIABLE];

/// The paths of a home that concern the daemon.
#[derive(Clone, Debug)]
pub(super) struct DaemonPaths {
    home: PathBuf,
}

impl DaemonPaths {
    pub(super) fn of(home: &Home) -> Self {
        Self { home: home.path().to_owned() }
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// Returns the path of the socket, `None` if there is none, with one system call.
    pub(super) fn socket(&self) -> Result<Option<PathBuf>, Error> {
        let socket = self.home.join("app-server-control").join("app-server-control.sock");
        peer::socket_behind(&socket).map_err(|source| Error::Unreachable { socket, source })
    }

    fn pid_file(&self) -> PathBuf {
        self.home.join("app-server-daemon").join("daemon.pid")
    }

    /// Codex's copies of itself.
    fn packages(&self) -> PathBuf {
        self.home.join("packages")
    }

    /// The copy that Codex's own commands start as the daemon.
    fn managed_program(&self) -> PathBuf {
        self.packages().join("app-server-daemon").join("current").join("bin").join(PROGRAM)
    }

    /// Whether the stored document was written before or after the daemon started.
    pub(super) fn age_of_document(&self, home: &Home) -> DocumentAge {
        let modified = |path: &Path| {
            let stamp = private_file::stamp(path, Links::Follow).ok().flatten()?;
            Some(stamp.modified())
        };
        match (modified(&self.pid_file()), modified(&home.document())) {
            (Some(started), Some(written)) if written <= started => DocumentAge::OlderThanDaemon,
            (Some(started), Some(written)) if written.0 > started.0 + READ_WITHIN => {
                DocumentAge::NewerThanDaemon
            }
            _ => DocumentAge::Unknown,
        }
    }
}

/// The content of the pid file, as far as it is used.
#[derive(Deserialize)]
struct PidFile {
    pid: u32,
    #[serde(rename = "processIdentity")]
    identity: Option<PidFileIdentity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PidFileIdentity {
    boot_id: String,
    start_ticks: u64,
}

/// The process that listens at the daemon's socket.
#[derive(Clone, Debug)]
pub(super) struct DaemonProcess {
    /// `None` if the system does not say.
    pub(super) pid: Option<u32>,
    executable: Option<PathBuf>,
    /// Whether it is the process of the pid file.
    pub(super) is_managed: bool,
}

impl DaemonProcess {
    /// Identifies the process at the other end of `socket`. Checks that it is Codex where the system shows its program.
    pub(super) fn identify(paths: &DaemonPaths, socket: &Path, peer: Peer) -> Result<Self, Error> {
        let content = private_file::read(&paths.pid_file(), MAX_PID_FILE, Links::Refuse).ok().flatten();
        let file = content.and_then(|content| serde_json::from_slice::<PidFile>(&content.bytes).ok());
        let recorded = file.as_ref().filter(|file| is_the_process_of(file));
        let pid = peer.pid.or_else(|| recorded.map(|file| file.pid));
        let executable = pid.and_then(process::executable_of);
        if let (Some(pid), Some(executable)) = (pid, &executable)
            && executable.file_name() != Some(OsStr::new(PROGRAM))
            && !executable.starts_with(paths.packages())
        {
            let (socket, executable) = (socket.to_owned(), executable.clone());
            return Err(Error::NotCodex { socket, pid, executable });
        }
        let is_managed = recorded.is_some_and(|file| Some(file.pid) == pid);
        Ok(Self { pid, executable, is_managed })
    }

    /// Returns the conditions it was started with.
    pub(super) fn start_conditions(&self) -> Result<StartConditions, Error> {
        let pid = self.pid.unwrap_or_default();
        StartConditions::of(pid).map_err(|source| Error::Unreadable { pid, source })
    }

    /// Returns whether it serves the token of an environment variable.
    pub(super) fn has_environment_token(&self) -> bool {
        self.pid.is_some() && self.start_conditions().is_ok_and(|conditions| conditions.has(ACCESS_TOKEN))
    }

    /// Returns the program whose command restarts it.
    pub(super) fn program(&self, paths: &DaemonPaths) -> PathBuf {
        let managed = paths.managed_program();
        let exists = codex_auth_platform::filesystem::identity(&managed).is_some();
        match &self.executable {
            Some(executable) if !exists => executable.clone(),
            _ => managed,
        }
    }
}

/// Whether the process that the pid file names is still the same one. Where the system shows no start time, any process
/// with its id is.
fn is_the_process_of(file: &PidFile) -> bool {
    let Some(identity) = &file.identity else { return true };
    StartTime::of(file.pid).map_or_else(
        |error| error.kind() == std::io::ErrorKind::Unsupported,
        |start| start.boot_id == identity.boot_id && start.ticks == identity.start_ticks,
    )
}

/// Returns the environment of a process that replaces `process`, which has these `conditions`: without what Codex adds to
/// `PATH` at each start, and without the variables of this program that concern its starter.
pub(super) fn environment(
    process: &DaemonProcess,
    conditions: &StartConditions,
    paths: &DaemonPaths,
) -> Vec<(OsString, OsString)> {
    let package = process.executable.as_deref().and_then(|executable| executable.ancestors().nth(2));
    let tools = package.map(|package| package.join("codex-path"));
    let added: Vec<_> = [paths.packages(), paths.home().join("tmp")].into_iter().chain(tools).collect();
    let kept = conditions.variables().filter(|(name, _)| !OWN_VARIABLES.iter().any(|own| name == own));
    kept.map(|(name, value)| {
        let value = if name == "PATH" { without_folders_in(value, &added) } else { value.to_owned() };
        (name.to_owned(), value)
    })
    .collect()
}
