//! Reads a private file whole and detects whether it changed since.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use super::error::Error;
use super::paths::{Links, resolve};
use super::walk;

use crate::filesystem::FileId;

/// How often a file that changes while it is read is read again.
const MAX_READS: usize = 8;

/// The content of a file and its metadata.
#[non_exhaustive]
pub struct Contents {
    /// All bytes; wiped on drop, as are the buffers they were read through.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Whether other users can access it.
    pub exposure: Exposure,
    /// The user id of its owner.
    pub owner: u32,
    /// The id of its group.
    pub group: u32,
    /// The number of its hard links; a replacement separates it from the others.
    pub names: u64,
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contents")
            .field("exposure", &self.exposure)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

/// Which users can access a file, by its permission bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exposure {
    /// Its owner alone.
    Private,
    /// Its group or others too.
    Loose {
        /// All of its permission bits.
        mode: u32,
    },
}

impl Exposure {
    pub(super) fn of(found: &Metadata) -> Self {
        Self::of_mode(found.permissions().mode())
    }

    pub(super) fn of_mode(mode: u32) -> Self {
        if mode & 0o077 == 0 { Self::Private } else { Self::Loose { mode: mode & 0o7777 } }
    }
}

/// The owner and mode of a file or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileOwnership {
    /// Its path, with followed links resolved.
    pub path: PathBuf,
    /// The user id of its owner.
    pub owner: u32,
    /// Its permission bits.
    pub mode: u32,
    /// Whether other users can access it.
    pub exposure: Exposure,
}

/// Identifies a file and its last change.
///
/// Equal stamps mean that nothing changed: a replaced file has another inode, and a file written in place has other
/// times. The one exception is a write in place of as many bytes within the same tick of the file system's clock (4
/// ms on most Linux kernels before 6.13, which made it finer).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stamp {
    file: FileId,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// Seconds and nanoseconds; programs cannot set it.
    changed: (i64, i64),
}

impl Stamp {
    /// Returns when the content was written last, in seconds and nanoseconds since 1970.
    #[must_use]
    pub fn modified(&self) -> (i64, i64) {
        self.modified
    }

    pub(super) fn of(found: &Metadata) -> Self {
        Self {
            file: FileId::of(found),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// Reads a whole file of at most `limit` bytes; `None` if there is none, or only a link to none.
///
/// Opens the file once and checks it through that handle. If it changes meanwhile, as when a program writes in place,
/// it is read again a few times; after that the last bytes are returned.
///
/// # Errors
/// Those of [`resolve`]; [`Error::NotAFile`], without waiting for the other end of a pipe; [`Error::TooLarge`];
/// [`Error::Unreadable`]; [`Error::Io`].
pub fn read(path: &Path, limit: u64, links: Links) -> Result<Option<Contents>, Error> {
    let target = resolve(path, links)?;
    let failed = |error| Error::from_read("read", &target, error);
    let mut reads = 0;
    loop {
        reads += 1;
        let file = match walk::open_file(&target, OFlags::RDONLY, Mode::empty()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let before = file.metadata().map_err(failed)?;
        if !before.is_file() {
            return Err(Error::NotAFile { path: target });
        }
        let Some(bytes) = read_all(&file, before.size(), limit).map_err(failed)? else {
            return Err(Error::TooLarge { path: target, limit });
        };
        let is_unchanged = Stamp::of(&before) == Stamp::of(&file.metadata().map_err(failed)?);
        if is_unchanged || reads == MAX_READS {
            let (owner, group) = (before.uid(), before.gid());
            let (exposure, names) = (Exposure::of(&before), before.nlink());
            return Ok(Some(Contents { bytes, exposure, owner, group, names }));
        }
    }
}

/// Returns the stamp of a file, with one system call; `None` if there is no file, or only a link to
/// none. The owners of links are not checked, because nothing is read through them.
///
/// # Errors
/// [`Error::Link`] if links are refused; [`Error::NotAFile`]; [`Error::Unreadable`]; [`Error::Io`].
pub fn stamp(path: &Path, links: Links) -> Result<Option<Stamp>, Error> {
    let found = match links {
        Links::Follow => std::fs::metadata(path),
        Links::Refuse => std::fs::symlink_metadata(path),
    };
    match found {
        Ok(found) if found.is_file() => Ok(Some(Stamp::of(&found))),
        Ok(found) if found.is_symlink() => Err(Error::Link { path: path.to_owned() }),
        Ok(_) => Err(Error::NotAFile { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::from_read("read the metadata of", path, error)),
    }
}

/// Returns the stamp of whatever is at `path`, links followed; `None` if there is nothing, or it cannot be examined.
#[must_use]
pub fn stamp_of_any(path: &Path) -> Option<Stamp> {
    std::fs::metadata(path).ok().map(|found| Stamp::of(&found))
}

/// Returns the owner and mode of the file or folder at `path`, without opening it; `None` if there is none, or only a
/// link to none.
///
/// # Errors
/// Those of [`resolve`].
pub fn ownership(path: &Path, links: Links) -> Result<Option<FileOwnership>, Error> {
    let path = resolve(path, links)?;
    match std::fs::symlink_metadata(&path) {
        Ok(found) => {
            let (owner, mode) = (found.uid(), found.permissions().mode() & 0o7777);
            Ok(Some(FileOwnership { path, owner, mode, exposure: Exposure::of(&found) }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::from_read("read the metadata of", &path, error)),
    }
}

/// Reads all of a file that should have `size` bytes; `None` if it has more than `limit`.
fn read_all(mut file: &File, size: u64, limit: u64) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    if size > limit {
        return Ok(None);
    }
    // One more than expected, so that the end is noticed without growing.
    let expected = usize::try_from(size).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut bytes = Zeroizing::new(vec![0; expected.saturating_add(1)]);
    let mut filled = 0;
    loop {
        if filled as u64 > limit {
            return Ok(None);
        }
        if filled == bytes.len() {
            // Allocated anew: a buffer that grows in place may leave a copy that is not wiped.
            let mut larger = Zeroizing::new(vec![0; filled * 2]);
            larger[..filled].copy_from_slice(&bytes);
            bytes = larger;
        }
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(Some(bytes))
}
