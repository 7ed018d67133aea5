//! A lock on a directory itself, which stays held when a lock file inside it is deleted.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fs2::FileExt;
use rustix::fs::{Mode as Permissions, OFlags};
use rustix::io::Errno;

use super::waiting::{self, LockAttempt, Waiting};
use super::{Error, Wait};
use crate::filesystem::FileId;
use crate::private_file::is_contended;

/// An exclusive lock on a directory. Released on drop, and by the kernel when the process ends in whatever way.
///
/// It excludes other locks on the same directory, by whatever path they reach it, and no change in it.
#[derive(Debug)]
#[must_use = "the lock is released on drop"]
pub struct DirectoryLock {
    file: File,
    path: PathBuf,
}

/// How [`DirectoryLock::acquire_unless`] ended.
#[derive(Debug)]
#[must_use = "the lock is released on drop"]
#[expect(clippy::exhaustive_enums, reason = "all outcomes are the caller's to handle")]
pub enum DirectoryAcquired<B> {
    /// With the lock.
    Locked(DirectoryLock),
    /// Without: the file system locks no directories, as NFS and some FUSE programs do not.
    Unsupported(io::Error),
    /// With what the caller broke off for.
    GaveWay(B),
}

impl DirectoryLock {
    /// Locks the existing directory at `path`, a link to which is followed. Nothing is created or written.
    ///
    /// It waits, and calls `between`, as [`FileLock::acquire_unless`](super::FileLock::acquire_unless) does. What
    /// it locked is still the directory at `path`, or it starts over.
    ///
    /// # Errors
    /// [`Error::Held`] when the wait is over; [`Error::NotADirectory`]; [`Error::Unreadable`];
    /// [`Error::Unstable`]; [`Error::Io`], which is `NotFound` where there is no directory.
    pub fn acquire_unless<B>(
        path: &Path,
        wait: Wait,
        between: impl FnMut(&Waiting<'_>) -> ControlFlow<B>,
    ) -> Result<DirectoryAcquired<B>, Error> {
        Ok(match waiting::until_locked(path, wait, between, || attempt(path))? {
            ControlFlow::Continue(Ok(file)) => {
                DirectoryAcquired::Locked(Self { file, path: path.to_owned() })
            }
            ControlFlow::Continue(Err(unsupported)) => DirectoryAcquired::Unsupported(unsupported),
            ControlFlow::Break(reason) => DirectoryAcquired::GaveWay(reason),
        })
    }

    /// Names the locked directory, whatever its path leads to by now. `None` if the system does not tell.
    pub fn identity(&self) -> Option<FileId> {
        self.file.metadata().ok().map(|found| FileId::of(&found))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // A child that is being started has a copy of the handle, so that closing is not enough.
        let _ = FileExt::unlock(&self.file);
    }
}

/// Checks whether the directory at `path` could be locked now, but for a process that holds it. Nothing is locked.
///
/// # Errors
/// Those of [`DirectoryLock::acquire_unless`], except [`Error::Held`] and [`Error::Unstable`].
pub fn may_open_directory(path: &Path) -> Result<(), Error> {
    open(path).map(drop)
}

fn open(path: &Path) -> Result<File, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = rustix::fs::open(path, flags, Permissions::empty());
    opened.map(File::from).map_err(|error| sorted(path, error))
}

/// One try: the locked directory, or why its file system locks none.
fn attempt(path: &Path) -> Result<LockAttempt<io::Result<File>>, Error> {
    let file = open(path)?;
    match FileExt::try_lock_exclusive(&file) {
        Ok(()) => {}
        Err(error) if is_contended(&error) => return Ok(LockAttempt::Held),
        Err(error) if is_unsupported(&error) => return Ok(LockAttempt::Locked(Err(error))),
        Err(source) => return Err(Error::Io { path: path.to_owned(), source }),
    }
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let locked = file.metadata().map_err(failed)?;
    match std::fs::metadata(path) {
        Ok(now) if (now.dev(), now.ino()) == (locked.dev(), locked.ino()) => {
            Ok(LockAttempt::Locked(Ok(file)))
        }
        Ok(_) => Ok(LockAttempt::Replaced),
        // The next try tells that it is gone, or finds the one that was put there meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(LockAttempt::Replaced),
        Err(error) => Err(failed(error)),
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    // Two of them are one and the same on Linux. NFS wants a handle for writing, which directories have none of.
    let unsupported = [
        Errno::BADF,
        Errno::NOLCK,
        Errno::NOSYS,
        Errno::OPNOTSUPP,
        Errno::NOTSUP,
        Errno::INVAL,
        Errno::ISDIR,
    ];
    Errno::from_io_error(error).is_some_and(|errno| unsupported.contains(&errno))
}

fn sorted(path: &Path, error: Errno) -> Error {
    let (path, source) = (path.to_owned(), error.into());
    match error {
        Errno::NOTDIR => Error::NotADirectory { path },
        Errno::ACCESS | Errno::PERM => Error::Unreadable { path, source },
        _ => Error::Io { path, source },
    }
}
