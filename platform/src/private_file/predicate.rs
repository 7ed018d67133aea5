//! Whether a file could be replaced or removed now, told without changing anything.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::FileType;

use super::attributes::{self, Attributes};
use super::folder::FolderEntry;
use super::{DirectoryState, Error, Links, OpenFolder, directory, parent, resolve};
use crate::filesystem::{self, MountPoint};

/// The bit of a folder in which only the owners of a file and of the folder may rename or remove the file.
const STICKY: u32 = 0o1000;

/// Checks whether [`replace`](super::replace) could put a new file at `path` now, where there may be one or none.
///
/// Nothing is created, changed or locked. Space is not looked at. What the system does not let us look at counts
/// as allowed, and the replacement itself will fail then.
///
/// # Errors
/// Those of [`Replacement::reserve`](super::Replacement::reserve) and its commit, except [`Error::NoSpace`] and
/// [`Error::Unsynced`]. [`Error::Io`] is `NotFound` where the folder is missing.
pub fn may_replace(path: &Path, links: Links) -> Result<(), Error> {
    let target = resolve(path, links)?;
    let around = OpenFolder::around(&target);
    let (folder, name) = around.map_err(|error| Error::change("make a file beside", &target, 0, error))?;
    may_replace_in(&folder, name, &target)
}

/// Checks whether [`remove`](super::remove) would succeed at `path` now; it does where there is no file.
///
/// Nothing is changed or locked. What the system does not let us look at counts as allowed, and the removal
/// itself will fail then.
///
/// # Errors
/// Those of [`remove`](super::remove), except [`Error::Unsynced`].
pub fn may_remove(path: &Path, links: Links) -> Result<(), Error> {
    let target = resolve(path, links)?;
    let (folder, name) = match OpenFolder::around(&target) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::change("open the folder of", &target, 0, error)),
    };
    match regular(&folder, name, &target)? {
        None => Ok(()),
        entry @ Some(_) => may_change(&folder, name, entry, &target),
    }
}

/// Checks whether [`Reserved::make`](super::Reserved::make) could set `size` bytes aside at `path` now: whether the file
/// could be made there, and whether the disk has the space. Nothing is created or changed.
///
/// Where the folder is missing, only the space is looked at. A file system that does not tell its size counts as large
/// enough, and quotas are not looked at.
///
/// # Errors
/// Those of [`may_replace`]; [`Error::NoSpace`].
pub fn may_reserve(path: &Path, size: u64) -> Result<(), Error> {
    let mut folder = parent(path);
    if directory(folder)? == DirectoryState::Missing {
        while directory(folder)? == DirectoryState::Missing {
            folder = parent(folder);
        }
    } else {
        may_replace(path, Links::Refuse)?;
    }
    let Ok(disk) = rustix::fs::statvfs(folder) else { return Ok(()) };
    let found = std::fs::symlink_metadata(path).ok();
    // Blocks are counted in 512 bytes, whatever the disk's are.
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

/// [`may_replace`] in a folder that is open already.
pub(crate) fn may_replace_in(folder: &OpenFolder, name: &OsStr, target: &Path) -> Result<(), Error> {
    let entry = regular(folder, name, target)?;
    may_change(folder, name, entry, target)?;
    match folder.heir() {
        Some((uid, gid)) if !attributes::may_give_to(uid, gid) => {
            Err(Error::ForeignOwner { path: target.to_owned(), uid, source: None })
        }
        _ => Ok(()),
    }
}

/// The entry of a regular file, or none.
pub(super) fn regular(
    folder: &OpenFolder,
    name: &OsStr,
    target: &Path,
) -> Result<Option<FolderEntry>, Error> {
    match folder.entry(name).map_err(|error| Error::look("look at", target, error))? {
        Some(entry) if entry.kind != FileType::RegularFile => {
            Err(Error::NotAFile { path: target.to_owned() })
        }
        entry => Ok(entry),
    }
}

/// Names what made the system refuse a change, where it is something else than a lack of permission.
pub(super) fn refusal(folder: &OpenFolder, name: &OsStr, target: &Path) -> Option<Error> {
    let entry = regular(folder, name, target).ok()?;
    match may_change(folder, name, entry, target) {
        Err(error @ (Error::Flagged { .. } | Error::ForeignOwner { .. })) => Some(error),
        _ => None,
    }
}

/// What renames and removals have in common.
fn may_change(
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
    // Before the permissions, which such a flag makes fail without a name.
    if let Some(flag) = around.flag {
        return flagged(parent(target), flag);
    }
    folder.check_writable().map_err(|source| Error::ReadOnly { path: target.to_owned(), source })?;
    let Some((entry, attributes)) = file else { return Ok(()) };
    if is_anothers(folder, entry) {
        return Err(Error::ForeignOwner { path: target.to_owned(), uid: entry.uid, source: None });
    }
    match attributes.flag {
        Some(flag) => flagged(target, flag),
        None => Ok(()),
    }
}

/// Whether something is mounted on the file itself.
fn is_mounted(around: &Attributes, file: &Attributes, target: &Path) -> Result<bool, Error> {
    if let (Some(around), Some(file)) = (around.mount, file.mount) {
        return Ok(around != file || filesystem::is_mounted_in_another_view(file, target));
    }
    let mounted = filesystem::is_mount_point(target).map_err(|source| Error::Io {
        action: "look for a mount at",
        path: target.to_owned(),
        source,
    })?;
    Ok(mounted == MountPoint::Yes)
}

/// Whether a sticky folder keeps the file for its owner.
fn is_anothers(folder: &OpenFolder, entry: FolderEntry) -> bool {
    let us = rustix::process::geteuid().as_raw();
    let Ok(found) = folder.file().metadata() else { return false };
    found.mode() & STICKY != 0
        && ![entry.uid, found.uid()].contains(&us)
        && !attributes::may_act_for(entry.uid, entry.gid)
}
