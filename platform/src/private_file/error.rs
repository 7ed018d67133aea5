//! The errors of private files, classified by what the caller can do about them.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::attributes::Flag;
use super::walk::UnsafeLink;

/// A private file could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A folder, pipe, socket or device has the name of the file.
    #[error("{path} is not a regular file; move it out of the way")]
    NotAFile {
        /// The path in question.
        path: PathBuf,
    },
    /// A file or link has the name of the folder.
    #[error("{path} is not a directory; move it out of the way")]
    NotADirectory {
        /// The path in question.
        path: PathBuf,
    },
    /// A symbolic link where none is followed.
    #[error("{path} is a symbolic link, which is not followed here; replace it with what it leads to")]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// A link that belongs to a user who owns neither its folder nor this process.
    #[error("the symbolic link {path} belongs to user {uid}; remove it if you did not expect it")]
    ForeignLink {
        /// The link.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// As root: a link that another user can replace leads to a file or folder that does not belong to that user.
    #[error(transparent)]
    UnsafeLink(#[from] UnsafeLink),
    /// A link on the way to the file or folder leads nowhere, for example into a volume that is not mounted.
    #[error("the link {link} leads to {target}, which does not exist")]
    DanglingLink {
        /// The link.
        link: PathBuf,
        /// The path it leads to.
        target: PathBuf,
    },
    /// The folder above a new folder is missing.
    #[error("{path} cannot be created: {parent} does not exist")]
    NoParent {
        /// The folder.
        path: PathBuf,
        /// The folder above it.
        parent: PathBuf,
    },
    /// Links that lead to one another.
    #[error("{path} is a symbolic link that leads back to itself; remove it")]
    LinkLoop {
        /// The first of them.
        path: PathBuf,
    },
    /// The file is larger than the caller accepts.
    #[error("{path} is larger than {limit} bytes, so it cannot be the expected file; check its content")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The maximum, in bytes.
        limit: u64,
    },
    /// This process may not read the file.
    #[error("{path} cannot be read by this user{}", how_to_read(.path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// A read-only file system, or a file or folder that this process may not change.
    #[error("{path} cannot be changed here; make its folder writable for this user")]
    ReadOnly {
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// A flag of the file or of its folder forbids the change, even to root and whatever the permissions are.
    #[error(
        "{path} is marked {flag}, so nothing can be replaced or removed there; as root, run: {}",
        .flag.removal(.path)
    )]
    Flagged {
        /// The file or folder that has the flag.
        path: PathBuf,
        /// The flag.
        flag: Flag,
    },
    /// The file belongs to another user and this process cannot give a new one to that user: treat it as read-only.
    #[error("{path} belongs to user {uid}, and this process cannot keep it so; run as that user")]
    ForeignOwner {
        /// The file or folder.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// The error of the system, if it was called.
        #[source]
        source: Option<io::Error>,
    },
    /// The file system, or this operating system, cannot give single users access.
    #[error(
        "{path} cannot be shared with another user: there are no POSIX access control lists here; choose a folder on a \
         file system of Linux that has them"
    )]
    NoAccessLists {
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// A user who does not exist in the user namespace of this process.
    #[error("{path} cannot be shared with user {}: no such user in this user namespace", numbers(.users))]
    UnknownUser {
        /// The file or folder.
        path: PathBuf,
        /// The users.
        users: Vec<u32>,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The file is itself a mount point, so it cannot be replaced.
    #[error(
        "{path} is mounted by itself and cannot be replaced safely; mount the folder instead of the file"
    )]
    MountPoint {
        /// The file.
        path: PathBuf,
    },
    /// A full disk, a quota or a file size limit. The old content is unchanged.
    #[error("no space for {needed} bytes in {path}; free some, or raise the quota")]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// The number of bytes needed.
        needed: u64,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The change is visible to every process, but may not survive a power failure.
    #[error("{path} was changed, but the disk did not confirm it; check the disk")]
    Unsynced {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// Any other error.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// The action that failed.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Returns whether reading still works and only writing does not: [`Error::ReadOnly`], [`Error::Flagged`] and
    /// [`Error::ForeignOwner`].
    pub fn is_read_only(&self) -> bool {
        matches!(self, Self::ReadOnly { .. } | Self::Flagged { .. } | Self::ForeignOwner { .. })
    }

    /// Classifies a failed change by what the caller can do about it.
    pub(super) fn from_write(action: &'static str, path: &Path, needed: u64, source: io::Error) -> Self {
        if let Some(unsafe_link) = unsafe_link(&source) {
            return unsafe_link.into();
        }
        let path = path.to_owned();
        match Errno::from_io_error(&source) {
            Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => Self::NoSpace { path, needed, source },
            Some(Errno::ROFS | Errno::ACCESS | Errno::PERM) => Self::ReadOnly { path, source },
            Some(Errno::LOOP) => Self::Link { path },
            Some(Errno::ISDIR | Errno::NXIO) => Self::NotAFile { path },
            Some(Errno::BUSY | Errno::XDEV) => Self::MountPoint { path },
            _ => Self::Io { action, path, source },
        }
    }

    /// Classifies a failed read.
    pub(super) fn from_read(action: &'static str, path: &Path, source: io::Error) -> Self {
        if let Some(unsafe_link) = unsafe_link(&source) {
            return unsafe_link.into();
        }
        let path = path.to_owned();
        match Errno::from_io_error(&source) {
            Some(Errno::ACCESS | Errno::PERM) => Self::Unreadable { path, source },
            Some(Errno::LOOP) => Self::Link { path },
            Some(Errno::NXIO) => Self::NotAFile { path },
            _ => Self::Io { action, path, source },
        }
    }
}

fn unsafe_link(error: &io::Error) -> Option<UnsafeLink> {
    error.get_ref()?.downcast_ref::<UnsafeLink>().cloned()
}

fn numbers(users: &[u32]) -> String {
    users.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Returns who may read `path`, and what this user can do.
fn how_to_read(path: &Path) -> String {
    let user = rustix::process::geteuid().as_raw();
    match std::fs::symlink_metadata(path).map(|file| file.uid()) {
        Ok(owner) if owner == user => format!("; make it readable: chmod u+r {}", path.display()),
        Ok(owner) => format!(
            " (uid {user}), it belongs to uid {owner}; run as that user, or as root: chown {user} {}",
            path.display()
        ),
        Err(_) => "; check the owner and the mode of the folders above it".to_owned(),
    }
}
