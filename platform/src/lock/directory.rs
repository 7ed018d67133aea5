//! A lock on a directory itself, which stays held if a lock file inside it is deleted.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use fs2::FileExt;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::error::Error;
use super::waiting::{self, LockAttempt, Wait, Waiting};
use crate::filesystem::FileId;
use crate::private_file::is_contended;

/// An exclusive lock on a directory. Released on drop, and by the kernel when the process ends.
///
/// It excludes other locks on the same directory, whatever path they use, but no change inside it.
#[derive(Debug)]
#[must_use = "the lock is released on drop"]
pub struct DirectoryLock {
    file: File,
}

/// The outcome of [`DirectoryLock::acquire_with`].
#[derive(Debug)]
#[must_use = "the lock is released on drop"]
#[expect(clippy::exhaustive_enums, reason = "a caller must handle every outcome")]
pub enum DirectoryAcquireOutcome<B> {
    /// The directory is locked.
    Locked(DirectoryLock),
    /// The file system cannot lock directories, as NFS and some FUSE file systems.
    Unsupported(io::Error),
    /// The caller stopped the wait with this reason.
    Stopped(B),
}

impl DirectoryLock {
    /// Locks the existing directory at `path`; a link to it is followed. Creates and writes nothing.
    ///
    /// Waits, and calls `between`, as [`FileLock::acquire_with`](super::FileLock::acquire_with) does. Starts over if
    /// another directory is at `path` once it is locked.
    ///
    /// # Errors
    /// [`Error::Held`] when the wait is over; [`Error::NotADirectory`]; [`Error::Unreadable`]; [`Error::Unstable`];
    /// [`Error::Io`], of kind `NotFound` if there is no directory.
    pub fn acquire_with<B>(
        path: &Path,
        wait: Wait,
        between: impl FnMut(&Waiting<'_>) -> ControlFlow<B>,
    ) -> Result<DirectoryAcquireOutcome<B>, Error> {
        Ok(match waiting::until_locked(path, wait, between, || attempt(path))? {
            ControlFlow::Continue(Ok(file)) => DirectoryAcquireOutcome::Locked(Self { file }),
            ControlFlow::Continue(Err(unsupported)) => DirectoryAcquireOutcome::Unsupported(unsupported),
            ControlFlow::Break(reason) => DirectoryAcquireOutcome::Stopped(reason),
        })
    }

    /// Returns the id of the locked directory, even if its path leads elsewhere now. `None` if the system does not
    /// report it.
    pub fn identity(&self) -> Option<FileId> {
        self.file.metadata().ok().map(|found| FileId::of(&found))
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing is not enough: a child that is being started has a copy of the handle.
        let _ = FileExt::unlock(&self.file);
    }
}

/// Checks whether the directory at `path` could be locked now, if no process holds it. Locks nothing.
///
/// # Errors
/// Those of [`DirectoryLock::acquire_with`], except [`Error::Held`] and [`Error::Unstable`].
pub fn check_can_open_directory(path: &Path) -> Result<(), Error> {
    open(path).map(drop)
}

fn open(path: &Path) -> Result<File, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    opened.map(File::from).map_err(|error| open_error(path, error))
}

/// Tries once; the inner error means that the file system cannot lock directories.
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
        Ok(now) if FileId::of(&now) == FileId::of(&locked) => Ok(LockAttempt::Locked(Ok(file))),
        Ok(_) => Ok(LockAttempt::Replaced),
        // The next attempt reports that it is gone, or finds the one put there meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(LockAttempt::Replaced),
        Err(error) => Err(failed(error)),
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    // Two of these are equal on Linux. NFS requires a handle for writing, which directories do not have.
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

fn open_error(path: &Path, error: Errno) -> Error {
    let (path, source) = (path.to_owned(), error.into());
    match error {
        Errno::NOTDIR => Error::NotADirectory { path },
        Errno::ACCESS | Errno::PERM => Error::Unreadable { path, source },
        _ => Error::Io { path, source },
    }
}
