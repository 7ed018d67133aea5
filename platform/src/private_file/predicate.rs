//! Checks whether a file could be replaced, removed or reserved now, without changing anything.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::FileType;

use super::attributes::{self, Attributes};
use super::contents::Exposure;
use super::directory::{DirectoryState, directory_state};
use super::error::Error;
use super::folder::{self, FolderEntry, OpenFolder};
use super::paths::{Links, resolve};
use crate::filesystem::{self, MountPoint, parent_folder};

/// In a folder with this bit, only the owners of a file and of the folder may rename or remove the file.
const STICKY: u32 = 0o1000;

/// Checks whether [`replace`](super::replace) could put a new file at `path` now, whether or not one exists.
///
/// Creates, changes and locks nothing, and does not check for space. What the system does not let us check counts as
/// allowed; the replacement itself then fails.
///
/// # Errors
/// Those of [`Replacement::reserve`](super::Replacement::reserve) and its commit, except [`Error::NoSpace`] and
/// [`Error::Unsynced`]. [`Error::Io`] is of kind `NotFound` if the folder is missing.
pub fn check_can_replace(path: &Path, links: Links) -> Result<(), Error> {
    let target = resolve(path, links)?;
    let around = OpenFolder::parent_of(&target);
    let (folder, name) =
        around.map_err(|error| Error::from_write("create a file beside", &target, 0, error))?;
    check_can_replace_in(&folder, name, &target)
}

/// Checks whether [`remove`](super::remove) would succeed at `path` now, as it does if there is no file.
///
/// Changes and locks nothing. What the system does not let us check counts as allowed; the removal itself then fails.
///
/// # Errors
/// Those of [`remove`](super::remove), except [`Error::Unsynced`].
pub fn check_can_remove(path: &Path, links: Links) -> Result<(), Error> {
    let target = resolve(path, links)?;
    let (folder, name) = match OpenFolder::parent_of(&target) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::from_write("open the folder of", &target, 0, error)),
    };
    match regular_entry(&folder, name, &target)? {
        None => Ok(()),
        entry @ Some(_) => check_can_change(&folder, name, entry, &target),
    }
}

/// Checks whether [`ReservedFile::create`](super::ReservedFile::create) could reserve `size` bytes at `path` now:
/// whether the file could be created, and whether the disk has the space. Creates and changes nothing.
///
/// If the folder is missing, checks the space only. A file system that does not report its size counts as large
/// enough, and quotas are not checked.
///
/// # Errors
/// Those of [`check_can_replace`]; [`Error::NoSpace`].
pub fn check_can_reserve(path: &Path, size: u64) -> Result<(), Error> {
    let mut folder = parent_folder(path);
    if directory_state(folder)? == DirectoryState::Missing {
        while directory_state(folder)? == DirectoryState::Missing {
            folder = parent_folder(folder);
        }
    } else {
        check_can_replace(path, Links::Refuse)?;
    }
    let Ok(disk) = rustix::fs::statvfs(folder) else { return Ok(()) };
    let found = std::fs::symlink_metadata(path).ok();
    // Blocks are counted in 512 bytes, whatever the disk's block size.
    let owned = found.as_ref().map_or(0, |found| found.blocks().saturating_mul(512));
    let (blocks, files) = match rustix::process::geteuid().is_root() {
        true => (disk.f_bfree, disk.f_ffree),
        false => (disk.f_bavail, disk.f_favail),
    };
    let is_full = disk.f_blocks > 0 && blocks.saturating_mul(disk.f_frsize).saturating_add(owned) < size;
    let has_no_more_files = found.is_none() && disk.f_files > 0 && files == 0;
    if is_full || has_no_more_files {
        let (path, source) = (path.to_owned(), rustix::io::Errno::NOSPC.into());
        return Err(Error::NoSpace { path, needed: size, source });
    }
    Ok(())
}

/// Checks whether [`create_directory`](super::create_directory) would succeed at `path` now. Creates and changes
/// nothing.
///
/// # Errors
/// Those of [`create_directory`](super::create_directory), except [`Error::NoSpace`] and [`Error::Unsynced`];
/// [`Error::Flagged`].
pub fn check_can_create_directory(path: &Path) -> Result<(), Error> {
    let above = parent_folder(path);
    if directory_state(above)? == DirectoryState::Missing {
        return check_can_create_directory(above);
    }
    let around = OpenFolder::parent_of(path);
    let (folder, name) = around.map_err(|error| Error::from_write("create the directory", path, 0, error))?;
    match folder.entry(name).map_err(|error| Error::from_read("open", path, error))? {
        // Not read again: another process may create it meanwhile.
        None => check_can_put(&folder, name, None, path),
        Some(entry) if entry.kind == FileType::Symlink => Err(Error::Link { path: path.to_owned() }),
        Some(entry) if entry.kind != FileType::Directory => {
            Err(Error::NotADirectory { path: path.to_owned() })
        }
        Some(entry)
            if Exposure::of_mode(folder::bits(entry.mode)) != Exposure::Private
                && entry.uid != folder.expected_owner() =>
        {
            Err(Error::ForeignOwner { path: path.to_owned(), uid: entry.uid, source: None })
        }
        Some(_) => Ok(()),
    }
}

/// Checks like [`check_can_replace`] in a folder that is already open.
pub(crate) fn check_can_replace_in(folder: &OpenFolder, name: &OsStr, target: &Path) -> Result<(), Error> {
    check_can_put(folder, name, regular_entry(folder, name, target)?, target)
}

/// Checks whether something can take the place of `entry`, which was read from `folder`.
fn check_can_put(
    folder: &OpenFolder,
    name: &OsStr,
    entry: Option<FolderEntry>,
    target: &Path,
) -> Result<(), Error> {
    check_can_change(folder, name, entry, target)?;
    match folder.foreign_owner() {
        Some((uid, gid)) if !attributes::may_give_to(uid, gid) => {
            Err(Error::ForeignOwner { path: target.to_owned(), uid, source: None })
        }
        _ => Ok(()),
    }
}

/// Returns the entry of a regular file, or `None`.
pub(super) fn regular_entry(
    folder: &OpenFolder,
    name: &OsStr,
    target: &Path,
) -> Result<Option<FolderEntry>, Error> {
    match folder.entry(name).map_err(|error| Error::from_read("read the metadata of", target, error))? {
        Some(entry) if entry.kind != FileType::RegularFile => {
            Err(Error::NotAFile { path: target.to_owned() })
        }
        entry => Ok(entry),
    }
}

/// Returns why the system refused a change, unless the reason is a lack of permission.
pub(super) fn refusal(folder: &OpenFolder, name: &OsStr, target: &Path) -> Option<Error> {
    let entry = regular_entry(folder, name, target).ok()?;
    match check_can_change(folder, name, entry, target) {
        Err(error @ (Error::Flagged { .. } | Error::ForeignOwner { .. })) => Some(error),
        _ => None,
    }
}

/// Checks what renames and removals have in common.
fn check_can_change(
    folder: &OpenFolder,
    name: &OsStr,
    entry: Option<FolderEntry>,
    target: &Path,
) -> Result<(), Error> {
    let flagged = |path: &Path, flag| Err(Error::Flagged { path: path.to_owned(), flag });
    let around = attributes::of_folder(folder.file());
    let file = entry.map(|entry| (entry, attributes::of_entry(folder.file(), name)));
    if let Some((_, attributes)) = &file
        && is_mounted(&around, attributes, target)?
    {
        return Err(Error::MountPoint { path: target.to_owned() });
    }
    // Before the permissions, whose check such a flag makes fail without naming it.
    if let Some(flag) = around.flag {
        return flagged(parent_folder(target), flag);
    }
    folder.check_writable().map_err(|source| Error::ReadOnly { path: target.to_owned(), source })?;
    let Some((entry, attributes)) = file else { return Ok(()) };
    if is_reserved_for_owner(folder, entry) {
        return Err(Error::ForeignOwner { path: target.to_owned(), uid: entry.uid, source: None });
    }
    match attributes.flag {
        Some(flag) => flagged(target, flag),
        None => Ok(()),
    }
}

/// Returns whether something is mounted on the file itself.
fn is_mounted(around: &Attributes, file: &Attributes, target: &Path) -> Result<bool, Error> {
    if let (Some(around), Some(file)) = (around.mount, file.mount) {
        return Ok(around != file || filesystem::is_mounted_in_another_view(file, target));
    }
    let mounted = filesystem::is_mount_point(target).map_err(|source| Error::Io {
        action: "check for a mount at",
        path: target.to_owned(),
        source,
    })?;
    Ok(mounted == MountPoint::Yes)
}

/// Returns whether a sticky folder reserves the file for its owner.
fn is_reserved_for_owner(folder: &OpenFolder, entry: FolderEntry) -> bool {
    let us = rustix::process::geteuid().as_raw();
    let Ok(found) = folder.file().metadata() else { return false };
    found.mode() & STICKY != 0
        && ![entry.uid, found.uid()].contains(&us)
        && !attributes::may_act_for(entry.uid, entry.gid)
}
