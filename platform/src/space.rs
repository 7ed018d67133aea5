//! Reserves disk space for a file beyond its end.

use std::fs::File;
use std::io;

/// Whether the file system reserved the space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpaceReservation {
    /// The space is allocated.
    Reserved,
    /// The file system cannot reserve space.
    Unsupported,
}

/// Reserves `size` bytes for `file` without changing its length or content.
#[cfg(target_os = "linux")]
pub(crate) fn reserve(file: &File, size: u64) -> io::Result<SpaceReservation> {
    use rustix::fs::FallocateFlags;
    use rustix::io::Errno;

    if size == 0 {
        return Ok(SpaceReservation::Reserved);
    }
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, size) {
        Ok(()) => Ok(SpaceReservation::Reserved),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::INVAL) => {
            Ok(SpaceReservation::Unsupported)
        }
        Err(error) => Err(error.into()),
    }
}

/// Reserves `size` bytes for `file` without changing its length or content.
#[cfg(target_os = "macos")]
pub(crate) fn reserve(file: &File, size: u64) -> io::Result<SpaceReservation> {
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
        _ if done != -1 => Ok(SpaceReservation::Reserved),
        error if error.raw_os_error() == Some(libc::ENOSPC) => Err(error),
        _ => Ok(SpaceReservation::Unsupported),
    }
}
