//! Local sockets and the process at their other end.
//!
//! The kernel records the peer's credentials when the connection is made, and the peer cannot change them. Any
//! process that reaches the socket file can connect to it, so its folder must be private too.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::FileType;
use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use crate::private_file::{self, OpenFolder, Removal, SharedAccess};

/// Suffix of a socket's name until it accepts connections.
const TEMPORARY_SUFFIX: &str = ".new";

/// The process that connected to a socket or listens on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Its effective user id.
    pub uid: u32,
    /// Its process id; unknown on macOS, and for a process that this container does not see.
    pub pid: Option<u32>,
}

impl Peer {
    /// Returns whether the process is in our own PID namespace, or may be: not in a container inside it, nor outside.
    /// Where the system does not say, as on macOS and with `/proc` masked, every process counts as here.
    #[must_use]
    pub fn is_in_this_container(&self) -> bool {
        imp::is_in_this_container(self.pid)
    }
}

/// The users besides this one whose listener [`connect`] accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OtherListeners {
    /// None.
    Refused,
    /// Root, and the owner of the socket's folder if no other user can write there. An owner without an id in our user
    /// namespace counts too: no other such user can have put the socket there.
    OwnerOfFolder,
}

/// The peer was refused, or the socket could not be removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer runs as another user, possibly root.
    #[error("user {uid} is at the other end of the socket; run both ends as the same user")]
    OtherUser {
        /// The user id of the peer.
        uid: u32,
    },
    /// The kernel does not say, as for a socket that is not local.
    #[error("cannot read the peer credentials of the socket")]
    Unknown {
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// Something other than a socket has the name of the socket.
    #[error("{path} is not a socket; move it out of the way")]
    NotASocket {
        /// The path in question.
        path: PathBuf,
    },
    /// The socket file could not be removed.
    #[error("cannot remove the socket {path}")]
    Io {
        /// The socket file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
}

/// Returns the credentials of the peer of a connected local stream socket, from std or another library.
///
/// # Errors
/// [`Error::Unknown`].
pub fn credentials(stream: impl AsFd) -> Result<Peer, Error> {
    imp::of(stream.as_fd().as_raw_fd()).map_err(|source| Error::Unknown { source })
}

/// Fails unless the peer has our own effective user id. Root is refused too, because it could become this user
/// instead.
///
/// # Errors
/// [`Error::OtherUser`]; [`Error::Unknown`].
pub fn require_same_user(stream: impl AsFd) -> Result<(), Error> {
    require_user(credentials(stream)?, &[crate::process::effective_uid()])
}

/// Fails unless the peer is one of `users`. The kernel maps its user id into our user namespace; users without an id
/// there are refused, because they all look the same.
///
/// # Errors
/// [`Error::OtherUser`].
pub fn require_user(peer: Peer, users: &[u32]) -> Result<(), Error> {
    match users.contains(&peer.uid) && private_file::is_mapped_user(peer.uid) {
        true => Ok(()),
        false => Err(Error::OtherUser { uid: peer.uid }),
    }
}

/// Connects to the socket at `path` if a process of this user, or of one that `others` accepts, listens there and accepts
/// connections now. Never blocks: a listener whose queue is full counts as absent.
///
/// # Errors
/// An error of the system, of kind `PermissionDenied` if another user listens.
pub fn connect(path: &Path, others: OtherListeners) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    let stream = UnixStream::from(socket);
    rustix::io::fcntl_setfd(&stream, FdFlags::CLOEXEC)?;
    stream.set_nonblocking(true)?;
    rustix::net::connect(&stream, &address)?;
    stream.set_nonblocking(false)?;
    let refused = |error| io::Error::new(io::ErrorKind::PermissionDenied, error);
    match (require_same_user(&stream), others) {
        (Err(Error::OtherUser { uid }), OtherListeners::OwnerOfFolder) if is_of_folder(path, uid)? => {
            Ok(stream)
        }
        (outcome, _) => outcome.map(|()| stream).map_err(refused),
    }
}

/// Whether the user `uid` is root or the owner of the folder of `path`, in which no other user may write.
fn is_of_folder(path: &Path, uid: u32) -> io::Result<bool> {
    let folder = std::fs::metadata(crate::filesystem::parent_folder(path))?;
    let is_private = folder.mode() & 0o022 == 0;
    Ok(is_private && (uid == 0 || uid == folder.uid()))
}

/// Returns the path of the socket at `path`, or where the link at `path` leads, with one system call; `None` if nothing is
/// there. A link can lead to a path that is short enough for a socket.
///
/// # Errors
/// An error of the system.
pub fn socket_behind(path: &Path) -> io::Result<Option<PathBuf>> {
    match std::fs::read_link(path) {
        Ok(target) => Ok(Some(path.parent().unwrap_or(path).join(target))),
        // It is no link.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(Some(path.to_owned())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Waits until the reader of `output` is gone: the read end of a pipe, the other end of a socket, or the terminal.
/// Never returns for a regular file.
///
/// # Errors
/// Fails if the system cannot poll `output`.
pub fn wait_until_closed(output: impl AsFd) -> io::Result<()> {
    let mut waited_for = [PollFd::new(&output, PollFlags::empty())];
    loop {
        match rustix::event::poll(&mut waited_for, None) {
            Ok(_) if !waited_for[0].revents().is_empty() => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The longest path that [`bind`] accepts, in bytes.
pub const MAX_PATH_BYTES: usize = imp::SOCKET_PATH_BYTES - TEMPORARY_SUFFIX.len();

/// Listens at `path`, in a folder that is created private if it is missing. The socket appears under its name once it
/// accepts connections, and replaces the socket that was there, so that a process that mounts the folder keeps
/// finding it.
///
/// The caller must ensure that no other process binds there at the same time.
///
/// # Errors
/// An error of the system, of kind `InvalidInput` for a path longer than [`MAX_PATH_BYTES`].
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    bind_for(path, &[])
}

/// Listens as [`bind`] does, at a socket that `users` may connect to as well, in a folder that they may enter.
///
/// # Errors
/// Those of [`bind`]; those of [`private_file::share`] as the source of an error of kind `Other`.
pub fn bind_for(path: &Path, users: &[u32]) -> io::Result<UnixListener> {
    if path.as_os_str().len() > MAX_PATH_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is too long for a socket"));
    }
    private_file::create_directory(crate::filesystem::parent_folder(path)).map_err(io::Error::other)?;
    let mut new = path.as_os_str().to_owned();
    new.push(TEMPORARY_SUFFIX);
    let new = PathBuf::from(new);
    // A process that was killed while it bound may have left one.
    remove_socket(&new).map_err(io::Error::other)?;
    let (folder, name) = OpenFolder::parent_of(path)?;
    let new_name = new.file_name().unwrap_or_default();
    // As root, another user may have replaced the folder by a link meanwhile.
    let address = folder.foreign_owner().and_then(|_| imp::path_in(&folder, new_name));
    let listener = UnixListener::bind(address.as_ref().unwrap_or(&new))?;
    if !users.is_empty() {
        private_file::share(&new, users, SharedAccess::Connect).map_err(io::Error::other)?;
        let above = crate::filesystem::parent_folder(path);
        private_file::share(above, users, SharedAccess::Enter).map_err(io::Error::other)?;
    }
    folder.rename(new_name, name)?;
    Ok(listener)
}

/// Removes the file of a socket without a listener, so that its name can be bound again. The caller must ensure that
/// no process listens on it.
///
/// # Errors
/// [`Error::NotASocket`], and nothing is removed; [`Error::Io`].
pub fn remove_socket(path: &Path) -> Result<Removal, Error> {
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let gone = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(Removal::Absent),
        _ => Err(failed(error)),
    };
    let (folder, name) = match OpenFolder::parent_of(path) {
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
    use std::ffi::OsStr;
    use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
    use std::path::PathBuf;

    use super::{OpenFolder, Peer, io};

    /// `sun_path` of `sockaddr_un`, without the final zero.
    pub(super) const SOCKET_PATH_BYTES: usize = 107;

    /// Returns a path of `name` in the folder `folder`, wherever that is by now.
    pub(super) fn path_in(folder: &OpenFolder, name: &OsStr) -> Option<PathBuf> {
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_fd().as_raw_fd()));
        path.exists().then(|| path.join(name))
    }

    /// A process in an inner namespace has a number in that one too; one outside has none here.
    pub(super) fn is_in_this_container(pid: Option<u32>) -> bool {
        let depth = |process: &str| {
            let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
            Some(numbers.split_whitespace().count())
        };
        let Some(ours) = depth("self") else { return true };
        pid.is_some_and(|pid| depth(&pid.to_string()).is_none_or(|theirs| theirs == ours))
    }

    pub(super) fn of(socket: RawFd) -> io::Result<Peer> {
        let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
        let mut size = libc::socklen_t::try_from(size_of::<libc::ucred>()).map_err(io::Error::other)?;
        // SAFETY: `found` is a ucred of `size` bytes, and both outlive the call; any bytes make a valid ucred.
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
        // The peer of a socket that is not local has no pid and the user id -1.
        if found.uid == libc::uid_t::MAX {
            return Err(io::ErrorKind::NotConnected.into());
        }
        Ok(Peer { uid: found.uid, pid: u32::try_from(found.pid).ok().filter(|pid| *pid != 0) })
    }
}

#[cfg(target_os = "macos")]
mod imp {
    use std::ffi::OsStr;
    use std::os::fd::RawFd;
    use std::path::PathBuf;

    use super::{OpenFolder, Peer, io};

    /// `sun_path` of `sockaddr_un`, without the final zero.
    pub(super) const SOCKET_PATH_BYTES: usize = 103;

    pub(super) fn is_in_this_container(_: Option<u32>) -> bool {
        true
    }

    /// Without `/proc`, a socket is bound by its path only.
    pub(super) fn path_in(_: &OpenFolder, _: &OsStr) -> Option<PathBuf> {
        None
    }

    pub(super) fn of(socket: RawFd) -> io::Result<Peer> {
        let (mut uid, mut gid) = (0, 0);
        // SAFETY: both point to numbers of the right type that outlive the call.
        let outcome = unsafe { libc::getpeereid(socket, &raw mut uid, &raw mut gid) };
        if outcome == 0 { Ok(Peer { uid, pid: None }) } else { Err(io::Error::last_os_error()) }
    }
}
