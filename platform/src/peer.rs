//! Who is at the other end of a local socket.
//!
//! The kernel says so, as things were when the connection was made; the other end has no say in it. A socket
//! file that others can reach is connected to by others: its folder must be private too.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::FileType;
use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use crate::private_file::{self, OpenFolder, Removal};

/// What the name of a socket ends in until it can be connected to.
const NEW: &str = ".new";

/// The process that connected, or that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Its effective user id.
    pub uid: u32,
    /// Its process id; unknown on macOS, and for a process that this container does not see.
    pub pid: Option<u32>,
}

/// Why the other end is not to be talked to, or a socket not to be removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another user, be it root.
    #[error("user {uid} is at the other end of the socket; run both ends as the same user")]
    OtherUser {
        /// Who it is.
        uid: u32,
    },
    /// The kernel does not say, as for a socket that is not a local one.
    #[error("cannot tell who is at the other end of the socket")]
    Unknown {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What has the name of the socket is none.
    #[error("{path} is not a socket; move it out of the way")]
    NotASocket {
        /// What was found.
        path: PathBuf,
    },
    /// The socket file could not be removed.
    #[error("cannot remove the socket {path}")]
    Io {
        /// The socket file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Who is at the other end of a connected local stream socket, std's or another library's.
///
/// # Errors
/// [`Error::Unknown`].
pub fn of(stream: impl AsFd) -> Result<Peer, Error> {
    imp::of(stream.as_fd().as_raw_fd()).map_err(|source| Error::Unknown { source })
}

/// Whether the other end has our own effective user id. Root is refused like anybody else: it can become us
/// first.
///
/// # Errors
/// [`Error::OtherUser`]; [`Error::Unknown`].
pub fn same_user(stream: impl AsFd) -> Result<(), Error> {
    match of(stream)?.uid {
        uid if uid == rustix::process::geteuid().as_raw() => Ok(()),
        uid => Err(Error::OtherUser { uid }),
    }
}

/// Connects to the socket at `path`, if a process of this user listens there and takes connections at this moment: a
/// listener whose queue is full counts as gone, and this never blocks.
///
/// # Errors
/// An error of the system's; of the kind `PermissionDenied` where another user listens.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    let stream = UnixStream::from(socket);
    rustix::io::fcntl_setfd(&stream, FdFlags::CLOEXEC)?;
    stream.set_nonblocking(true)?;
    rustix::net::connect(&stream, &address)?;
    stream.set_nonblocking(false)?;
    same_user(&stream).map_err(|error| io::Error::new(io::ErrorKind::PermissionDenied, error))?;
    Ok(stream)
}

/// Waits until nobody reads any more what is written to `output`: the reader of a pipe, the other end of a socket, or the
/// terminal is gone. Of a file that never happens.
///
/// # Errors
/// The system cannot wait for that.
pub fn await_departure(output: impl AsFd) -> io::Result<()> {
    let mut waited_for = [PollFd::new(&output, PollFlags::empty())];
    loop {
        match rustix::event::poll(&mut waited_for, None) {
            Ok(_) if !waited_for[0].revents().is_empty() => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The longest path that a socket can be bound to and renamed to by [`bind`], in bytes.
pub const LONGEST_PATH: usize = imp::LONGEST_PATH - NEW.len();

/// Listens at `path`, in a folder that is made private if it is not there. The socket appears under its name when it can be
/// connected to, in the place of one that was there: whoever has the folder mounted keeps finding it.
///
/// That nobody else binds there meanwhile is the caller's to know.
///
/// # Errors
/// An error of the system's, of the kind `InvalidInput` for a path longer than [`LONGEST_PATH`].
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if path.as_os_str().len() > LONGEST_PATH {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is too long for a socket"));
    }
    private_file::create_directory(private_file::parent(path)).map_err(io::Error::other)?;
    let mut new = path.as_os_str().to_owned();
    new.push(NEW);
    let new = PathBuf::from(new);
    // What a process that died while it bound has left.
    remove_socket(&new).map_err(io::Error::other)?;
    let listener = UnixListener::bind(&new)?;
    std::fs::rename(&new, path)?;
    Ok(listener)
}

/// Removes the file of a socket that nobody listens on any more, so that its name can be bound again. Whether
/// somebody does is the caller's to know.
///
/// # Errors
/// [`Error::NotASocket`], and nothing is removed; [`Error::Io`].
pub fn remove_socket(path: &Path) -> Result<Removal, Error> {
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let gone = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(Removal::Absent),
        _ => Err(failed(error)),
    };
    let (folder, name) = match OpenFolder::around(path) {
        Ok(found) => found,
        Err(error) => return gone(error),
    };
    match folder.entry(name).map_err(failed)? {
        None => Ok(Removal::Absent),
        Some(entry) if entry.kind != FileType::Socket => Err(Error::NotASocket { path: path.to_owned() }),
        Some(_) => folder.unlink(name).map_or_else(gone, |()| Ok(Removal::Removed)),
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use std::os::fd::RawFd;

    use super::{Peer, io};

    /// `sun_path` of `sockaddr_un`, less the zero at its end.
    pub(super) const LONGEST_PATH: usize = 107;

    pub(super) fn of(socket: RawFd) -> io::Result<Peer> {
        let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
        let mut size = libc::socklen_t::try_from(size_of::<libc::ucred>()).map_err(io::Error::other)?;
        // SAFETY: `found` is a ucred of `size` bytes, and both outlive the call; any bytes make a valid
        // ucred.
        let outcome = unsafe {
            libc::getsockopt(
                socket,
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut found).cast(),
                &raw mut size,
            )
        };
        if outcome != 0 {
            return Err(io::Error::last_os_error());
        }
        // A socket that is not a local one has a peer of nobody: no pid and the user id -1.
        if found.uid == libc::uid_t::MAX {
            return Err(io::ErrorKind::NotConnected.into());
        }
        Ok(Peer { uid: found.uid, pid: u32::try_from(found.pid).ok().filter(|pid| *pid != 0) })
    }
}

#[cfg(target_os = "macos")]
mod imp {
    use std::os::fd::RawFd;

    use super::{Peer, io};

    /// `sun_path` of `sockaddr_un`, less the zero at its end.
    pub(super) const LONGEST_PATH: usize = 103;

    pub(super) fn of(socket: RawFd) -> io::Result<Peer> {
        let (mut uid, mut gid) = (0, 0);
        // SAFETY: both point to numbers of the right type that outlive the call.
        let outcome = unsafe { libc::getpeereid(socket, &raw mut uid, &raw mut gid) };
        if outcome == 0 { Ok(Peer { uid, pid: None }) } else { Err(io::Error::last_os_error()) }
    }
}
