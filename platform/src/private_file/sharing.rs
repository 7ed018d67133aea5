//! Gives other users access to a private file, folder or socket, by a POSIX access control list.
//!
//! An unprivileged process cannot give a file to another user, but it can list that user. Nothing else is opened: the
//! group and all others keep no permission. The group bits of the mode then show what the list allows at most.

use std::path::Path;

use rustix::io::Errno;

use super::error::Error;

/// What a listed user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SharedAccess {
    /// Read a file.
    Read,
    /// List a folder and open what is in it, but change nothing.
    Enter,
    /// Connect to a socket.
    Connect,
}

/// Lists `users` for `path`, which is not followed if it is a link, instead of those listed before. Without `users`,
/// only the owner has access.
///
/// # Errors
/// [`Error::NoAccessLists`]; [`Error::UnknownUser`]; [`Error::ReadOnly`]; [`Error::Io`].
pub fn share(path: &Path, users: &[u32], access: SharedAccess) -> Result<(), Error> {
    match imp::set(path, users, access) {
        Ok(()) => Ok(()),
        Err(error) => match Errno::from_io_error(&error) {
            // Nothing to remove where there are no lists.
            Some(Errno::NOTSUP | Errno::NOSYS) if users.is_empty() => Ok(()),
            Some(Errno::NOTSUP | Errno::NOSYS) => {
                Err(Error::NoAccessLists { path: path.to_owned(), source: error })
            }
            Some(Errno::INVAL) => {
                Err(Error::UnknownUser { path: path.to_owned(), users: users.to_vec(), source: error })
            }
            _ => Err(Error::from_write("share", path, 0, error)),
        },
    }
}

#[cfg(target_os = "linux")]
mod imp {
    //! Linux: the list is an extended attribute, in the form of `linux/posix_acl_xattr.h`.

    use std::io;
    use std::path::Path;

    use rustix::fs::XattrFlags;

    use super::SharedAccess;

    const NAME: &str = "system.posix_acl_access";
    const VERSION: u32 = 2;
    const OWNER: u16 = 0x01;
    const USER: u16 = 0x02;
    const GROUP: u16 = 0x04;
    const MASK: u16 = 0x10;
    const OTHERS: u16 = 0x20;
    /// The id of an entry that needs none.
    const NO_ID: u32 = u32::MAX;
    const READ: u16 = 4;
    const WRITE: u16 = 2;
    const EXECUTE: u16 = 1;

    pub(super) fn set(path: &Path, users: &[u32], access: SharedAccess) -> io::Result<()> {
        Ok(rustix::fs::lsetxattr(path, NAME, &list(users, access), XattrFlags::empty())?)
    }

    /// Returns the list. Entries of one kind are in the order of their ids.
    fn list(users: &[u32], access: SharedAccess) -> Vec<u8> {
        let (owner, user) = match access {
            SharedAccess::Read => (READ | WRITE, READ),
            SharedAccess::Enter => (READ | WRITE | EXECUTE, READ | EXECUTE),
            SharedAccess::Connect => (READ | WRITE, READ | WRITE),
        };
        let mut users = users.to_vec();
        users.sort_unstable();
        users.dedup();
        let mut entries = vec![(OWNER, owner, NO_ID)];
        entries.extend(users.iter().map(|id| (USER, user, *id)));
        entries.push((GROUP, 0, NO_ID));
        // Without users the list is the mode, and the kernel stores no list.
        if !users.is_empty() {
            entries.push((MASK, user, NO_ID));
        }
        entries.push((OTHERS, 0, NO_ID));
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for (kind, permissions, id) in entries {
            bytes.extend_from_slice(&kind.to_le_bytes());
            bytes.extend_from_slice(&permissions.to_le_bytes());
            bytes.extend_from_slice(&id.to_le_bytes());
        }
        bytes
    }
}

#[cfg(target_os = "macos")]
mod imp {
    //! macOS: its access control lists have another form, and its containers see other user ids anyway.

    use std::io;
    use std::path::Path;

    use rustix::io::Errno;

    use super::SharedAccess;

    pub(super) fn set(_: &Path, _: &[u32], _: SharedAccess) -> io::Result<()> {
        Err(Errno::NOTSUP.into())
    }
}
