//! The errors of locks on files and directories.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::note::{Holder, HolderName};

/// Returns what to do about a lock that another process holds. A new lock file is closed to other users.
fn next_step(path: &Path, holder: Option<&Holder>) -> String {
    match holder {
        Some(Holder { user: Some(_), .. }) => {
            format!("if that user has no business with it, remove the file: rm {}", path.display())
        }
        _ => "try again when that has finished".to_owned(),
    }
}

/// A lock could not be acquired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process still holds it.
    #[error(
        "{path} is still locked by {} after {waited:.1?}; {}",
        HolderName(.holder.as_ref()), next_step(.path, .holder.as_ref())
    )]
    Held {
        /// The lock file or directory.
        path: PathBuf,
        /// How long this process waited.
        waited: Duration,
        /// The holder by its own note, or else by the kernel's list.
        holder: Option<Holder>,
    },
    /// The lock file cannot be created or opened, so what it guards can be read but not changed.
    #[error("cannot lock {path}: {source}; make it and its folder writable for this user")]
    ReadOnly {
        /// The lock file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// A folder, link, pipe, socket or device has the name of the lock file.
    #[error("{path} is not a regular file and cannot be a lock; remove it")]
    NotAFile {
        /// The path in question.
        path: PathBuf,
    },
    /// Something other than a directory is at the path.
    #[error("{path} is not a directory and cannot be locked as one; move it out of the way")]
    NotADirectory {
        /// The path in question.
        path: PathBuf,
    },
    /// The directory cannot be opened, which is necessary to lock it.
    #[error("the directory {path} cannot be read by this user, so it cannot be locked; make it readable")]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// Another process keeps replacing the lock file or directory before it can be locked.
    #[error(
        "{path} is replaced again and again, so it cannot be locked; find and stop the program that replaces it"
    )]
    Unstable {
        /// The lock file or directory.
        path: PathBuf,
    },
    /// The file system does not support locks.
    #[error("{path} cannot be locked: its file system has no locks ({source}); use a folder on another disk")]
    Unsupported {
        /// The lock file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// Any other error, such as a missing folder.
    #[error("cannot lock {path}: {source}")]
    Io {
        /// The lock file or directory.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
}
