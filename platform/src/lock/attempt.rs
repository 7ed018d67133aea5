//! One attempt at a file lock: open or create the file, lock it, and check that it is still at its path.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fs2::FileExt;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::error::Error;
use super::waiting::LockAttempt;
use crate::filesystem::{FileId, parent_folder};
use crate::hardening::with_inherited_umask;
use crate::private_file::{
    self, OpenFolder, TemporaryFile, check_can_replace_in, check_writable, is_contended, open_file,
};

/// The mode of a lock file that has to be created. Links are never followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockFileMode {
    /// 0600, also for an existing file of this user with a looser mode: a process that cannot open the file cannot
    /// lock it.
    Private,
    /// 0600 where only the owner of the folder can create files, since any user who can open the file can lock it.
    /// Otherwise 0666 less the user's umask from before [`harden`](crate::hardening::harden), for the other users of
    /// the folder. An existing file keeps its mode.
    SharedWithFolder,
}

pub(super) fn attempt(path: &Path, creation: LockFileMode) -> Result<LockAttempt<File>, Error> {
    let creation = creation.in_folder(parent_folder(path));
    let (opened, owner) = match foreign_folder(path)? {
        None => (open(path, creation, OFlags::CREATE)?, None),
        Some(foreign) => {
            let owner = foreign.owner;
            match ensure_owner(path, foreign, creation)? {
                OwnershipCheck::Theirs => (open(path, creation, OFlags::empty())?, Some(owner)),
                OwnershipCheck::Held => return Ok(LockAttempt::Held),
            }
        }
    };
    let Some(file) = opened else { return Ok(LockAttempt::Replaced) };
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::NotAFile { path: path.to_owned() });
    }
    // Replaced since its owner was checked, maybe by a hard link to another user's file, which must not be written
    // to.
    if owner.is_some_and(|owner| owner != metadata.uid()) {
        return Ok(LockAttempt::Replaced);
    }
    match FileExt::try_lock_exclusive(&file) {
        Ok(()) => {}
        Err(error) if is_contended(&error) => return Ok(LockAttempt::Held),
        // NFS requires a file that is open for writing.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::BADF) => {
            return Err(Error::ReadOnly { path: path.to_owned(), source: error });
        }
        Err(error) => return Err(lock_error(path, error)),
    }
    match std::fs::symlink_metadata(path) {
        Ok(now) if FileId::of(&now) == FileId::of(&metadata) => Ok(LockAttempt::Locked(file)),
        Ok(_) => Ok(LockAttempt::Replaced),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(LockAttempt::Replaced),
        Err(error) => Err(failed(error)),
    }
}

/// Opens the lock file for writing, or else for reading; `None` if it was removed meanwhile.
fn open(path: &Path, creation: CreationMode, create: OFlags) -> Result<Option<File>, Error> {
    match creation.apply(|mode| open_file(path, OFlags::RDWR | create, mode)) {
        Ok(file) => {
            if creation == CreationMode::Private {
                restrict_mode(&file);
            }
            Ok(Some(file))
        }
        Err(error) if is_refusal(&error) => match open_file(path, OFlags::RDONLY, Mode::empty()) {
            Ok(file) => Ok(Some(file)),
            Err(_) => Err(Error::ReadOnly { path: path.to_owned(), source: error }),
        },
        Err(error) if create.is_empty() && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(open_error(path, error)),
    }
}

/// Replaces the lock file at `path` with a new one, and returns the new one locked.
pub(super) fn replace(path: &Path) -> Result<File, Error> {
    let failed = |error| open_error(path, error);
    let (folder, name) = OpenFolder::parent_of(path).map_err(failed)?;
    let mut temporary = TemporaryFile::create(folder, name, PRIVATE).map_err(failed)?;
    if temporary.folder().foreign_owner().is_some() {
        temporary.folder().give_to_owner(temporary.file()).map_err(failed)?;
    }
    let file = temporary.file().try_clone().map_err(failed)?;
    FileExt::try_lock_exclusive(&file).map_err(failed)?;
    temporary.rename(name).map_err(failed)?;
    Ok(file)
}

/// Opens a lock file for reading; `None` if there is none.
pub(super) fn open_for_reading(path: &Path) -> Result<Option<File>, Error> {
    let file = match open_file(path, OFlags::RDONLY, Mode::empty()) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(open_error(path, error)),
    };
    match file.metadata() {
        Ok(found) if found.is_file() => Ok(Some(file)),
        Ok(_) => Err(Error::NotAFile { path: path.to_owned() }),
        Err(source) => Err(Error::Io { path: path.to_owned(), source }),
    }
}

/// Checks whether the lock file at `path` can be opened now, or created if there is none. Creates, changes and locks
/// nothing, and does not wait.
///
/// # Errors
/// Those of [`FileLock::acquire`](super::FileLock::acquire), except [`Error::Held`], [`Error::Unstable`] and
/// [`Error::Unsupported`].
pub fn check_can_open(path: &Path) -> Result<(), Error> {
    if let Some(ForeignFolder { folder, name, owner }) = foreign_folder(path)? {
        let entry = folder.entry(name).map_err(|error| open_error(path, error))?;
        if entry.is_none_or(|entry| entry.uid != owner) {
            return check_can_replace_in(&folder, name, path).map_err(|error| replace_error(path, error));
        }
    }
    if open_for_reading(path)?.is_some() {
        return Ok(());
    }
    check_writable(CWD, parent_folder(path)).map_err(|error| open_error(path, error))
}

/// Checks whether the file system of the lock file at `path` supports locks. If there is no such file, tests another
/// file in its folder or in the nearest existing folder above. Creates, changes and locks nothing: it releases a lock
/// that is not held, which has no effect and fails only where locks are not supported.
///
/// # Errors
/// [`Error::Unsupported`]; [`Error::Io`].
pub fn check_support(path: &Path) -> Result<(), Error> {
    let mut folder = parent_folder(path);
    while let Some(around) = folder.parent().filter(|_| !folder.exists()) {
        folder = around;
    }
    let file = open_for_reading(path).ok().flatten().or_else(|| any_file(folder));
    file.map_or(Ok(()), |file| FileExt::unlock(&file).map_err(|error| lock_error(path, error)))
}

/// Returns any file in `folder` that can be opened.
fn any_file(folder: &Path) -> Option<File> {
    let folder = OpenFolder::open(folder).ok()?;
    let is_regular =
        |name: &OsStr| matches!(folder.entry(name), Ok(Some(entry)) if entry.kind == FileType::RegularFile);
    let names = folder.names().ok()?;
    let mut names = names.iter().filter(|name| is_regular(name));
    names.find_map(|name| folder.open_entry(name, OFlags::RDONLY, Mode::empty()).ok())
}

/// Converts the error of a failed lock request.
fn lock_error(path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    match Errno::from_io_error(&source) {
        Some(Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::BADF) => {
            Error::Unsupported { path, source }
        }
        // A different number only on macOS.
        Some(errno) if errno == Errno::NOTSUP => Error::Unsupported { path, source },
        _ => Error::Io { path, source },
    }
}

/// Converts what prevents a lock file from being replaced to the error of [`ensure_owner`].
fn replace_error(path: &Path, error: private_file::Error) -> Error {
    use private_file::Error as Refusal;
    let path = path.to_owned();
    match error {
        Refusal::NotAFile { .. } => Error::NotAFile { path },
        Refusal::MountPoint { .. } => Error::Io { path, source: Errno::BUSY.into() },
        Refusal::ReadOnly { source, .. } | Refusal::Unreadable { source, .. } => {
            Error::ReadOnly { path, source }
        }
        Refusal::Io { source, .. } => Error::Io { path, source },
        _ => Error::ReadOnly { path, source: Errno::PERM.into() },
    }
}

/// Makes our own lock file 0600. A failure is harmless.
fn restrict_mode(file: &File) {
    if let Ok(found) = file.metadata()
        && found.is_file()
        && found.mode() & 0o777 != 0o600
        && found.uid() == rustix::process::geteuid().as_raw()
    {
        let _ = rustix::fs::fchmod(file, PRIVATE);
    }
}

/// A lock file's place in a folder of another user, while this process is root.
struct ForeignFolder<'a> {
    folder: OpenFolder,
    name: &'a OsStr,
    owner: u32,
}

fn foreign_folder(path: &Path) -> Result<Option<ForeignFolder<'_>>, Error> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let (folder, name) = OpenFolder::parent_of(path).map_err(|error| open_error(path, error))?;
    Ok(folder.foreign_owner().map(|(owner, _)| ForeignFolder { folder, name, owner }))
}

enum OwnershipCheck {
    Theirs,
    Held,
}

/// Makes the lock file in another user's folder belong to that user, by replacing any other. Never gives away an
/// existing file, which may be a hard link to one of root's.
fn ensure_owner(
    path: &Path,
    foreign: ForeignFolder<'_>,
    creation: CreationMode,
) -> Result<OwnershipCheck, Error> {
    let ForeignFolder { folder, name, owner } = foreign;
    let failed = |error| open_error(path, error);
    let old = match folder.entry(name).map_err(failed)? {
        Some(entry) if entry.kind != FileType::RegularFile => {
            return Err(Error::NotAFile { path: path.to_owned() });
        }
        Some(entry) if entry.uid == owner => return Ok(OwnershipCheck::Theirs),
        Some(_) => match folder.open_entry(name, OFlags::RDWR, Mode::empty()) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        },
        None => None,
    };
    if let Some(old) = &old {
        match FileExt::try_lock_exclusive(old) {
            Ok(()) => {}
            Err(error) if is_contended(&error) => return Ok(OwnershipCheck::Held),
            Err(error) => return Err(failed(error)),
        }
    }
    let temporary = creation.apply(|mode| TemporaryFile::create(folder, name, mode));
    let mut temporary = temporary.map_err(failed)?;
    temporary
        .folder()
        .give_to_owner(temporary.file())
        .map_err(|source| Error::ReadOnly { path: path.to_owned(), source })?;
    // Replaced only while we hold the old one; a waiter for the old one notices that it is gone.
    let placed = if old.is_some() { temporary.rename(name) } else { temporary.link(name) };
    match placed {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
        _ => Ok(OwnershipCheck::Theirs),
    }
}

const PRIVATE: Mode = Mode::from_raw_mode(0o600);

/// The mode of a lock file in a certain folder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CreationMode {
    /// 0600, also for an existing file.
    Private,
    /// 0600 for a new file.
    PrivateIfNew,
    /// 0666 less the user's umask.
    UserUmask,
}

impl LockFileMode {
    fn in_folder(self, folder: &Path) -> CreationMode {
        let is_shared = || std::fs::metadata(folder).is_ok_and(|found| found.mode() & 0o022 != 0);
        match self {
            Self::Private => CreationMode::Private,
            Self::SharedWithFolder if is_shared() => CreationMode::UserUmask,
            Self::SharedWithFolder => CreationMode::PrivateIfNew,
        }
    }
}

impl CreationMode {
    /// Calls `work`, which may create a lock file with the mode that it gets.
    fn apply<T>(self, work: impl FnOnce(Mode) -> T) -> T {
        match self {
            Self::Private | Self::PrivateIfNew => work(PRIVATE),
            Self::UserUmask => with_inherited_umask(|| work(Mode::from_raw_mode(0o666))),
        }
    }
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::ACCESS | Errno::PERM | Errno::ROFS))
}

fn open_error(path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    match Errno::from_io_error(&source) {
        Some(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => Error::NotAFile { path },
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Error::ReadOnly { path, source },
        _ => Error::Io { path, source },
    }
}
