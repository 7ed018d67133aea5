//! Folders of one's own: made private, and asked what can be done in them.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::folder::{self, OpenFolder};
use super::{Error, Exposure, predicate};

/// How [`create_directory`] left the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Created {
    /// It is new, empty and 0700.
    New,
    /// It was there, and nobody but its owner can use it.
    Existed,
    /// It was there, is 0700 now, and was this before.
    ModeRepaired {
        /// The former permission bits.
        from: u32,
    },
}

/// What can be done in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirectoryState {
    /// Files can be made, replaced and removed in it.
    Writable,
    /// It is there, and its permissions or its file system forbid changes.
    ReadOnly,
    /// There is none, or only a link to none.
    Missing,
    /// There is something else.
    NotADirectory,
}

/// Sees to it that `path` is a folder that nobody else can use: made with mode 0700, as are the folders above
/// it that are missing, each synced into the one above; or repaired where it is there with a looser mode. Two
/// processes may do this at once.
///
/// # Errors
/// [`Error::Link`] and [`Error::NotADirectory`] for what has its name; [`Error::ForeignOwner`] where it is
/// loose and not ours to change, or a new one cannot be given to the owner of the folder above;
/// [`Error::ReadOnly`]; [`Error::NoSpace`]; [`Error::Unsynced`]; [`Error::Io`].
pub fn create_directory(path: &Path) -> Result<Created, Error> {
    let failed = |error| Error::change("make the directory", path, 0, error);
    let above = folder::parent(path);
    if directory(above)? == DirectoryState::Missing {
        create_directory(above)?;
    }
    let (folder, name) = OpenFolder::around(path).map_err(failed)?;
    match folder.make_folder(name) {
        Ok(()) => {}
        Err(error) if Errno::from_io_error(&error) == Some(Errno::EXIST) => {
            return existing(&folder, name, path);
        }
        // A folder that is there is good enough, even where none could be made.
        Err(error) => {
            return match folder.entry(name) {
                Ok(Some(_)) => existing(&folder, name, path),
                _ => Err(failed(error)),
            };
        }
    }
    let made = match open(&folder, name) {
        // A umask that takes everything has shut us out of our own. Root is never shut out, so no link that
        // somebody else slipped in is changed on root's word.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            folder.allow_owner(name).and_then(|()| open(&folder, name))
        }
        outcome => outcome,
    };
    let made = made.map_err(failed)?;
    if made.metadata().map_err(failed)?.permissions().mode() & 0o777 != 0o700 {
        rustix::fs::fchmod(&made, Mode::RWXU).map_err(|error| failed(error.into()))?;
    }
    give(&folder, &made, path).inspect_err(|_| folder.unmake_folder(name))?;
    folder.sync().map_err(|source| Error::Unsynced { path: path.to_owned(), source })?;
    Ok(Created::New)
}

/// Checks whether [`create_directory`] would succeed at `path` now. Nothing is created or changed.
///
/// # Errors
/// Those of [`create_directory`], except [`Error::NoSpace`] and [`Error::Unsynced`]; [`Error::Flagged`].
pub fn may_create_directory(path: &Path) -> Result<(), Error> {
    let above = folder::parent(path);
    if directory(above)? == DirectoryState::Missing {
        return may_create_directory(above);
    }
    let around = OpenFolder::around(path);
    let (folder, name) = around.map_err(|error| Error::change("make the directory", path, 0, error))?;
    match folder.entry(name).map_err(|error| Error::look("open", path, error))? {
        None => predicate::may_replace_in(&folder, name, path),
        Some(entry) if entry.kind == FileType::Symlink => Err(Error::Link { path: path.to_owned() }),
        Some(entry) if entry.kind != FileType::Directory => {
            Err(Error::NotADirectory { path: path.to_owned() })
        }
        Some(entry)
            if Exposure::of_mode(folder::bits(entry.mode)) != Exposure::Private
                && entry.uid != folder.keeper() =>
        {
            Err(Error::ForeignOwner { path: path.to_owned(), uid: entry.uid, source: None })
        }
        Some(_) => Ok(()),
    }
}

/// What can be done at `path`; links are followed. For root a folder without write permission is writable.
///
/// # Errors
/// [`Error::Unreadable`] where a folder above it forbids the question; [`Error::Io`].
pub fn directory(path: &Path) -> Result<DirectoryState, Error> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Ok(DirectoryState::NotADirectory),
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound => Ok(DirectoryState::Missing),
                io::ErrorKind::NotADirectory => Ok(DirectoryState::NotADirectory),
                _ => Err(Error::look("look at", path, error)),
            };
        }
    }
    match rustix::fs::accessat(CWD, path, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) => Ok(DirectoryState::Writable),
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Ok(DirectoryState::ReadOnly),
        Err(error) => Err(Error::look("look at", path, error.into())),
    }
}

/// The one absolute path of something that is there: no links, no `.` and no `..` in it.
///
/// # Errors
/// [`Error::Unreadable`] and [`Error::Io`], which is `NotFound` where there is nothing.
pub fn canonical(path: &Path) -> Result<PathBuf, Error> {
    std::fs::canonicalize(path).map_err(|error| Error::look("find", path, error))
}

fn existing(folder: &OpenFolder, name: &OsStr, path: &Path) -> Result<Created, Error> {
    let failed = |error| Error::look("open", path, error);
    match folder.entry(name).map_err(failed)? {
        Some(entry) if entry.kind == FileType::Symlink => return Err(Error::Link { path: path.to_owned() }),
        Some(entry) if entry.kind != FileType::Directory => {
            return Err(Error::NotADirectory { path: path.to_owned() });
        }
        Some(entry) if Exposure::of_mode(folder::bits(entry.mode)) == Exposure::Private => {
            return Ok(Created::Existed);
        }
        _ => {}
    }
    let found = open(folder, name).map_err(failed)?;
    let metadata = found.metadata().map_err(failed)?;
    let Exposure::Loose { mode } = Exposure::of(&metadata) else { return Ok(Created::Existed) };
    if metadata.uid() != folder.keeper() {
        return Err(Error::ForeignOwner { path: path.to_owned(), uid: metadata.uid(), source: None });
    }
    rustix::fs::fchmod(&found, Mode::RWXU)
        .map_err(|error| Error::change("change the mode of", path, 0, error.into()))?;
    Ok(Created::ModeRepaired { from: mode })
}

/// As root in a folder of another user, gives them the new one; but only if it is empty, because between its
/// making and its opening they may have put a full one of root's in its place.
fn give(folder: &OpenFolder, made: &std::fs::File, path: &Path) -> Result<(), Error> {
    let Some((uid, _)) = folder.heir() else { return Ok(()) };
    let foreign = |source| Error::ForeignOwner { path: path.to_owned(), uid, source };
    let names = made.try_clone().and_then(OpenFolder::held).and_then(|held| held.names());
    if !names.map_err(|error| foreign(Some(error)))?.is_empty() {
        return Err(foreign(None));
    }
    folder.bequeath(made).map(drop).map_err(|error| foreign(Some(error)))
}

fn open(folder: &OpenFolder, name: &OsStr) -> io::Result<std::fs::File> {
    folder.open_entry(name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_folder_of_roots_is_not_given_away() {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test makes a folder of another user: run it as root"
        );
        let theirs = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(theirs.path(), Some(65_534), Some(65_534)).unwrap();
        let folder = OpenFolder::open(theirs.path()).unwrap();
        let path = theirs.path().join("made");
        std::fs::create_dir_all(path.join("inner")).unwrap();
        let made = std::fs::File::open(&path).unwrap();
        let outcome = give(&folder, &made, &path);
        assert!(matches!(outcome, Err(Error::ForeignOwner { source: None, .. })), "{outcome:?}");
        assert_eq!(made.metadata().unwrap().uid(), 0);
        std::fs::remove_dir(path.join("inner")).unwrap();
        give(&folder, &made, &path).unwrap();
        assert_eq!(made.metadata().unwrap().uid(), 65_534);
    }
}
