//! Owner-only files: read once, replaced whole, never left half written or open to others.
//!
//! A file that is written here has mode 0600 whatever the umask. It is replaced by renaming a finished,
//! synced file over it, so that a reader, a crash or a `kill -9` sees all of the old content or all of the
//! new. Nothing here takes a lock: two writers at once leave one of the two contents, and readers need none.
//!
//! **Links.** Only the last component of a path is ever in question, and the caller says which it wants with
//! [`Links`]. Links among the folders above it are followed.
//!
//! **Owners.** A process of root that works in a folder of another user gives whatever it makes there to that
//! user, before anyone can see it under its name. It changes the owner of no file but those it has just made:
//! a user may put a hard link to root's files into a folder of their own.
//!
//! Temporary files are named `.{name}.{16 hex digits}.tmp`; see [`sweep`].

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
pub use directory::{Created, DirectoryState, canonical, create_directory, directory, may_create_directory};
pub use location::{FolderLocation, locate_folder};
pub use predicate::{may_remove, may_replace, may_reserve};
pub use replacement::{
    MountPolicy, Replacement, ReplacementNote, ReplacementReport, prove_replacement, replace,
};
pub use reserved::{ReservedFile, is_blank};

pub(crate) use folder::{CAREFUL, OpenFolder, check_writable, parent};
pub(crate) use predicate::may_replace_in;
pub(crate) use temporary::{TemporaryFile, is_contended, random};

/// As many links in a row as Linux follows.
const MAX_LINKS: usize = 40;

/// What to do where the path names a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Links {
    /// Work on the file that it leads to, even one that is yet to be made; the link stays. Each link on the
    /// way must belong to root, to this user, or to the owner of the folder it is in.
    Follow,
    /// Fail with [`Error::Link`].
    Refuse,
}

/// Whether there was something to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a file was there or it was not")]
pub enum Removal {
    /// It is gone, and its folder is synced.
    Removed,
    /// There was none.
    Absent,
}

/// What [`repair`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Repair {
    /// Nobody else could use the file.
    NotNeeded,
    /// It is 0600 now and was this before.
    Repaired {
        /// The former permission bits.
        from: u32,
    },
    /// There is no such file.
    Absent,
}

/// Why a private file could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A folder, pipe, socket or device has the name of the file.
    #[error("{path} is not a regular file; move it out of the way")]
    NotAFile {
        /// What was found.
        path: PathBuf,
    },
    /// A file or link has the name of the folder.
    #[error("{path} is not a directory; move it out of the way")]
    NotADirectory {
        /// What was found.
        path: PathBuf,
    },
    /// A symbolic link where none is followed.
    #[error("{path} is a symbolic link, which is not followed here; put the real one in its place")]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// A link that somebody put there who has no business in its folder.
    #[error("the symbolic link {path} belongs to user {uid}; remove it if you did not expect it")]
    ForeignLink {
        /// The link.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// A link on the way to the file or folder leads nowhere, as one does into a volume that is not mounted.
    #[error(
        "the link {link} leads to {target}, which does not exist; mount the volume it is on, or correct the link"
    )]
    DanglingLink {
        /// The link.
        link: PathBuf,
        /// What it leads to.
        target: PathBuf,
    },
    /// The folder that a folder would be created in is missing.
    #[error("{path} cannot be created: {parent} does not exist")]
    NoParent {
        /// The folder.
        path: PathBuf,
        /// The folder around it.
        parent: PathBuf,
    },
    /// Links that lead to one another.
    #[error("{path} is a symbolic link that leads nowhere but to itself; remove it")]
    LinkLoop {
        /// The first of them.
        path: PathBuf,
    },
    /// More than the caller is ready to read.
    #[error("{path} is larger than {limit} bytes, so it is not what it should be; look at what is in it")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that would have been read, in bytes.
        limit: u64,
    },
    /// This process may not read the file.
    #[error("{path} cannot be read by this user; give it back to its owner, or run as that user")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A read-only file system, or a file or folder that this process may not change.
    #[error("{path} cannot be changed here; make its folder writable for this user")]
    ReadOnly {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A flag of the file or of its folder forbids the change, to root as well and whatever the permissions say.
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
    /// It belongs to another user and has to stay so, and that is not in our power: treat it as read-only.
    #[error("{path} belongs to user {uid}, which cannot be arranged from here; run as that user")]
    ForeignOwner {
        /// The file or folder.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
        /// What the system said, where it was asked.
        #[source]
        source: Option<io::Error>,
    },
    /// The file is itself a mount point, so it cannot be replaced whole.
    #[error(
        "{path} is mounted by itself and cannot be replaced safely; mount the folder instead of the file"
    )]
    MountPoint {
        /// The file.
        path: PathBuf,
    },
    /// A full disk, a quota or a file size limit. What was there before is untouched.
    #[error("no space for {needed} bytes in {path}; free some, or raise the quota")]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// How much was asked for, in bytes.
        needed: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The change was made and everybody sees it, but it may not survive a power failure.
    #[error("{path} was changed, but the disk did not confirm it; check the disk")]
    Unsynced {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Whether reading still works and only writing does not: [`Error::ReadOnly`], [`Error::Flagged`] and
    /// [`Error::ForeignOwner`].
    pub fn is_read_only(&self) -> bool {
        matches!(self, Self::ReadOnly { .. } | Self::Flagged { .. } | Self::ForeignOwner { .. })
    }

    /// Sorts a failed change by what the caller can do about it.
    fn change(action: &'static str, path: &Path, needed: u64, source: io::Error) -> Self {
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

    /// Sorts a failed look.
    fn look(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match Errno::from_io_error(&source) {
            Some(Errno::ACCESS | Errno::PERM) => Self::Unreadable { path, source },
            Some(Errno::LOOP) => Self::Link { path },
            Some(Errno::NXIO) => Self::NotAFile { path },
            _ => Self::Io { action, path, source },
        }
    }
}

/// The path that a write would replace: `path` itself, or with [`Links::Follow`] what it leads to, there or
/// not.
///
/// A relative link is taken from its folder. The result is as absolute as `path` and the last link are; it is
/// not [`canonical`].
///
/// # Errors
/// [`Error::Link`] where links are refused; [`Error::ForeignLink`]; [`Error::LinkLoop`] after 40 of them;
/// [`Error::Unreadable`] and [`Error::Io`].
pub fn resolve(path: &Path, links: Links) -> Result<PathBuf, Error> {
    let mut here = path.to_owned();
    for _ in 0..=MAX_LINKS {
        let found = match std::fs::symlink_metadata(&here) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(here),
            Err(error) => return Err(Error::look("look at", &here, error)),
        };
        if !found.is_symlink() {
            return Ok(here);
        }
        if links == Links::Refuse {
            return Err(Error::Link { path: here });
        }
        let folder = folder::parent(&here);
        let neighbour =
            std::fs::metadata(folder).map_err(|error| Error::look("look at", folder, error))?.uid();
        if ![0, rustix::process::geteuid().as_raw(), neighbour].contains(&found.uid()) {
            return Err(Error::ForeignLink { path: here, uid: found.uid() });
        }
        let target = std::fs::read_link(&here).map_err(|error| Error::look("read", &here, error))?;
        here = folder.join(target);
    }
    Err(Error::LinkLoop { path: path.to_owned() })
}

/// Gives a file another name in its folder, and makes that durable; a file of that name is replaced.
///
/// # Errors
/// [`Error::ReadOnly`]; [`Error::Unsynced`]; [`Error::Io`], which is `NotFound` where there is no such file.
pub fn rename(path: &Path, name: &std::ffi::OsStr) -> Result<(), Error> {
    let failed = |error| Error::change("rename", path, 0, error);
    let (folder, old) = OpenFolder::around(path).map_err(failed)?;
    folder.rename(old, name).map_err(failed)?;
    folder.sync().map_err(|source| Error::Unsynced { path: path.with_file_name(name), source })
}

/// The names in a folder; none where there is no folder.
///
/// # Errors
/// [`Error::Unreadable`]; [`Error::Io`].
pub fn names(folder: &Path) -> Result<Vec<std::ffi::OsString>, Error> {
    match OpenFolder::open(folder).and_then(|folder| folder.names()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        outcome => outcome.map_err(|error| Error::look("list", folder, error)),
    }
}

/// Removes a file, then what killed writers left of it ([`sweep`]), then makes that durable. A link that is
/// followed stays, and leads nowhere.
///
/// # Errors
/// Those of [`resolve`]; [`Error::NotAFile`], and nothing is removed; [`Error::MountPoint`];
/// [`Error::ReadOnly`], [`Error::Flagged`] and [`Error::ForeignOwner`]; [`Error::Unsynced`] when it is gone
/// and may come back after a power failure; [`Error::Io`].
pub fn remove(path: &Path, links: Links) -> Result<Removal, Error> {
    let target = resolve(path, links)?;
    let (folder, name) = match OpenFolder::around(&target) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Removal::Absent),
        Err(error) => return Err(Error::change("open the folder of", &target, 0, error)),
    };
    temporary::sweep(&folder, name);
    match folder.entry(name).map_err(|error| Error::look("look at", &target, error))? {
        None => return Ok(Removal::Absent),
        Some(entry) if entry.kind != FileType::RegularFile => return Err(Error::NotAFile { path: target }),
        Some(_) => {}
    }
    match folder.unlink(name) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Removal::Absent),
        Err(error) => {
            let refused = predicate::refusal(&folder, name, &target);
            return Err(refused.unwrap_or_else(|| Error::change("remove", &target, 0, error)));
        }
    }
    folder.sync().map_err(|source| Error::Unsynced { path: target, source })?;
    Ok(Removal::Removed)
}

/// Takes away whatever others may do with a file: mode 0600 where it was looser, on the very file that was
/// looked at.
///
/// # Errors
/// Those of [`resolve`]; [`Error::NotAFile`]; [`Error::ForeignOwner`] for a loose file that is not ours to
/// change (as root in a folder of another user: one that is not that user's); [`Error::ReadOnly`];
/// [`Error::Unreadable`]; [`Error::Io`].
pub fn repair(path: &Path, links: Links) -> Result<Repair, Error> {
    let target = resolve(path, links)?;
    let (folder, name) = match OpenFolder::around(&target) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Repair::Absent),
        Err(error) => return Err(Error::look("open the folder of", &target, error)),
    };
    let file = match folder.open_entry(name, OFlags::RDONLY, Mode::empty()) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Repair::Absent),
        Err(error) => return Err(Error::look("open", &target, error)),
    };
    let found = file.metadata().map_err(|error| Error::look("look at", &target, error))?;
    if !found.is_file() {
        return Err(Error::NotAFile { path: target });
    }
    let Exposure::Loose { mode } = Exposure::of(&found) else { return Ok(Repair::NotNeeded) };
    if found.uid() != folder.keeper() {
        return Err(Error::ForeignOwner { path: target, uid: found.uid(), source: None });
    }
    rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR)
        .map_err(|error| Error::change("change the mode of", &target, 0, error.into()))?;
    Ok(Repair::Repaired { from: mode })
}

/// Removes the temporary files that killed writers of this file left beside it, and says how many.
///
/// They hold what was being written, so [`Replacement::reserve`], [`replace`] and [`remove`] call this first;
/// it costs one listing of the folder. A live writer holds a lock on its temporary file, and only those are
/// removed that can be locked. Where the file system has no locks, none is. What cannot be looked at or
/// removed is left for the next time.
pub fn sweep(path: &Path, links: Links) -> usize {
    let Ok(target) = resolve(path, links) else { return 0 };
    OpenFolder::around(&target).map_or(0, |(folder, name)| temporary::sweep(&folder, name))
}

/// What [`sweep`] would remove; nothing is changed. While it looks, no other process can sweep them.
pub fn leftovers(path: &Path, links: Links) -> Vec<PathBuf> {
    let Ok(target) = resolve(path, links) else { return Vec::new() };
    let Ok((folder, name)) = OpenFolder::around(&target) else { return Vec::new() };
    let dead = temporary::abandoned(&folder, name);
    dead.into_iter().map(|(name, _held)| target.with_file_name(name)).collect()
}
