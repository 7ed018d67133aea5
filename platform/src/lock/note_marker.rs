//! The claim beside a note: a second lock on the lock file, which readers ask for without acquiring anything.
//!
//! `flock` has no way to ask: a reader would have to acquire the lock for a moment, and make the try of another process
//! fail. So on Linux a process that signs holds a lock of the open file (`F_OFD_SETLK`) too. The kernel releases both together,
//! also when it kills the process. On macOS, `F_GETLK` tells of `flock` locks.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// Claims the note in `file`, whose lock this process holds.
pub(super) fn make(file: &File) -> io::Result<()> {
    imp::make(file)
}

/// Gives the claim up.
pub(super) fn give_up(file: &File) {
    imp::give_up(file);
}

/// Whether the note in `file` is claimed by a process that holds the lock. Acquires nothing.
pub(super) fn is_made(file: &File) -> bool {
    fcntl(file, imp::ASK, short(libc::F_RDLCK)).is_ok_and(|found| found != short(libc::F_UNLCK))
}

/// A kind of lock, whose type differs between systems.
fn short(kind: impl TryInto<libc::c_short>) -> libc::c_short {
    kind.try_into().unwrap_or(libc::c_short::MAX)
}

/// Asks for or changes a lock of the whole file, without waiting. Returns the kind of lock that the kernel answers with.
fn fcntl(file: &File, command: libc::c_int, kind: libc::c_short) -> io::Result<libc::c_short> {
    // SAFETY: zeroes are a valid `flock`: the whole file, from its start, for no process.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    (lock.l_type, lock.l_whence) = (kind, short(libc::SEEK_SET));
    // SAFETY: the descriptor is open and `lock` is a `flock`; both outlive the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(lock.l_type),
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use super::{File, fcntl, io, short};

    pub(super) const ASK: libc::c_int = libc::F_OFD_GETLK;

    pub(super) fn make(file: &File) -> io::Result<()> {
        fcntl(file, libc::F_OFD_SETLK, short(libc::F_WRLCK)).map(drop)
    }

    pub(super) fn give_up(file: &File) {
        let _ = fcntl(file, libc::F_OFD_SETLK, short(libc::F_UNLCK));
    }
}

#[cfg(target_os = "macos")]
mod imp {
    use super::{File, io};

    pub(super) const ASK: libc::c_int = libc::F_GETLK;

    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(super) fn make(_file: &File) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn give_up(_file: &File) {}
}
