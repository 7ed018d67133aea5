//! Creates private folders and checks what can be done in a folder.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::contents::Exposure;
use super::error::Error;
use super::folder::{self, OpenFolder};
use crate::filesystem::parent_folder;

/// What can be done in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirectoryState {
    /// Files can be created, replaced and removed.
    Writable,
    /// The folder exists, and its permissions or its file system forbid changes.
    ReadOnly,
    /// There is no folder, or only a link to none.
    Missing,
    /// Something other than a folder is at the path.
    NotADirectory,
}

/// Makes `path` a folder that only its owner can access: creates it and missing folders above it with mode 0700, each
/// synced into the one above, or restricts an existing one. Safe to call from two processes at once.
///
/// # Errors
/// [`Error::Link`] and [`Error::NotADirectory`] for something else at the path; [`Error::ForeignOwner`] if it is
/// loose and not ours to change, or a new one cannot be given to the owner of the folder above; [`Error::ReadOnly`];
/// [`Error::NoSpace`]; [`Error::Unsynced`]; [`Error::Io`].
pub fn create_directory(path: &Path) -> Result<(), Error> {
    let failed = |error| Error::from_write("create the directory", path, 0, error);
    let above = parent_folder(path);
    if directory_state(above)? == DirectoryState::Missing {
        create_directory(above)?;
    }
    let (folder, name) = OpenFolder::parent_of(path).map_err(failed)?;
    match folder.create_folder(name) {
        Ok(()) => {}
        Err(error) if Errno::from_io_error(&error) == Some(Errno::EXIST) => {
            return restrict_existing(&folder, name, path);
        }
        // An existing folder suffices, even where none could be created.
        Err(error) => {
            return match folder.entry(name) {
                Ok(Some(_)) => restrict_existing(&folder, name, path),
                _ => Err(failed(error)),
            };
        }
    }
    let made = match open(&folder, name) {
        // A umask that removes every permission locks us out of our own folder. Root is never locked out, so root
        // changes no link that another user put there.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            folder.make_accessible(name).and_then(|()| open(&folder, name))
        }
        outcome => outcome,
    };
    let made = made.map_err(failed)?;
    if made.metadata().map_err(failed)?.permissions().mode() & 0o777 != 0o700 {
        folder::set_mode(&made, Mode::RWXU).map_err(failed)?;
    }
    give_if_empty(&folder, &made, path).inspect_err(|_| folder.remove_folder(name))?;
    folder.sync().map_err(|source| Error::Unsynced { path: path.to_owned(), source })
}

/// Removes the folder `path` with everything in it. Links in it are removed and not followed; a missing folder is no
/// error.
///
/// # Errors
/// [`Error::ReadOnly`]; [`Error::Io`].
pub fn remove_directory(path: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::from_write("remove", path, 0, error))
        }
        _ => Ok(()),
    }
}

/// Returns what can be done in the folder `path`; links are followed. For root, a folder without write permission is
/// writable.
///
/// # Errors
/// [`Error::Unreadable`] if a folder above it cannot be searched; [`Error::Io`].
pub fn directory_state(path: &Path) -> Result<DirectoryState, Error> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Ok(DirectoryState::NotADirectory),
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound => Ok(DirectoryState::Missing),
                io::ErrorKind::NotADirectory => Ok(DirectoryState::NotADirectory),
                _ => Err(Error::from_read("read the metadata of", path, error)),
            };
        }
    }
    match folder::check_writable(CWD, path) {
        Ok(()) => Ok(DirectoryState::Writable),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Ok(DirectoryState::ReadOnly),
            _ => Err(Error::from_read("read the metadata of", path, error)),
        },
    }
}

fn restrict_existing(folder: &OpenFolder, name: &OsStr, path: &Path) -> Result<(), Error> {
    let failed = |error| Error::from_read("open", path, error);
    match folder.entry(name).map_err(failed)? {
        Some(entry) if entry.kind == FileType::Symlink => return Err(Error::Link { path: path.to_owned() }),
        Some(entry) if entry.kind != FileType::Directory => {
            return Err(Error::NotADirectory { path: path.to_owned() });
        }
        Some(entry) if Exposure::of_mode(folder::bits(entry.mode)) == Exposure::Private => {
            return Ok(());
        }
        _ => {}
    }
    let found = open(folder, name).map_err(failed)?;
    let metadata = found.metadata().map_err(failed)?;
    if Exposure::of(&metadata) == Exposure::Private {
        return Ok(());
    }
    if metadata.uid() != folder.expected_owner() {
        return Err(Error::ForeignOwner { path: path.to_owned(), uid: metadata.uid(), source: None });
    }
    // A refusal is reported for the files in it.
    folder::set_mode(&found, Mode::RWXU)
        .map(drop)
        .map_err(|error| Error::from_write("change the mode of", path, 0, error))
}

/// As root in another user's folder, gives the new folder to that user, but only if it is empty: between its creation
/// and its opening the user may have put a full one of root's in its place.
fn give_if_empty(folder: &OpenFolder, made: &std::fs::File, path: &Path) -> Result<(), Error> {
    let Some((uid, _)) = folder.foreign_owner() else { return Ok(()) };
    let foreign = |source| Error::ForeignOwner { path: path.to_owned(), uid, source };
    let names = made.try_clone().and_then(OpenFolder::from_file).and_then(|held| held.names());
    if !names.map_err(|error| foreign(Some(error)))?.is_empty() {
        return Err(foreign(None));
    }
    folder.give_to_owner(made).map(drop).map_err(|error| foreign(Some(error)))
}

fn open(folder: &OpenFolder, name: &OsStr) -> io::Result<std::fs::File> {
    folder.open_entry(name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_empty_is_not_given_away() {
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
        let outcome = give_if_empty(&folder, &made, &path);
        assert!(matches!(outcome, Err(Error::ForeignOwner { source: None, .. })), "{outcome:?}");
        assert_eq!(made.metadata().unwrap().uid(), 0);
        std::fs::remove_dir(path.join("inner")).unwrap();
        give_if_empty(&folder, &made, &path).unwrap();
        assert_eq!(made.metadata().unwrap().uid(), 65_534);
    }
}
