//! How another process of this user was started: when, in which folder and with which environment.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use zeroize::Zeroizing;

/// When a process started. Together with its process id it identifies the process: ids are used again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StartTime {
    /// The id that the kernel gave itself when it started.
    pub boot_id: String,
    /// Clock ticks since then.
    pub ticks: u64,
}

/// The folder and the environment that a process was started with, to start another one like it.
#[non_exhaustive]
pub struct StartConditions {
    /// The folder that it works in now.
    pub folder: PathBuf,
    /// May hold secrets; wiped on drop.
    environment: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for StartConditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartConditions").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl StartConditions {
    /// Reads those of the process `pid`.
    ///
    /// # Errors
    /// Fails if the process has ended or is closed to inspection, and with `Unsupported` on macOS.
    pub fn of(pid: u32) -> io::Result<Self> {
        let (folder, environment) = imp::conditions(pid)?;
        Ok(Self { folder, environment })
    }

    /// Returns the environment variables that the process was started with.
    pub fn variables(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.environment.split(|byte| *byte == 0).filter_map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=')?;
            Some((OsStr::from_bytes(&pair[..at]), OsStr::from_bytes(&pair[at + 1..])))
        })
    }

    /// Returns whether the variable `name` was set to something.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.variables().any(|(known, value)| known == name && !value.is_empty())
    }
}

impl StartTime {
    /// Reads that of the process `pid`.
    ///
    /// # Errors
    /// Fails if there is no such process, and with `Unsupported` on macOS.
    pub fn of(pid: u32) -> io::Result<Self> {
        imp::start_time(pid)
    }
}

/// Returns the folders of `path`, a search path, without those in one of the folders `above`; unchanged if they cannot be
/// joined.
#[must_use]
pub fn without_folders_in(path: &OsStr, above: &[PathBuf]) -> OsString {
    let kept =
        std::env::split_paths(path).filter(|folder| !above.iter().any(|above| folder.starts_with(above)));
    std::env::join_paths(kept).unwrap_or_else(|_| path.to_owned())
}

#[cfg(target_os = "linux")]
mod imp {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::{StartTime, Zeroizing, io};

    /// The number of the start time among the fields of `/proc/PID/stat` after the name, which may contain spaces.
    const START_TIME_AFTER_NAME: usize = 19;

    pub(super) fn start_time(pid: u32) -> io::Result<StartTime> {
        let stat = fs::read_to_string(folder(pid).join("stat"))?;
        let after_name = stat.rsplit_once(") ").map(|(_, fields)| fields);
        let ticks = after_name.and_then(|fields| fields.split(' ').nth(START_TIME_AFTER_NAME)?.parse().ok());
        let ticks = ticks.ok_or(io::ErrorKind::InvalidData)?;
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(StartTime { boot_id, ticks })
    }

    pub(super) fn conditions(pid: u32) -> io::Result<(PathBuf, Zeroizing<Vec<u8>>)> {
        let environment = Zeroizing::new(fs::read(folder(pid).join("environ"))?);
        Ok((fs::read_link(folder(pid).join("cwd"))?, environment))
    }

    fn folder(pid: u32) -> PathBuf {
        Path::new("/proc").join(pid.to_string())
    }
}

#[cfg(target_os = "macos")]
mod imp {
    use std::path::PathBuf;

    use super::{StartTime, Zeroizing, io};

    pub(super) fn start_time(_: u32) -> io::Result<StartTime> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn conditions(_: u32) -> io::Result<(PathBuf, Zeroizing<Vec<u8>>)> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_below_others_are_left_out() {
        let above = [PathBuf::from("/home/packages"), PathBuf::from("/home/tmp")];
        let path = OsStr::new("/home/tmp/a:/usr/bin:/home/packages:/home/tmpx:");
        assert_eq!(without_folders_in(path, &above), "/usr/bin:/home/tmpx:");
    }
}
