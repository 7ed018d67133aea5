//! Programs that run in the background for a user: how the service manager is told of them, and by what file.
//!
//! What is written is returned or printed before anything is done, so that a person can read it first.

mod launchd;
mod systemd;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::private_file::{self, Links, MountPolicy};
use crate::process;

/// A program to be run in the background, from the login of a user to their logout.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the caller makes it")]
pub struct Service {
    /// Its name: lower-case letters, digits and hyphens.
    pub name: String,
    /// What it is for, in one line.
    pub purpose: String,
    /// The program by its absolute path, and its arguments.
    pub command: Vec<OsString>,
    /// What its environment has besides the user's own.
    pub environment: Vec<(String, OsString)>,
    /// The folders that it writes to; where the manager can close the others, it does.
    pub writes: Vec<PathBuf>,
}

/// What starts the services of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceManager {
    /// launchd of macOS.
    Launchd,
    /// The systemd of a user's session.
    Systemd,
}

/// The manager of this operating system, if it has one that is known here.
pub const NATIVE: Option<ServiceManager> = native();

/// Where managers look for what users have written. Both are given by the caller, who knows the environment.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "the caller makes it")]
pub struct ServiceFolders {
    /// The home directory.
    pub home: PathBuf,
    /// The folder of configuration, `.config` in the home directory or what XDG says.
    pub config: PathBuf,
}

/// Whether an installed service starts at once or at the next login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// At the next login, and at each one after.
    AtLogin,
    /// At once, too.
    Now,
}

/// A call of a manager's own program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagerCall(Vec<String>);

/// Why a service could not be described, installed or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A path or value that no manager's file can hold.
    #[error("{text:?} cannot be in the description of a service: it is no text, or has line ends or quotes")]
    Unwritable {
        /// The text.
        text: String,
    },
    /// The file could not be written or removed.
    #[error("cannot change {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The manager's program failed.
    #[error("`{call}` failed: {said}")]
    Call {
        /// What was run.
        call: ManagerCall,
        /// The last line of what it said, or why it could not be run.
        said: String,
    },
}

impl ServiceManager {
    /// The file that describes `service`.
    pub fn file(self, service: &Service, folders: &ServiceFolders) -> PathBuf {
        match self {
            Self::Launchd => folders.home.join("Library/LaunchAgents").join(launchd::file(service)),
            Self::Systemd => folders.config.join("systemd/user").join(systemd::file(service)),
        }
    }

    /// What is in that file.
    ///
    /// # Errors
    /// [`Error::Unwritable`].
    pub fn describe(self, service: &Service) -> Result<String, Error> {
        match self {
            Self::Launchd => launchd::describe(service),
            Self::Systemd => systemd::describe(service),
        }
    }

    /// The program that a description names, as [`ServiceManager::describe`] wrote it.
    #[must_use]
    pub fn program(self, description: &str) -> Option<PathBuf> {
        match self {
            Self::Launchd => launchd::program(description),
            Self::Systemd => systemd::program(description),
        }
    }

    /// What makes the manager start the service that `file` describes.
    pub fn enabling(self, service: &Service, file: &Path, start: Start) -> Vec<ManagerCall> {
        match self {
            Self::Launchd => launchd::enabling(file, start),
            Self::Systemd => systemd::enabling(service, start),
        }
    }

    /// What makes it stop the service, before its file is removed.
    pub fn disabling(self, service: &Service) -> Vec<ManagerCall> {
        match self {
            Self::Launchd => launchd::disabling(service),
            Self::Systemd => systemd::disabling(service),
        }
    }

    /// What makes it forget the service, after its file was removed.
    pub fn forgetting(self) -> Vec<ManagerCall> {
        match self {
            Self::Launchd => Vec::new(),
            Self::Systemd => systemd::reloading(),
        }
    }
}

/// Whether the service manager started this process and will start it again when it ends with a code other than 0.
///
/// On Linux this is so for a notifying service that restarts on failure, as [`ServiceManager::describe`] makes them; whether
/// another unit does is not known here. `variable` looks up `NOTIFY_SOCKET` and `SYSTEMD_EXEC_PID` on Linux, and
/// `XPC_SERVICE_NAME` on macOS.
pub fn restarts_this_process(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    imp::restarts_this_process(variable)
}

/// Writes `text` to `file`, in one step, and makes the folders above it.
///
/// # Errors
/// [`Error::File`]; what was there is untouched.
pub fn write(file: &Path, text: &str) -> Result<(), Error> {
    let failed = |source| Error::File { path: file.to_owned(), source };
    std::fs::create_dir_all(private_file::parent(file)).map_err(failed)?;
    private_file::replace(file, text.as_bytes(), Links::Follow, MountPolicy::Refuse)
        .map(drop)
        .map_err(|error| failed(io::Error::other(error)))
}

/// What is in `file`, if it is there and can be read.
pub fn read(file: &Path) -> Option<String> {
    std::fs::read_to_string(file).ok()
}

/// Removes `file`; one that is not there is no error.
///
/// # Errors
/// [`Error::File`].
pub fn remove(file: &Path) -> Result<(), Error> {
    match std::fs::remove_file(file) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::File { path: file.to_owned(), source })
        }
        _ => Ok(()),
    }
}

impl ManagerCall {
    fn new(words: &[&str]) -> Self {
        Self(words.iter().map(|word| (*word).to_owned()).collect())
    }

    /// Runs it to its end, with nothing on its input.
    ///
    /// # Errors
    /// [`Error::ManagerCall`].
    pub fn run(&self) -> Result<(), Error> {
        let failed = |said: String| Error::Call { call: self.clone(), said };
        let Some((program, arguments)) = self.0.split_first() else { return Ok(()) };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        let ended = process::without_loader_variables(&mut command)
            .output()
            .map_err(|error| failed(error.to_string()))?;
        if ended.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&ended.stderr);
        let last = said.lines().rev().find(|line| !line.trim().is_empty());
        Err(failed(last.map_or_else(|| ended.status.to_string(), |line| line.trim().to_owned())))
    }
}

impl fmt::Display for ManagerCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

/// `text` as it can stand in a file of lines.
fn line(text: &std::ffi::OsStr) -> Result<&str, Error> {
    let unwritable = || Error::Unwritable { text: text.to_string_lossy().into_owned() };
    text.to_str().filter(|text| !text.chars().any(char::is_control)).ok_or_else(unwritable)
}

#[cfg(target_os = "linux")]
use systemd as imp;

#[cfg(target_os = "macos")]
use launchd as imp;

#[cfg(target_os = "linux")]
const fn native() -> Option<ServiceManager> {
    Some(ServiceManager::Systemd)
}

#[cfg(target_os = "macos")]
const fn native() -> Option<ServiceManager> {
    Some(ServiceManager::Launchd)
}
