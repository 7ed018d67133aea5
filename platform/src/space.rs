//! Sets space of a file aside beyond its end.

use std::fs::File;
use std::io;

/// Whether space was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    /// The disk has it.
    SetAside,
    /// The file system cannot do that.
    NotSupported,
}

/// Sets `size` bytes of `file` aside without changing its length or content.
#[cfg(target_os = "linux")]
pub(crate) fn keep(file: &File, size: u64) -> io::Result<Space> {
    use rustix::fs::FallocateFlags;
    use rustix::io::Errno;

    if size == 0 {
        return Ok(Space::SetAside);
    }
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, size) {
        Ok(()) => Ok(Space::SetAside),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::INVAL) => Ok(Space::NotSupported),
        Err(error) => Err(error.into()),
    }
}

/// Sets `size` bytes of `file` aside without changing its length or content.
#[cfg(target_os = "macos")]
pub(crate) fn keep(file: &File, size: u64) -> io::Result<Space> {
    use std::os::fd::AsRawFd;

    let mut wanted = libc::fstore_t {
        fst_flags: libc::F_ALLOCATEALL,
        fst_posmode: libc::F_PEOFPOSMODE,
        fst_offset: 0,
        fst_length: i64::try_from(size).map_err(io::Error::other)?,
        fst_bytesalloc: 0,
    };
    // SAFETY: the descriptor is open, and the system reads and writes `wanted` during the call only.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_PREALLOCATE, &raw mut wanted) };
    match io::Error::last_os_error() {
        _ if done != -1 => Ok(Space::SetAside),
        error if error.raw_os_error() == Some(libc::ENOSPC) => Err(error),
        _ => Ok(Space::NotSupported),
    }
}
