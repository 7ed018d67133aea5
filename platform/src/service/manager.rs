//! The service managers, and the files that describe services to them.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::description::{Error, ManagerCall, Service, Start};
#[cfg(target_os = "macos")]
use super::launchd as imp;
#[cfg(target_os = "linux")]
use super::systemd as imp;
use super::{launchd, systemd};
use crate::filesystem::parent_folder;
use crate::private_file::{self, DirectoryState, FileMode, Links, MountPolicy};

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

/// Returns the owner of the folder `home` if this process is root and the owner is another user, whose service manager it
/// cannot reach.
#[must_use]
pub fn foreign_owner(home: &Path) -> Option<u32> {
    let is_root = rustix::process::geteuid().is_root();
    let owner = private_file::ownership(home, Links::Follow).ok()??.owner;
    (is_root && owner != 0).then_some(owner)
}

/// Replaces `file` with `text` atomically, and creates missing folders above it.
///
/// # Errors
/// [`Error::File`]; the old content is unchanged.
pub fn write(file: &Path, text: &str) -> Result<(), Error> {
    let failed = |source| Error::File { path: file.to_owned(), source };
    let folder = parent_folder(file);
    let written = private_file::directory_state(folder).and_then(|state| {
        if state == DirectoryState::Missing {
            private_file::create_directory(folder)?;
        }
        private_file::replace(file, text.as_bytes(), Links::Follow, MountPolicy::Refuse, FileMode::Kept)
            .map(drop)
    });
    written.map_err(|error| failed(io::Error::other(error)))
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

#[cfg(target_os = "linux")]
const fn native() -> Option<ServiceManager> {
    Some(ServiceManager::Systemd)
}

#[cfg(target_os = "macos")]
const fn native() -> Option<ServiceManager> {
    Some(ServiceManager::Launchd)
}
