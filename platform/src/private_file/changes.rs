//! Renames, repairs and removes private files.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use super::contents::Exposure;
use super::error::Error;
use super::folder::OpenFolder;
use super::paths::{Links, resolve};
use super::{predicate, temporary};

/// Whether a removal found a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a file was there or it was not")]
pub enum Removal {
    /// The file is removed and its folder synced.
    Removed,
    /// There was no file.
    Absent,
}

/// Renames a file within its folder durably; an existing file of the new name is replaced.
///
/// # Errors
/// [`Error::ReadOnly`]; [`Error::Unsynced`]; [`Error::Io`], of kind `NotFound` if there is no such file.
pub fn rename(path: &Path, name: &OsStr) -> Result<(), Error> {
    let failed = |error| Error::from_write("rename", path, 0, error);
    let (folder, old) = OpenFolder::parent_of(path).map_err(failed)?;
    folder.rename(old, name).map_err(failed)?;
    folder.sync().map_err(|source| Error::Unsynced { path: path.with_file_name(name), source })
}

/// Returns the names in a folder; empty if there is no folder.
///
/// # Errors
/// [`Error::Unreadable`]; [`Error::Io`].
pub fn names(folder: &Path) -> Result<Vec<OsString>, Error> {
    match OpenFolder::open(folder).and_then(|folder| folder.names()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        outcome => outcome.map_err(|error| Error::from_read("list", folder, error)),
    }
}

/// Removes a file and what killed writers left of it ([`remove_leftovers`]), durably. A followed link stays and then
/// leads nowhere.
///
/// # Errors
/// Those of [`resolve`]; [`Error::NotAFile`], and nothing is removed; [`Error::MountPoint`]; [`Error::ReadOnly`],
/// [`Error::Flagged`] and [`Error::ForeignOwner`]; [`Error::Unsynced`] if the file is removed but may come back after
/// a power failure; [`Error::Io`].
pub fn remove(path: &Path, links: Links) -> Result<Removal, Error> {
    let target = resolve(path, links)?;
    let (folder, name) = match OpenFolder::parent_of(&target) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Removal::Absent),
        Err(error) => return Err(Error::from_write("open the folder of", &target, 0, error)),
    };
    temporary::remove_leftovers(&folder, name);
    match folder.entry(name).map_err(|error| Error::from_read("read the metadata of", &target, error))? {
        None => return Ok(Removal::Absent),
        Some(entry) if entry.kind != FileType::RegularFile => return Err(Error::NotAFile { path: target }),
        Some(_) => {}
    }
    match folder.unlink(name) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Removal::Absent),
        Err(error) => {
            let refused = predicate::refusal(&folder, name, &target);
            return Err(refused.unwrap_or_else(|| Error::from_write("remove", &target, 0, error)));
        }
    }
    folder.sync().map_err(|source| Error::Unsynced { path: target, source })?;
    Ok(Removal::Removed)
}

/// Sets a file with a looser mode to 0600, through the handle that was checked. A missing file is no error.
///
/// # Errors
/// Those of [`resolve`]; [`Error::NotAFile`]; [`Error::ForeignOwner`] for a loose file that is not ours to change (as
/// root in another user's folder: one that is not that user's); [`Error::ReadOnly`]; [`Error::Unreadable`];
/// [`Error::Io`].
pub fn repair(path: &Path, links: Links) -> Result<(), Error> {
    let target = resolve(path, links)?;
    let (folder, name) = match OpenFolder::parent_of(&target) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::from_read("open the folder of", &target, error)),
    };
    let file = match folder.open_entry(name, OFlags::RDONLY, Mode::empty()) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::from_read("open", &target, error)),
    };
    let found = file.metadata().map_err(|error| Error::from_read("read the metadata of", &target, error))?;
    if !found.is_file() {
        return Err(Error::NotAFile { path: target });
    }
    if Exposure::of(&found) == Exposure::Private {
        return Ok(());
    }
    if found.uid() != folder.expected_owner() {
        return Err(Error::ForeignOwner { path: target, uid: found.uid(), source: None });
    }
    rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR)
        .map_err(|error| Error::from_write("change the mode of", &target, 0, error.into()))
}

/// Removes the temporary files that killed writers of this file left beside it, and returns how many.
///
/// They contain what was being written, so [`Replacement::reserve`](super::Replacement::reserve),
/// [`replace`](super::replace) and [`remove`] call this first; it costs one listing of the folder. A live writer
/// holds a lock on its temporary file, and only files that can be locked are removed; on a file system without locks,
/// none is. Files that cannot be read or removed are left for the next time.
pub fn remove_leftovers(path: &Path, links: Links) -> usize {
    let Ok(target) = resolve(path, links) else { return 0 };
    OpenFolder::parent_of(&target).map_or(0, |(folder, name)| temporary::remove_leftovers(&folder, name))
}

/// Returns the files that [`remove_leftovers`] would remove. While it lists them, no other process can remove them.
pub fn leftovers(path: &Path, links: Links) -> Vec<PathBuf> {
    let Ok(target) = resolve(path, links) else { return Vec::new() };
    let Ok((folder, name)) = OpenFolder::parent_of(&target) else { return Vec::new() };
    temporary::leftovers(&folder, name).into_iter().map(|(name, _held)| target.with_file_name(name)).collect()
}
