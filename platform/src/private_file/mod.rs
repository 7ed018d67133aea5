//! Owner-only files with atomic replacement.
//!
//! A file written here has mode 0600, whatever the umask. It is replaced by renaming a finished, synced file over it,
//! so that a reader, a crash or a `kill -9` sees all of the old content or all of the new. Nothing here takes a lock:
//! two concurrent writers leave one of the two contents, and readers need no lock.
//!
//! **Links.** Only the last component of a path is checked, and the caller chooses with [`Links`]. Links among the
//! folders above it are followed.
//!
//! **Owners.** Root, in another user's folder, gives whatever it creates to that user before it appears under its
//! name. It changes the owner of new files only: a user may put a hard link to root's files into a folder of their
//! own.
//!
//! Temporary files are named `.{name}.{16 hex digits}.tmp`; see [`remove_leftovers`].

mod attributes;
mod contents;
mod directory;
mod folder;
mod location;
mod predicate;
mod replacement;
mod reserved;
mod temporary;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

pub use attributes::Flag;
pub use contents::{Contents, Exposure, FileOwnership, Stamp, ownership, read, stamp};
pub use directory::{
    DirectoryOutcome, DirectoryState, canonical, check_can_create_directory, create_directory,
    directory_state,
};
pub use location::{FolderLocation, locate_folder};
pub use predicate::{check_can_remove, check_can_replace, check_can_reserve};
pub use replacement::{
    MountPolicy, Replacement, ReplacementNote, ReplacementReport, replace, test_replacement,
};
pub use reserved::{ReservedFile, is_blank};

pub(crate) use folder::{OpenFolder, SAFE_OPEN, check_writable, parent_folder};
pub(crate) use predicate::check_can_replace_in;
pub(crate) use temporary::{TemporaryFile, is_contended, random};

/// Maximum number of links in a row, as on Linux.
const MAX_LINKS: usize = 40;

/// What to do if the path names a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Links {
    /// Use the file that it leads to, even if that does not exist yet; the link stays. Each link on the way must
    /// belong to root, to this user, or to the owner of its folder.
    Follow,
    /// Fail with [`Error::Link`].
    Refuse,
}

/// Whether a removal found a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a file was there or it was not")]
pub enum Removal {
    /// The file is removed and its folder synced.
    Removed,
    /// There was no file.
    Absent,
}

/// The outcome of [`repair`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RepairOutcome {
    /// Only its owner can access the file.
    NotNeeded,
    /// The mode was changed to 0600.
    Repaired {
        /// The former permission bits.
        from: u32,
    },
    /// There is no such file.
    Absent,
}

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
    /// A link on the way to the file or folder leads nowhere, for example into a volume that is not mounted.
    #[error(
        "the link {link} leads to {target}, which does not exist; mount the volume it is on, or correct the link"
    )]
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
    #[error("{path} cannot be read by this user; give it back to its owner, or run as that user")]
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
    #[error("cannot {action} {path}")]
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
    fn from_write(action: &'static str, path: &Path, needed: u64, source: io::Error) -> Self {
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
    fn from_read(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match Errno::from_io_error(&source) {
            Some(Errno::ACCESS | Errno::PERM) => Self::Unreadable { path, source },
            Some(Errno::LOOP) => Self::Link { path },
            Some(Errno::NXIO) => Self::NotAFile { path },
            _ => Self::Io { action, path, source },
        }
    }
}

/// Returns the path that a write would replace: `path` itself, or with [`Links::Follow`] the path it leads to,
/// whether or not that exists.
///
/// A relative link starts at its folder. The result is absolute only if `path` or the last link is, and is not
/// [`canonical`].
///
/// # Errors
/// [`Error::Link`] if links are refused; [`Error::ForeignLink`]; [`Error::LinkLoop`] after 40 of them;
/// [`Error::Unreadable`] and [`Error::Io`].
pub fn resolve(path: &Path, links: Links) -> Result<PathBuf, Error> {
    let mut here = path.to_owned();
    for _ in 0..=MAX_LINKS {
        let found = match std::fs::symlink_metadata(&here) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(here),
            Err(error) => return Err(Error::from_read("read the metadata of", &here, error)),
        };
        if !found.is_symlink() {
            return Ok(here);
        }
        if links == Links::Refuse {
            return Err(Error::Link { path: here });
        }
        let folder = folder::parent_folder(&here);
        let neighbour = std::fs::metadata(folder)
            .map_err(|error| Error::from_read("read the metadata of", folder, error))?
            .uid();
        if ![0, rustix::process::geteuid().as_raw(), neighbour].contains(&found.uid()) {
            return Err(Error::ForeignLink { path: here, uid: found.uid() });
        }
        let target = std::fs::read_link(&here).map_err(|error| Error::from_read("read", &here, error))?;
        here = folder.join(target);
    }
    Err(Error::LinkLoop { path: path.to_owned() })
}

/// Renames a file within its folder durably; an existing file of the new name is replaced.
///
/// # Errors
/// [`Error::ReadOnly`]; [`Error::Unsynced`]; [`Error::Io`], of kind `NotFound` if there is no such file.
pub fn rename(path: &Path, name: &std::ffi::OsStr) -> Result<(), Error> {
    let failed = |error| Error::from_write("rename", path, 0, error);
    let (folder, old) = OpenFolder::parent_of(path).map_err(failed)?;
    folder.rename(old, name).map_err(failed)?;
    folder.sync().map_err(|source| Error::Unsynced { path: path.with_file_name(name), source })
}

/// Returns the names in a folder; empty if there is no folder.
///
/// # Errors
/// [`Error::Unreadable`]; [`Error::Io`].
pub fn names(folder: &Path) -> Result<Vec<std::ffi::OsString>, Error> {
    match OpenFolder::open(folder).and_then(|folder| folder.names()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        outcome => outcome.map_err(|error| Error::from_read("list", folder, error)),
    }
}

/// Removes a file and what killed writers left of it ([`remove_leftovers`]), durably. A followed link stays and then
/// leads nowhere.
///
/// # Errors
/// Those of [`resolve`]; [`Error::NotAFile`], and nothing is removed; [`Error::MountPoint`]; [`Error::ReadOnly`],
/// [`Error::Flagged`] and [`Error::ForeignOwner`]; [`Error::Unsynced`] if the file is removed but may come back after
/// a power failure; [`Error::Io`].
pub fn remove(path: &Path, links: Links) -> Result<Removal, Error> {
    let target = resolve(path, links)?;
    let (folder, name) = match OpenFolder::parent_of(&target) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Removal::Absent),
        Err(error) => return Err(Error::from_write("open the folder of", &target, 0, error)),
    };
    temporary::remove_leftovers(&folder, name);
    match folder.entry(name).map_err(|error| Error::from_read("read the metadata of", &target, error))? {
        None => return Ok(Removal::Absent),
        Some(entry) if entry.kind != FileType::RegularFile => return Err(Error::NotAFile { path: target }),
        Some(_) => {}
    }
    match folder.unlink(name) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Removal::Absent),
        Err(error) => {
            let refused = predicate::refusal(&folder, name, &target);
            return Err(refused.unwrap_or_else(|| Error::from_write("remove", &target, 0, error)));
        }
    }
    folder.sync().map_err(|source| Error::Unsynced { path: target, source })?;
    Ok(Removal::Removed)
}

/// Sets a file with a looser mode to 0600, through the handle that was checked.
///
/// # Errors
/// Those of [`resolve`]; [`Error::NotAFile`]; [`Error::ForeignOwner`] for a loose file that is not ours to change (as
/// root in another user's folder: one that is not that user's); [`Error::ReadOnly`]; [`Error::Unreadable`];
/// [`Error::Io`].
pub fn repair(path: &Path, links: Links) -> Result<RepairOutcome, Error> {
    let target = resolve(path, links)?;
    let (folder, name) = match OpenFolder::parent_of(&target) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(RepairOutcome::Absent),
        Err(error) => return Err(Error::from_read("open the folder of", &target, error)),
    };
    let file = match folder.open_entry(name, OFlags::RDONLY, Mode::empty()) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(RepairOutcome::Absent),
        Err(error) => return Err(Error::from_read("open", &target, error)),
    };
    let found = file.metadata().map_err(|error| Error::from_read("read the metadata of", &target, error))?;
    if !found.is_file() {
        return Err(Error::NotAFile { path: target });
    }
    let Exposure::Loose { mode } = Exposure::of(&found) else { return Ok(RepairOutcome::NotNeeded) };
    if found.uid() != folder.expected_owner() {
        return Err(Error::ForeignOwner { path: target, uid: found.uid(), source: None });
    }
    rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR)
        .map_err(|error| Error::from_write("change the mode of", &target, 0, error.into()))?;
    Ok(RepairOutcome::Repaired { from: mode })
}

/// Removes the temporary files that killed writers of this file left beside it, and returns how many.
///
/// They contain what was being written, so [`Replacement::reserve`], [`replace`] and [`remove`] call this first; it
/// costs one listing of the folder. A live writer holds a lock on its temporary file, and only files that can be
/// locked are removed; on a file system without locks, none is. Files that cannot be read or removed are left for the
/// next time.
pub fn remove_leftovers(path: &Path, links: Links) -> usize {
    let Ok(target) = resolve(path, links) else { return 0 };
    OpenFolder::parent_of(&target).map_or(0, |(folder, name)| temporary::remove_leftovers(&folder, name))
}

/// Returns the files that [`remove_leftovers`] would remove. While it lists them, no other process can remove them.
pub fn leftovers(path: &Path, links: Links) -> Vec<PathBuf> {
    let Ok(target) = resolve(path, links) else { return Vec::new() };
    let Ok((folder, name)) = OpenFolder::parent_of(&target) else { return Vec::new() };
    temporary::leftovers(&folder, name).into_iter().map(|(name, _held)| target.with_file_name(name)).collect()
}
