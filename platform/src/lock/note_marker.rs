//! Marks that a live process wrote a lock file's note, so that readers can check without acquiring the lock.
//!
//! `flock` cannot be queried: a reader would have to acquire the lock for a moment, and make another process's
//! attempt fail. So on Linux the process that writes a note also holds an open file description lock (`F_OFD_SETLK`).
//! The kernel releases both together, also when it kills the process. On macOS, `F_GETLK` reports `flock` locks.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// Marks the note in `file`, whose lock this process holds.
pub(super) fn set(file: &File) -> io::Result<()> {
    imp::set(file)
}

/// Removes the mark.
pub(super) fn remove(file: &File) {
    imp::remove(file);
}

/// Returns whether a process that holds the lock marked the note in `file`. Acquires nothing.
pub(super) fn is_set(file: &File) -> bool {
    fcntl(file, imp::QUERY, lock_type(libc::F_RDLCK)).is_ok_and(|found| found != lock_type(libc::F_UNLCK))
}

/// Converts a lock type, whose integer type differs between systems.
fn lock_type(kind: impl TryInto<libc::c_short>) -> libc::c_short {
    kind.try_into().unwrap_or(libc::c_short::MAX)
}

/// Queries or changes a lock on the whole file, without waiting. Returns the lock type that the kernel answers with.
fn fcntl(file: &File, command: libc::c_int, kind: libc::c_short) -> io::Result<libc::c_short> {
    // SAFETY: zeroes are a valid `flock`: the whole file, from its start, for no process.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    (lock.l_type, lock.l_whence) = (kind, lock_type(libc::SEEK_SET));
    // SAFETY: the descriptor is open and `lock` is a `flock`; both outlive the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(lock.l_type),
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use super::{File, fcntl, io, lock_type};

    pub(super) const QUERY: libc::c_int = libc::F_OFD_GETLK;

    pub(super) fn set(file: &File) -> io::Result<()> {
        fcntl(file, libc::F_OFD_SETLK, lock_type(libc::F_WRLCK)).map(drop)
    }

    pub(super) fn remove(file: &File) {
        let _ = fcntl(file, libc::F_OFD_SETLK, lock_type(libc::F_UNLCK));
    }
}

#[cfg(target_os = "macos")]
mod imp {
    use super::{File, io};

    pub(super) const QUERY: libc::c_int = libc::F_GETLK;

    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(super) fn set(_file: &File) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn remove(_file: &File) {}
}
