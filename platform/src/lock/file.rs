//! A lock on a file, with a note that names its holder.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fs2::FileExt;
use rustix::io::FdFlags;

use super::attempt::{self, LockFileMode, attempt};
use super::error::Error;
use super::kernel;
use super::note::{self, Holder, holder};
use super::waiting::{self, LockAttempt, Wait, Waiting};
use crate::private_file::is_contended;

/// The longest pause of [`FileLock::acquire_briefly`].
const BRIEF_PAUSE: Duration = Duration::from_micros(100);

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
#[expect(clippy::exhaustive_enums, reason = "a caller must handle both outcomes")]
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
        /// The holder by its own note, or else by the kernel's list; `None` if neither names it.
        holder: Option<Holder>,
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
    pub fn acquire(path: &Path, creation: LockFileMode, wait: Wait) -> Result<Self, Error> {
        let keep_on = |_: &Waiting<'_>| ControlFlow::<Infallible>::Continue(());
        match Self::acquire_with(path, creation, wait, keep_on)? {
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
        creation: LockFileMode,
        wait: Wait,
        mut between: impl FnMut(&Waiting<'_>) -> ControlFlow<B>,
    ) -> Result<AcquireOutcome<B>, Error> {
        let locked = waiting::until_locked(path, wait, &mut between, || attempt(path, creation))?;
        Ok(match locked {
            ControlFlow::Continue(file) => {
                AcquireOutcome::Locked(Self { file, path: path.to_owned(), signed: AtomicBool::new(false) })
            }
            ControlFlow::Break(reason) => AcquireOutcome::Stopped(reason),
        })
    }

    /// Locks like [`acquire`](Self::acquire) if that succeeds within `limit`, a few milliseconds; `None` otherwise. It
    /// tries again after at most 0.1 ms, and does not look for the holder: for locks that are held for microseconds.
    ///
    /// # Errors
    /// Those of [`acquire`](Self::acquire), except [`Error::Held`].
    pub fn acquire_briefly(
        path: &Path,
        creation: LockFileMode,
        limit: Duration,
    ) -> Result<Option<Self>, Error> {
        let start = Instant::now();
        loop {
            if let LockAttempt::Locked(file) = attempt(path, creation)? {
                return Ok(Some(Self { file, path: path.to_owned(), signed: AtomicBool::new(false) }));
            }
            if start.elapsed() >= limit {
                return Ok(None);
            }
            // The kernel waits for a lock without a limit or not at all.
            std::thread::sleep(waiting::jittered(BRIEF_PAUSE));
        }
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

    /// Lets the child of `command` hold the lock too: it is released when both processes have ended, or this one drops
    /// it.
    pub fn share_with_child(&self, command: &mut Command) {
        let file = self.file.as_raw_fd();
        let share = move || {
            // SAFETY: the child has a copy of this process's open files.
            let file = unsafe { BorrowedFd::borrow_raw(file) };
            rustix::io::fcntl_setfd(file, FdFlags::empty()).map_err(io::Error::from)
        };
        // SAFETY: only async-signal-safe code may run between fork and exec; this is one system call, and an error is a
        // number that is not allocated.
        unsafe { command.pre_exec(share) };
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
        Err(error) if is_contended(&error) => {
            Ok(LockState::Held { holder: holder(path).or_else(|| kernel::holder(path)) })
        }
        Err(source) => Err(Error::Io { path: path.to_owned(), source }),
    }
}
