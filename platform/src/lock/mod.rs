//! Advisory locks on files: bounded waits, freed by the kernel when their holder dies, signed for people.
//!
//! These are `flock` locks. They exclude every other program that uses `flock` on the same file, and no
//! program that uses `fcntl` record locks. They bind the processes of one kernel; over NFS, whatever the
//! mount options say.
//!
//! A lock file is made when it is missing and never removed; only [`FileLock::seize`] replaces it. Its content is a note for
//! people. A lock belongs to
//! the handle that took it: another handle is refused even in the same process. A child that is started gets
//! none of it.

mod attempt;
mod claim;
mod directory;
mod note;
mod waiting;

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fs2::FileExt;

pub use attempt::{check_support, may_open};
pub use directory::{DirectoryAcquired, DirectoryLock, may_open_directory};
pub use note::{Holder, holder};
pub use waiting::Waiting;

use crate::private_file::is_contended;
use attempt::attempt;
use note::Named;

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
    /// Not at all: one try.
    No,
    /// At most so long, by a clock that is never set.
    For(Duration),
}

/// The permissions of a lock file that has to be made. Either way no link is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Creation {
    /// 0600, and one of this user's own that is looser is made so: who cannot open it cannot hold it.
    Private,
    /// 0666 less the umask of the user, whatever [`harden`](crate::hardening::harden) made of it, as programs do that do
    /// not care.
    Ordinary,
}

/// A lock that is held. Released on drop, and by the kernel when the process ends in whatever way.
#[derive(Debug)]
#[must_use = "the lock is released on drop"]
pub struct FileLock {
    file: File,
    path: PathBuf,
    signed: AtomicBool,
}

/// How [`FileLock::acquire_unless`] ended.
#[derive(Debug)]
#[must_use = "the lock is released on drop"]
#[expect(clippy::exhaustive_enums, reason = "both outcomes are the caller's to handle")]
pub enum Acquired<B> {
    /// With the lock.
    Locked(FileLock),
    /// With what the caller broke off for.
    GaveWay(B),
}

/// How a lock stands, to somebody who only looks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockState {
    /// There is no lock file; nobody has ever locked it.
    Absent,
    /// Nobody holds it.
    Free {
        /// Whoever signed it and was killed before it could take that back.
        left: Option<Holder>,
    },
    /// Somebody holds it.
    Held {
        /// Who says to; programs that sign nothing are not known.
        holder: Option<Holder>,
    },
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Somebody else has it still.
    #[error("{path} is still locked by {} after {waited:.1?}; try again when that has finished", Named(.holder.as_ref()))]
    Held {
        /// The lock file or directory.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
        /// Who says to hold it.
        holder: Option<Holder>,
    },
    /// The lock file cannot be made, or is there and cannot be opened: what it guards can be read and not
    /// changed.
    #[error(
        "no lock at {path}, so nothing can be changed here; make it and its folder writable for this user"
    )]
    ReadOnly {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A folder, link, pipe, socket or device has its name.
    #[error("{path} is not a regular file and cannot be a lock; remove it")]
    NotAFile {
        /// What was found.
        path: PathBuf,
    },
    /// Something else has the name of the directory.
    #[error("{path} is not a directory and cannot be locked as one; move it out of the way")]
    NotADirectory {
        /// What was found.
        path: PathBuf,
    },
    /// The directory cannot be opened, which locking needs.
    #[error("the directory {path} cannot be read by this user, so it cannot be locked; make it readable")]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process replaces the lock file or directory each time before it can be locked.
    #[error("{path} is replaced again and again; find the program that does so, what is locked has to stay")]
    Unstable {
        /// The lock file or directory.
        path: PathBuf,
    },
    /// The file system has no locks.
    #[error("{path} cannot be locked: its file system has no locks; use a folder on another disk")]
    Unsupported {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Anything else, as a missing folder.
    #[error("cannot lock {path}")]
    Io {
        /// The lock file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl FileLock {
    /// Locks the file at `path`, making it if it is missing.
    ///
    /// It never sleeps in the kernel: it tries, and tries again after 1 ms and then ever longer up to 40 ms,
    /// with jitter. There is no queue. What it locked is still the file at `path`, or it starts over.
    ///
    /// A file that can be read and not written is locked all the same: the kernel asks for no more, and the
    /// note of [`sign`](Self::sign) is left out.
    ///
    /// As root in a folder of another user, a lock file that is made is that user's, and one of anybody
    /// else's that was left there is replaced by one of theirs, so that they can lock it afterwards.
    ///
    /// # Errors
    /// [`Error::Held`] when the wait is over; [`Error::ReadOnly`]; [`Error::NotAFile`]; [`Error::Unsupported`];
    /// [`Error::Unstable`]; [`Error::Io`].
    pub fn acquire(path: &Path, mode: Mode, creation: Creation, wait: Wait) -> Result<Self, Error> {
        let keep_on = |_: &Waiting<'_>| ControlFlow::<Infallible>::Continue(());
        match Self::acquire_unless(path, mode, creation, wait, keep_on)? {
            Acquired::Locked(lock) => Ok(lock),
            Acquired::GaveWay(never) => match never {},
        }
    }

    /// As [`acquire`](Self::acquire), and before each try but the first calls `between`, which may end the
    /// waiting: to look whether the lock is needed still, and to tell a person who holds it. Its time counts
    /// as waiting, and it should be short.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub fn acquire_unless<B>(
        path: &Path,
        mode: Mode,
        creation: Creation,
        wait: Wait,
        mut between: impl FnMut(&Waiting<'_>) -> ControlFlow<B>,
    ) -> Result<Acquired<B>, Error> {
        let locked = waiting::until_locked(path, wait, &mut between, || attempt(path, mode, creation))?;
        Ok(match locked {
            ControlFlow::Continue(file) => {
                Acquired::Locked(Self { file, path: path.to_owned(), signed: AtomicBool::new(false) })
            }
            ControlFlow::Break(reason) => Acquired::GaveWay(reason),
        })
    }

    /// Replaces the lock file at `path` by a new one that this process holds, also while another process holds the old one.
    ///
    /// For a holder that has stopped and may never go on: it goes on holding a file that is no longer at `path`, which it
    /// can find out by comparing [identities](crate::filesystem::identity). Until it does, both hold a lock.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Io`].
    pub fn seize(path: &Path) -> Result<Self, Error> {
        let file = attempt::replace(path)?;
        Ok(Self { file, path: path.to_owned(), signed: AtomicBool::new(false) })
    }

    /// Writes our process id and `program` into the lock file, for [`holder`]; taken out again on drop. That
    /// it cannot be written is no error.
    pub fn sign(&self, program: &str) {
        if note::write(&self.file, program).is_ok() {
            self.signed.store(true, Ordering::Relaxed);
        }
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        if *self.signed.get_mut() {
            note::clear(&self.file);
        }
        // Closing is not enough while a child is being started: until it runs its program it has a copy of
        // the handle.
        let _ = FileExt::unlock(&self.file);
    }
}

/// How the lock at `path` stands at this moment. Nothing is made, changed or waited for; while it looks, others find
/// the lock shared for an instant.
///
/// # Errors
/// [`Error::NotAFile`]; [`Error::ReadOnly`] for a file that cannot even be read; [`Error::Io`].
pub fn standing(path: &Path) -> Result<LockState, Error> {
    let Some(file) = attempt::opened(path)? else { return Ok(LockState::Absent) };
    match FileExt::try_lock_shared(&file) {
        Ok(()) => {
            let _ = FileExt::unlock(&file);
            Ok(LockState::Free { left: note::left(path) })
        }
        Err(error) if is_contended(&error) => Ok(LockState::Held { holder: holder(path) }),
        Err(source) => Err(Error::Io { path: path.to_owned(), source }),
    }
}
