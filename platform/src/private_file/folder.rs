//! A folder held open, so that what was checked is what is changed, whoever renames things meanwhile.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

/// The flags of every open in this crate: nothing is inherited, followed, waited for or made a terminal.
pub(crate) const CAREFUL: OFlags =
    OFlags::CLOEXEC.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// An open directory, and who owns it.
#[derive(Debug)]
pub(crate) struct OpenFolder {
    file: File,
    uid: u32,
    gid: u32,
}

/// What a name in a folder stands for; a link is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FolderEntry {
    pub(crate) kind: FileType,
    pub(crate) mode: Mode,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl OpenFolder {
    /// The folder that `path` is, or would be, in.
    pub(crate) fn around(path: &Path) -> io::Result<(Self, &OsStr)> {
        let name = path.file_name().ok_or_else(|| io::Error::from(Errno::ISDIR))?;
        Ok((Self::open(parent(path))?, name))
    }

    /// Opens a directory; a link in its place is followed.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self::held(File::from(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// A directory that is open already.
    pub(crate) fn held(file: File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self { file, uid: found.uid(), gid: found.gid() })
    }

    /// Whom a new entry must be given to: the owner of the folder, where we are root and they are not.
    pub(crate) fn heir(&self) -> Option<(u32, u32)> {
        let root = rustix::process::geteuid().is_root();
        (root && self.uid != 0).then_some((self.uid, self.gid))
    }

    /// Whose files in this folder we may change the mode of. As root it is the folder's owner and not root: a
    /// user may have put a hard link to one of root's files there.
    pub(crate) fn keeper(&self) -> u32 {
        self.heir().map_or_else(|| rustix::process::geteuid().as_raw(), |(uid, _)| uid)
    }

    /// Gives a file that we have just made in this folder to its heir.
    pub(crate) fn bequeath(&self, made: &File) -> io::Result<Inheritance> {
        let Some((uid, gid)) = self.heir() else { return Ok(Inheritance::Ours) };
        rustix::fs::fchown(made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        Ok(Inheritance::Given { uid })
    }

    /// Opens `name` in this folder with [`CAREFUL`] flags.
    pub(crate) fn open_entry(&self, name: &OsStr, flags: OFlags, mode: Mode) -> io::Result<File> {
        Ok(File::from(rustix::fs::openat(&self.file, name, flags | CAREFUL, mode)?))
    }

    /// What `name` stands for, if anything.
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

    /// The open directory.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// As [`check_writable`], for this folder.
    pub(super) fn check_writable(&self) -> io::Result<()> {
        check_writable(&self.file, Path::new("."))
    }

    /// The names in this folder.
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

    pub(crate) fn make_folder(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.file, name, Mode::RWXU)?)
    }

    /// Makes a folder that cannot be opened 0700.
    pub(crate) fn allow_owner(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::chmodat(&self.file, name, Mode::RWXU, AtFlags::empty())?)
    }

    /// Removes a folder that turned out not to be wanted, if it is empty.
    pub(crate) fn unmake_folder(&self, name: &OsStr) {
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

    /// Makes the names of this folder durable, as far as its file system knows how to.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match sync(&self.file) {
            Err(error) if is_unsupported(&error) => Ok(()),
            outcome => outcome,
        }
    }
}

/// Whether a file changed hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inheritance {
    Ours,
    Given { uid: u32 },
}

/// The folder part of a path; the working directory for a bare name.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Fails where permissions, flags or the file system forbid new names in the folder `path`. Where the system does not
/// let that be asked, it succeeds.
pub(crate) fn check_writable(base: impl AsFd, path: &Path) -> io::Result<()> {
    let ask = |access| rustix::fs::accessat(&base, path, access, AtFlags::EACCESS);
    match ask(Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) | Err(Errno::NOSYS) => Ok(()),
        // A flag forbids writing alone; a system call filter forbids the question.
        Err(Errno::PERM) if ask(Access::EXEC_OK) == Err(Errno::PERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Permission bits as a number; their type differs between systems.
#[cfg_attr(target_os = "linux", expect(clippy::useless_conversion, reason = "16 bits on macOS"))]
pub(crate) fn bits(mode: Mode) -> u32 {
    u32::from(mode.bits()) & 0o7777
}

/// Makes the content of `file` durable. On macOS std empties the drive's cache too, which file systems of
/// other machines refuse; theirs is then synced as they know how to.
pub(crate) fn sync(file: &File) -> io::Result<()> {
    match file.sync_all() {
        Err(error) if is_unsupported(&error) => Ok(rustix::fs::fsync(file)?),
        outcome => outcome,
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    // Two of them are one and the same on Linux.
    let unsupported = [Errno::INVAL, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOSYS, Errno::NOTTY];
    Errno::from_io_error(error).is_some_and(|errno| unsupported.contains(&errno))
}
