//! Background programs of a user, as services of systemd or launchd.
//!
//! Descriptions and commands are returned before anything runs, so that a person can read them first.

mod launchd;
mod systemd;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::private_file::{self, Links, MountPolicy};
use crate::process;

/// A program that runs in the background while its user is logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the caller makes it")]
pub struct Service {
    /// Its name: lower-case letters, digits and hyphens.
    pub name: String,
    /// Its purpose, in one line.
    pub purpose: String,
    /// The absolute path of the program, and its arguments.
    pub command: Vec<OsString>,
    /// Environment variables besides the user's own.
    pub environment: Vec<(String, OsString)>,
    /// The folders that it writes to; systemd makes all others read-only.
    pub writable_folders: Vec<PathBuf>,
}

/// A program that starts the services of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceManager {
    /// launchd of macOS.
    Launchd,
    /// The systemd instance of a user.
    Systemd,
}

/// The service manager of this operating system, or `None` if there is no known one.
pub const NATIVE: Option<ServiceManager> = native();

/// The folders where managers look for the descriptions that users write. The caller knows the environment and names
/// them.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "the caller makes it")]
pub struct ServiceFolders {
    /// The home directory.
    pub home: PathBuf,
    /// The configuration folder: `$XDG_CONFIG_HOME` or `.config` in the home directory.
    pub config: PathBuf,
}

/// When an installed service starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// At the next login, and at each one after.
    AtLogin,
    /// At once, and at each login.
    Now,
}

/// A command of a service manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagerCall(Vec<String>);

/// A service could not be described, installed or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A path or value that the description of a service cannot contain.
    #[error(
        "{text:?} cannot be used in a service description: it is not text, or contains line ends or quotes"
    )]
    Unwritable {
        /// The path or value.
        text: String,
    },
    /// The file could not be written or removed.
    #[error("cannot change {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The command of the service manager failed.
    #[error("`{call}` failed: {message}")]
    Call {
        /// The command.
        call: ManagerCall,
        /// The last line of its error output, or why it could not be run.
        message: String,
    },
}

impl ServiceManager {
    /// Returns the path of the file that describes `service`.
    pub fn file_path(self, service: &Service, folders: &ServiceFolders) -> PathBuf {
        match self {
            Self::Launchd => folders.home.join("Library/LaunchAgents").join(launchd::file_name(service)),
            Self::Systemd => folders.config.join("systemd/user").join(systemd::file_name(service)),
        }
    }

    /// Returns the content of that file.
    ///
    /// # Errors
    /// [`Error::Unwritable`].
    pub fn describe(self, service: &Service) -> Result<String, Error> {
        match self {
            Self::Launchd => launchd::describe(service),
            Self::Systemd => systemd::describe(service),
        }
    }

    /// Returns the program in a description that [`ServiceManager::describe`] wrote.
    #[must_use]
    pub fn program(self, description: &str) -> Option<PathBuf> {
        match self {
            Self::Launchd => launchd::program(description),
            Self::Systemd => systemd::program(description),
        }
    }

    /// Returns the commands that start the service that `file` describes.
    pub fn enable_calls(self, service: &Service, file: &Path, start: Start) -> Vec<ManagerCall> {
        match self {
            Self::Launchd => launchd::enable_calls(file, start),
            Self::Systemd => systemd::enable_calls(service, start),
        }
    }

    /// Returns the commands that stop the service, to run before its file is removed.
    pub fn disable_calls(self, service: &Service) -> Vec<ManagerCall> {
        match self {
            Self::Launchd => launchd::disable_calls(service),
            Self::Systemd => systemd::disable_calls(service),
        }
    }

    /// Returns the commands that make the manager forget the service, to run after its file was removed.
    pub fn reload_calls(self) -> Vec<ManagerCall> {
        match self {
            Self::Launchd => Vec::new(),
            Self::Systemd => systemd::reload_calls(),
        }
    }
}

/// Returns whether the service manager started this process and restarts it when it exits with a code other than 0.
///
/// On Linux this holds for units of type `notify` that restart on failure, as [`ServiceManager::describe`] writes
/// them; how another unit restarts is not known here. `variable` looks up `NOTIFY_SOCKET` and `SYSTEMD_EXEC_PID` on
/// Linux, and `XPC_SERVICE_NAME` on macOS.
pub fn restarts_this_process(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    imp::restarts_this_process(variable)
}

/// Replaces `file` with `text` atomically, and creates missing folders above it.
///
/// # Errors
/// [`Error::File`]; the old content is unchanged.
pub fn write(file: &Path, text: &str) -> Result<(), Error> {
    let failed = |source| Error::File { path: file.to_owned(), source };
    std::fs::create_dir_all(private_file::parent_folder(file)).map_err(failed)?;
    private_file::replace(file, text.as_bytes(), Links::Follow, MountPolicy::Refuse)
        .map(drop)
        .map_err(|error| failed(io::Error::other(error)))
}

/// Returns the content of `file`, or `None` if it cannot be read.
pub fn read(file: &Path) -> Option<String> {
    std::fs::read_to_string(file).ok()
}

/// Removes `file`, if it exists.
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

    /// Runs the command to its end, without input.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub fn run(&self) -> Result<(), Error> {
        let failed = |message: String| Error::Call { call: self.clone(), message };
        let Some((program, arguments)) = self.0.split_first() else { return Ok(()) };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        let ended = process::remove_loader_variables(&mut command)
            .output()
            .map_err(|error| failed(error.to_string()))?;
        if ended.status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&ended.stderr);
        let last = message.lines().rev().find(|single_line| !single_line.trim().is_empty());
        Err(failed(
            last.map_or_else(|| ended.status.to_string(), |single_line| single_line.trim().to_owned()),
        ))
    }
}

impl fmt::Display for ManagerCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

/// Returns `text` if a file of lines can contain it.
fn single_line(text: &std::ffi::OsStr) -> Result<&str, Error> {
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
