//! Advisory file locks: bounded waits, released by the kernel when the holder dies, with a note that names the
//! holder.
//!
//! These are `flock` locks. They exclude every other program that uses `flock` on the same file, but no program that
//! uses `fcntl` record locks. They bind the processes of one kernel; over NFS, the mount options decide.
//!
//! A lock file is created if it is missing and never removed; only [`FileLock::seize`] replaces it. Its content is a
//! note for people. A lock belongs to the handle that acquired it: another handle is refused even in the same
//! process, and child processes do not inherit it.

mod attempt;
mod directory;
mod note;
mod note_marker;
mod waiting;

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fs2::FileExt;

pub use attempt::{check_can_open, check_support};
pub use directory::{DirectoryAcquireOutcome, DirectoryLock, check_can_open_directory};
pub use note::{Holder, holder};
pub use waiting::Waiting;

use crate::private_file::is_contended;
use attempt::attempt;
use note::HolderName;

/// Whom a lock excludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Those who want it exclusively.
    Shared,
    /// Everyone else.
    Exclusive,
}

/// How long to wait for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// Try once.
    No,
    /// Wait at most this long, by the monotonic clock.
    For(Duration),
}

/// The mode of a lock file that has to be created. Links are never followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockFileMode {
    /// 0600, also for an existing file of this user with a looser mode: a process that cannot open the file cannot
    /// lock it.
    Private,
    /// 0666 less the user's umask from before [`harden`](crate::hardening::harden), as programs without a mode of
    /// their own create files.
    UserUmask,
}

/// A held file lock. Released on drop, and by the kernel when the process ends.
#[derive(Debug)]
#[must_use = "the lock is released on drop"]
pub struct FileLock {
    file: File,
    path: PathBuf,
    signed: AtomicBool,
}

/// The outcome of [`FileLock::acquire_with`].
#[derive(Debug)]
#[must_use = "the lock is released on drop"]
#[expect(clippy::exhaustive_enums, reason = "both outcomes are the caller's to handle")]
pub enum AcquireOutcome<B> {
    /// The file is locked.
    Locked(FileLock),
    /// The caller stopped the wait with this reason.
    Stopped(B),
}

/// The state of a lock, as seen without acquiring it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockState {
    /// There is no lock file; the lock was never used.
    Absent,
    /// No process holds it.
    Free {
        /// The holder that was killed before it could remove its note.
        stale_holder: Option<Holder>,
    },
    /// A process holds it.
    Held {
        /// The holder by its own note; `None` for a program that writes none.
        holder: Option<Holder>,
    },
}

/// A lock could not be acquired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process still holds it.
    #[error("{path} is still locked by {} after {waited:.1?}; try again when that has finished", HolderName(.holder.as_ref()))]
    Held {
        /// The lock file or directory.
        path: PathBuf,
        /// How long this process waited.
        waited: Duration,
        /// The holder by its own note.
        holder: Option<Holder>,
    },
    /// The lock file cannot be created or opened, so what it guards can be read but not changed.
    #[error(
        "no lock at {path}, so nothing can be changed here; make it and its folder writable for this user"
    )]
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
    #[error("{path} cannot be locked: its file system has no locks; use a folder on another disk")]
    Unsupported {
        /// The lock file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// Any other error, such as a missing folder.
    #[error("cannot lock {path}")]
    Io {
        /// The lock file or directory.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
}

impl FileLock {
    /// Locks the file at `path`, and creates it if it is missing.
    ///
    /// Never blocks in the kernel: it tries again after 1 ms, then after growing pauses of up to 40 ms, with jitter.
    /// There is no queue. Starts over if another file is at `path` once the file is locked.
    ///
    /// A file that can only be read is locked all the same, and [`write_note`](Self::write_note) has no effect then.
    ///
    /// As root in another user's folder, a new lock file belongs to that user, and one that belongs to a third user
    /// is replaced, so that the user can lock it afterwards.
    ///
    /// # Errors
    /// [`Error::Held`] when the wait is over; [`Error::ReadOnly`]; [`Error::NotAFile`]; [`Error::Unsupported`];
    /// [`Error::Unstable`]; [`Error::Io`].
    pub fn acquire(path: &Path, mode: Mode, creation: LockFileMode, wait: Wait) -> Result<Self, Error> {
        let keep_on = |_: &Waiting<'_>| ControlFlow::<Infallible>::Continue(());
        match Self::acquire_with(path, mode, creation, wait, keep_on)? {
            AcquireOutcome::Locked(lock) => Ok(lock),
            AcquireOutcome::Stopped(never) => match never {},
        }
    }

    /// Locks like [`acquire`](Self::acquire), and calls `between` before every attempt but the first. `between` may
    /// stop the wait, to check whether the lock is still needed or to report the holder. Its time counts as waiting,
    /// so it should be short.
    ///
    /// # Errors
    /// Those of [`acquire`](Self::acquire).
    pub fn acquire_with<B>(
        path: &Path,
        mode: Mode,
        creation: LockFileMode,
        wait: Wait,
        mut between: impl FnMut(&Waiting<'_>) -> ControlFlow<B>,
    ) -> Result<AcquireOutcome<B>, Error> {
        let locked = waiting::until_locked(path, wait, &mut between, || attempt(path, mode, creation))?;
        Ok(match locked {
            ControlFlow::Continue(file) => {
                AcquireOutcome::Locked(Self { file, path: path.to_owned(), signed: AtomicBool::new(false) })
            }
            ControlFlow::Break(reason) => AcquireOutcome::Stopped(reason),
        })
    }

    /// Replaces the lock file at `path` with a new one that this process holds, even while another process holds the
    /// old one.
    ///
    /// For a holder that is stopped and may never continue. It still holds its old file, and can notice the change by
    /// comparing [ids](crate::filesystem::identity); until then, both processes hold a lock.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Io`].
    pub fn seize(path: &Path) -> Result<Self, Error> {
        let file = attempt::replace(path)?;
        Ok(Self { file, path: path.to_owned(), signed: AtomicBool::new(false) })
    }

    /// Writes our process id and `program` into the lock file, for [`holder`]; removed again on drop. A failed write
    /// is ignored.
    pub fn write_note(&self, program: &str) {
        if note::write(&self.file, program).is_ok() {
            self.signed.store(true, Ordering::Relaxed);
        }
    }

    /// Returns the path of the lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        if *self.signed.get_mut() {
            note::clear(&self.file);
        }
        // Closing is not enough: a child that is being started has a copy of the handle until it runs its program.
        let _ = FileExt::unlock(&self.file);
    }
}

/// Returns the state of the lock at `path`. Creates and changes nothing and does not wait; other processes find the
/// lock shared for an instant.
///
/// # Errors
/// [`Error::NotAFile`]; [`Error::ReadOnly`] for a file that cannot be read; [`Error::Io`].
pub fn state(path: &Path) -> Result<LockState, Error> {
    let Some(file) = attempt::open_for_reading(path)? else { return Ok(LockState::Absent) };
    match FileExt::try_lock_shared(&file) {
        Ok(()) => {
            let _ = FileExt::unlock(&file);
            Ok(LockState::Free { stale_holder: note::stale_note(path) })
        }
        Err(error) if is_contended(&error) => Ok(LockState::Held { holder: holder(path) }),
        Err(source) => Err(Error::Io { path: path.to_owned(), source }),
    }
}
