//! One try for a lock: find or make the file, lock it, and see that it is still the one.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fs2::FileExt;
use rustix::fs::{CWD, FileType, Mode as Permissions, OFlags};
use rustix::io::Errno;

use super::waiting::LockAttempt;
use super::{Creation, Error, Mode};
use crate::hardening::with_found_umask;
use crate::private_file::{
    self, CAREFUL, OpenFolder, TemporaryFile, check_writable, is_contended, may_replace_in, parent,
};

pub(super) fn attempt(path: &Path, mode: Mode, creation: Creation) -> Result<LockAttempt<File>, Error> {
    let (opened, heir) = match foreign_folder(path)? {
        None => (open(path, creation, OFlags::CREATE)?, None),
        Some(foreign) => {
            let heir = foreign.heir;
            match settle(path, foreign, creation)? {
                OwnershipCheck::Theirs => (open(path, creation, OFlags::empty())?, Some(heir)),
                OwnershipCheck::Held => return Ok(LockAttempt::Held),
            }
        }
    };
    let Some(file) = opened else { return Ok(LockAttempt::Replaced) };
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let opened = file.metadata().map_err(failed)?;
    if !opened.is_file() {
        return Err(Error::NotAFile { path: path.to_owned() });
    }
    // Swapped since it was settled, maybe for a hard link to somebody else's file, which must not be signed.
    if heir.is_some_and(|heir| heir != opened.uid()) {
        return Ok(LockAttempt::Replaced);
    }
    let locked = match mode {
        Mode::Shared => FileExt::try_lock_shared(&file),
        Mode::Exclusive => FileExt::try_lock_exclusive(&file),
    };
    match locked {
        Ok(()) => {}
        Err(error) if is_contended(&error) => return Ok(LockAttempt::Held),
        // NFS wants a file that is open for writing.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::BADF) => {
            return Err(Error::ReadOnly { path: path.to_owned(), source: error });
        }
        Err(error) => return Err(refused_lock(path, error)),
    }
    match std::fs::symlink_metadata(path) {
        Ok(now) if (now.dev(), now.ino()) == (opened.dev(), opened.ino()) => Ok(LockAttempt::Locked(file)),
        Ok(_) => Ok(LockAttempt::Replaced),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(LockAttempt::Replaced),
        Err(error) => Err(failed(error)),
    }
}

/// Opens the lock file to write to it or else to read from it; nothing when it went away meanwhile.
fn open(path: &Path, creation: Creation, create: OFlags) -> Result<Option<File>, Error> {
    let how = OFlags::RDWR | create | CAREFUL;
    match making(creation, || rustix::fs::open(path, how, permissions(creation))) {
        Ok(descriptor) => {
            let file = File::from(descriptor);
            if creation == Creation::Private {
                tighten(&file);
            }
            Ok(Some(file))
        }
        Err(error @ (Errno::ACCESS | Errno::PERM | Errno::ROFS)) => {
            match rustix::fs::open(path, OFlags::RDONLY | CAREFUL, Permissions::empty()) {
                Ok(descriptor) => Ok(Some(File::from(descriptor))),
                Err(_) => Err(Error::ReadOnly { path: path.to_owned(), source: error.into() }),
            }
        }
        Err(Errno::NOENT) if create.is_empty() => Ok(None),
        Err(error) => Err(sorted(path, error.into())),
    }
}

/// Puts a new lock file in the place of the one at `path`, and returns it locked.
pub(super) fn replace(path: &Path) -> Result<File, Error> {
    let failed = |error| sorted(path, error);
    let (folder, name) = OpenFolder::around(path).map_err(failed)?;
    let mut temporary =
        TemporaryFile::create(folder, name, permissions(Creation::Private)).map_err(failed)?;
    if temporary.folder().heir().is_some() {
        temporary.folder().bequeath(temporary.file()).map_err(failed)?;
    }
    let file = temporary.file().try_clone().map_err(failed)?;
    FileExt::try_lock_exclusive(&file).map_err(failed)?;
    temporary.rename(name).map_err(failed)?;
    Ok(file)
}

/// Opens a lock file only to look at it; nothing when there is none.
pub(super) fn opened(path: &Path) -> Result<Option<File>, Error> {
    let file = match rustix::fs::open(path, OFlags::RDONLY | CAREFUL, Permissions::empty()) {
        Ok(descriptor) => File::from(descriptor),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(sorted(path, error.into())),
    };
    match file.metadata() {
        Ok(found) if found.is_file() => Ok(Some(file)),
        Ok(_) => Err(Error::NotAFile { path: path.to_owned() }),
        Err(source) => Err(Error::Io { path: path.to_owned(), source }),
    }
}

/// Checks whether the lock file at `path` could be opened now, or made where there is none. Nothing is created,
/// changed or locked, and nothing is waited for.
///
/// # Errors
/// Those of [`FileLock::acquire`](super::FileLock::acquire), except [`Error::Held`], [`Error::Unstable`] and
/// [`Error::Unsupported`].
pub fn may_open(path: &Path) -> Result<(), Error> {
    if let Some(ForeignFolder { folder, name, heir }) = foreign_folder(path)? {
        let entry = folder.entry(name).map_err(|error| sorted(path, error))?;
        if entry.is_none_or(|entry| entry.uid != heir) {
            return may_replace_in(&folder, name, path).map_err(|error| refused(path, error));
        }
    }
    if opened(path)?.is_some() {
        return Ok(());
    }
    check_writable(CWD, parent(path)).map_err(|error| sorted(path, error))
}

/// Checks whether the file system of the lock file at `path` has locks. Where there is no such file, another one shows it,
/// in its folder or in the nearest one around it that is there. Nothing is created, changed or locked: to release a lock
/// that is not held changes nothing, and is refused where there are none.
///
/// # Errors
/// [`Error::Unsupported`]; [`Error::Io`].
pub fn check_support(path: &Path) -> Result<(), Error> {
    let mut folder = parent(path);
    while let Some(around) = folder.parent().filter(|_| !folder.exists()) {
        folder = around;
    }
    let file = opened(path).ok().flatten().or_else(|| any_file(folder));
    file.map_or(Ok(()), |file| FileExt::unlock(&file).map_err(|error| refused_lock(path, error)))
}

/// Any file in `folder` that can be opened.
fn any_file(folder: &Path) -> Option<File> {
    let folder = OpenFolder::open(folder).ok()?;
    let is_regular =
        |name: &OsStr| matches!(folder.entry(name), Ok(Some(entry)) if entry.kind == FileType::RegularFile);
    let names = folder.names().ok()?;
    let mut names = names.iter().filter(|name| is_regular(name));
    names.find_map(|name| folder.open_entry(name, OFlags::RDONLY, Permissions::empty()).ok())
}

/// What it means that the system refused to lock.
fn refused_lock(path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    match Errno::from_io_error(&source) {
        Some(Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => {
            Error::Unsupported { path, source }
        }
        // Another number on macOS alone.
        Some(errno) if errno == Errno::NOTSUP => Error::Unsupported { path, source },
        _ => Error::Io { path, source },
    }
}

/// What keeps a lock file from being replaced, as [`settle`] fails with it.
fn refused(path: &Path, error: private_file::Error) -> Error {
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

/// Makes a lock file 0600 if it is ours. Nothing depends on it, and whose it is nobody else can arrange.
fn tighten(file: &File) {
    if let Ok(found) = file.metadata()
        && found.is_file()
        && found.mode() & 0o777 != 0o600
        && found.uid() == rustix::process::geteuid().as_raw()
    {
        let _ = rustix::fs::fchmod(file, permissions(Creation::Private));
    }
}

/// A lock file's place in a folder that belongs to another user, we being root.
struct ForeignFolder<'a> {
    folder: OpenFolder,
    name: &'a OsStr,
    heir: u32,
}

fn foreign_folder(path: &Path) -> Result<Option<ForeignFolder<'_>>, Error> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let (folder, name) = OpenFolder::around(path).map_err(|error| sorted(path, error))?;
    Ok(folder.heir().map(|(heir, _)| ForeignFolder { folder, name, heir }))
}

enum OwnershipCheck {
    Theirs,
    Held,
}

/// Sees to it that the lock file in a folder of another user is one of theirs, by replacing any other. No
/// file is given away that was there before, because it may be a hard link to one of root's.
fn settle(path: &Path, foreign: ForeignFolder<'_>, creation: Creation) -> Result<OwnershipCheck, Error> {
    let ForeignFolder { folder, name, heir } = foreign;
    let failed = |error| sorted(path, error);
    let old = match folder.entry(name).map_err(failed)? {
        Some(entry) if entry.kind != FileType::RegularFile => {
            return Err(Error::NotAFile { path: path.to_owned() });
        }
        Some(entry) if entry.uid == heir => return Ok(OwnershipCheck::Theirs),
        Some(_) => match folder.open_entry(name, OFlags::RDWR, Permissions::empty()) {
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
    let temporary = making(creation, || TemporaryFile::create(folder, name, permissions(creation)));
    let mut temporary = temporary.map_err(failed)?;
    temporary
        .folder()
        .bequeath(temporary.file())
        .map_err(|source| Error::ReadOnly { path: path.to_owned(), source })?;
    // Over the old one only while we hold it; who waits for that sees afterwards that it is gone.
    let placed = if old.is_some() { temporary.rename(name) } else { temporary.link(name) };
    match placed {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
        _ => Ok(OwnershipCheck::Theirs),
    }
}

/// Does `work`, which may make a lock file, under the umask that it is meant for.
fn making<T>(creation: Creation, work: impl FnOnce() -> T) -> T {
    match creation {
        Creation::Private => work(),
        Creation::Ordinary => with_found_umask(work),
    }
}

fn permissions(creation: Creation) -> Permissions {
    match creation {
        Creation::Private => Permissions::from_raw_mode(0o600),
        Creation::Ordinary => Permissions::from_raw_mode(0o666),
    }
}

fn sorted(path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    match Errno::from_io_error(&source) {
        Some(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => Error::NotAFile { path },
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Error::ReadOnly { path, source },
        _ => Error::Io { path, source },
    }
}
