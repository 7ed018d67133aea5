//! An open folder, so that a check and a change reach the same folder even if it is renamed meanwhile.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::walk;
use crate::filesystem::parent_folder;

/// Flags of every open in this crate: close on exec, follow no links, do not wait, acquire no terminal.
pub(crate) const SAFE_OPEN: OFlags =
    OFlags::CLOEXEC.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// An open directory and its owner.
#[derive(Debug)]
pub(crate) struct OpenFolder {
    file: File,
    uid: u32,
    gid: u32,
}

/// The metadata of a name in a folder; links are not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FolderEntry {
    pub(crate) kind: FileType,
    pub(crate) mode: Mode,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl OpenFolder {
    /// Opens the folder that contains, or would contain, `path`.
    pub(crate) fn parent_of(path: &Path) -> io::Result<(Self, &OsStr)> {
        let name = path.file_name().ok_or_else(|| io::Error::from(Errno::ISDIR))?;
        Ok((Self::open(parent_folder(path))?, name))
    }

    /// Opens a directory; links are followed, as root only safe ones.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::from_file(File::from(walk::open_folder(path)?))
    }

    /// Wraps a directory that is already open.
    pub(crate) fn from_file(file: File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self { file, uid: found.uid(), gid: found.gid() })
    }

    /// Returns the owner of the folder if we are root and the owner is not: new entries must be given to them.
    pub(crate) fn foreign_owner(&self) -> Option<(u32, u32)> {
        let root = rustix::process::geteuid().is_root();
        (root && self.uid != 0).then_some((self.uid, self.gid))
    }

    /// Returns the owner of files in this folder whose mode we may change. As root this is the folder's owner and not
    /// root: a user may have put a hard link to one of root's files there.
    pub(crate) fn expected_owner(&self) -> u32 {
        self.foreign_owner().map_or_else(|| rustix::process::geteuid().as_raw(), |(uid, _)| uid)
    }

    /// Gives a file that we just created in this folder to the folder's owner.
    pub(crate) fn give_to_owner(&self, made: &File) -> io::Result<OwnershipChange> {
        let Some((uid, gid)) = self.foreign_owner() else { return Ok(OwnershipChange::Unchanged) };
        rustix::fs::fchown(made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        Ok(OwnershipChange::Given { uid })
    }

    /// Opens `name` in this folder with [`SAFE_OPEN`] flags.
    pub(crate) fn open_entry(&self, name: &OsStr, flags: OFlags, mode: Mode) -> io::Result<File> {
        Ok(File::from(rustix::fs::openat(&self.file, name, flags | SAFE_OPEN, mode)?))
    }

    /// Returns the metadata of `name`, or `None` if it does not exist.
    pub(crate) fn entry(&self, name: &OsStr) -> io::Result<Option<FolderEntry>> {
        match rustix::fs::statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(FolderEntry {
                kind: FileType::from_raw_mode(found.st_mode),
                mode: Mode::from_raw_mode(found.st_mode),
                uid: found.st_uid,
                gid: found.st_gid,
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the open directory.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Calls [`check_writable`] for this folder.
    pub(super) fn check_writable(&self) -> io::Result<()> {
        check_writable(&self.file, Path::new("."))
    }

    /// Returns the names in this folder.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.file)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        Ok(names)
    }

    pub(crate) fn create_folder(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.file, name, Mode::RWXU)?)
    }

    /// Sets a folder that cannot be opened to 0700.
    pub(crate) fn make_accessible(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::chmodat(&self.file, name, Mode::RWXU, AtFlags::empty())?)
    }

    /// Removes a new folder again, if it is empty.
    pub(crate) fn remove_folder(&self, name: &OsStr) {
        let _ = rustix::fs::unlinkat(&self.file, name, AtFlags::REMOVEDIR);
    }

    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.file, from, &self.file, to)?)
    }

    /// Gives the file `from` a second name, failing if that name is taken.
    pub(crate) fn link(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::linkat(&self.file, from, &self.file, to, AtFlags::empty())?)
    }

    pub(crate) fn unlink(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.file, name, AtFlags::empty())?)
    }

    /// Makes the names of this folder durable, as far as its file system supports that.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match sync(&self.file) {
            Err(error) if is_unsupported(&error) => Ok(()),
            outcome => outcome,
        }
    }
}

impl AsFd for OpenFolder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Whether the owner of a file was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnershipChange {
    Unchanged,
    Given { uid: u32 },
}

/// Fails if permissions, flags or the file system forbid new names in the folder `path`. Succeeds if the system does
/// not allow the check.
pub(crate) fn check_writable(base: impl AsFd, path: &Path) -> io::Result<()> {
    let check = |access| rustix::fs::accessat(&base, path, access, AtFlags::EACCESS);
    match check(Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) | Err(Errno::NOSYS) => Ok(()),
        // A flag forbids writing alone; a system call filter forbids the check itself.
        Err(Errno::PERM) if check(Access::EXEC_OK) == Err(Errno::PERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether [`set_mode`] changed the mode.
#[derive(Debug)]
pub(super) enum ModeChange {
    Set,
    /// The file system has no modes of its own, such as a Windows drive or an SMB share: how it was mounted decides who
    /// can read it.
    Refused(io::Error),
}

/// Sets the mode of our own new file or folder.
pub(super) fn set_mode(file: &File, mode: Mode) -> io::Result<ModeChange> {
    match rustix::fs::fchmod(file, mode) {
        Err(error @ (Errno::PERM | Errno::NOTSUP | Errno::NOSYS)) => Ok(ModeChange::Refused(error.into())),
        outcome => Ok(outcome.map(|()| ModeChange::Set)?),
    }
}

/// Returns permission bits as a number; their type differs between systems.
#[cfg_attr(target_os = "linux", expect(clippy::useless_conversion, reason = "16 bits on macOS"))]
pub(crate) fn bits(mode: Mode) -> u32 {
    u32::from(mode.bits()) & 0o7777
}

/// Makes the content of `file` durable. On macOS std empties the drive's cache too, which network file systems
/// refuse; those get a plain `fsync`.
pub(crate) fn sync(file: &File) -> io::Result<()> {
    match file.sync_all() {
        Err(error) if is_unsupported(&error) => Ok(rustix::fs::fsync(file)?),
        outcome => outcome,
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    // Two of these are equal on Linux.
    let unsupported = [Errno::INVAL, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOSYS, Errno::NOTTY];
    Errno::from_io_error(error).is_some_and(|errno| unsupported.contains(&errno))
}
