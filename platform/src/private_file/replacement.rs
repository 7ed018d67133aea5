//! Replaces a private file whole, with the space for it reserved in advance.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use fs2::FileExt;
use rustix::fs::{FileType, Gid, Mode, OFlags};
use rustix::io::Errno;

use super::attributes;
use super::contents::{Exposure, read};
use super::error::Error;
use super::folder::{self, FolderEntry, ModeChange, OpenFolder, OwnershipChange};
use super::paths::{Links, resolve};
use super::predicate;
use super::sharing::{SharedAccess, share};
use super::temporary::{self, TemporaryFile};
use crate::filesystem::{self, MountPoint};
use crate::space;

/// The bits that say who may read, write and execute a file.
const PERMISSIONS: Mode = Mode::from_raw_mode(0o777);

/// What to do if the file is itself a mount point, so that nothing can be renamed over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MountPolicy {
    /// Fail with [`Error::MountPoint`].
    Refuse,
    /// Copy the content to `{name}.bak` beside it if possible, then overwrite it. A reader may see part of the new
    /// content, and a crash may leave that.
    InPlace,
}

/// The mode of the new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileMode {
    /// 0600.
    Private,
    /// The mode and group of the file that it replaces, for a file that is no secret. 0600 for a new file, and where the
    /// group cannot be kept or an access control list decides.
    Kept,
}

/// A side effect of a replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplacementNote {
    /// Other users may be able to read the new file, because the file system refused to make it 0600.
    ModeRefused {
        /// The permission bits of the new file.
        mode: u32,
        /// The error of the system.
        reason: String,
    },
    /// Other users could access the old file; the new one is 0600.
    ModeRepaired {
        /// The permission bits of the old file.
        from: u32,
    },
    /// The file was overwritten in place, because it is a mount point.
    WrittenInPlace {
        /// The copy of the old content; `None` if its folder cannot be written to.
        backup: Option<PathBuf>,
    },
    /// Root gave the new file to the owner of its folder.
    OwnerGiven {
        /// The new owner.
        uid: u32,
    },
}

/// Reserved space for the next content of a file: [`commit`](Self::commit) then fails neither for lack of space nor
/// of permission.
///
/// The file system limits this: one that copies on write or compresses may still run out of space when the reserved
/// bytes are overwritten, and permissions may be removed meanwhile.
///
/// Leaves nothing behind when dropped without a commit. A killed process leaves a temporary file, for
/// [`remove_leftovers`](super::remove_leftovers).
#[derive(Debug)]
#[must_use = "the space is given back on drop"]
pub struct Replacement {
    target: PathBuf,
    mount_policy: MountPolicy,
    mode: FileMode,
    method: ReplacementMethod,
    notes: Vec<ReplacementNote>,
}

#[derive(Debug)]
enum ReplacementMethod {
    Rename(TemporaryFile),
    Overwrite(File),
}

impl Replacement {
    /// Creates a file of `size` bytes beside the one that `path` leads to, and makes it durable.
    ///
    /// # Errors
    /// Those of [`resolve`]; [`Error::NotAFile`]; [`Error::MountPoint`] unless `mount_policy` is
    /// [`MountPolicy::InPlace`]; [`Error::ReadOnly`], [`Error::Flagged`] and [`Error::ForeignOwner`];
    /// [`Error::NoSpace`]; [`Error::Io`], of kind `NotFound` if the folder is missing. Nothing is changed or left
    /// behind then.
    pub fn reserve(path: &Path, size: u64, links: Links, mount_policy: MountPolicy) -> Result<Self, Error> {
        let replacement = Self::prepare(path, size, links, mount_policy, FileMode::Private)?;
        match &replacement.method {
            ReplacementMethod::Rename(temporary) => allocate(temporary.file(), size)
                .and_then(|()| folder::sync(temporary.file()))
                .map_err(|error| Error::from_write("reserve", &replacement.target, size, error))?,
            // `prepare` has reserved what can be reserved of an existing file: the space beyond its end.
            ReplacementMethod::Overwrite(_) => {}
        }
        Ok(replacement)
    }

    /// Replaces the content of the file with `bytes`: written once, synced, renamed, and the folder synced. When this
    /// returns, the content is durable and visible to every process. Returns the side effects.
    ///
    /// More bytes than were reserved can be committed; those may fail for lack of space.
    ///
    /// # Errors
    /// Those of [`reserve`](Self::reserve), and the old content is still complete; but after a write in place that
    /// fails halfway, the file holds parts of both contents, and the backup the old one. [`Error::Unsynced`] if the new
    /// content is there and its durability is in doubt.
    pub fn commit(self, bytes: &[u8]) -> Result<Vec<ReplacementNote>, Error> {
        let Self { target, mount_policy, mode, mut notes, method } = self;
        let mut temporary = match method {
            ReplacementMethod::Rename(temporary) => temporary,
            ReplacementMethod::Overwrite(file) => return overwrite(&target, &file, bytes, mode, notes),
        };
        let needed = bytes.len() as u64;
        let failed = |error| Error::from_write("write", &target, needed, error);
        let mut file = temporary.file();
        file.write_all(bytes).map_err(failed)?;
        file.set_len(needed).map_err(failed)?;
        folder::sync(file).map_err(failed)?;

        let name = target.file_name().unwrap_or_default();
        let old = predicate::regular_entry(temporary.folder(), name, &target)?;
        let is_kept = mode == FileMode::Kept
            && old.as_ref().is_some_and(|old| keep_mode(temporary.folder(), name, temporary.file(), old));
        match temporary.rename(name) {
            Ok(()) => {}
            // Mounted since, or a mount that the kernel could not report.
            Err(error) if is_mount_error(&error) && mount_policy == MountPolicy::InPlace => {
                return overwrite(&target, &open_mounted(&target, needed)?, bytes, mode, notes);
            }
            Err(error) => {
                let refused = predicate::refusal(temporary.folder(), name, &target);
                return Err(refused.unwrap_or_else(|| Error::from_write("replace", &target, needed, error)));
            }
        }
        temporary.folder().sync().map_err(|source| Error::Unsynced { path: target.clone(), source })?;
        let exposure = old.map(|old| Exposure::of_mode(folder::bits(old.mode)));
        match (temporary.take_mode_refusal(), exposure) {
            (Some(error), _) => {
                let mode = temporary.file().metadata().map_err(failed)?.mode() & 0o7777;
                notes.push(ReplacementNote::ModeRefused { mode, reason: error.to_string() });
            }
            (None, Some(Exposure::Loose { mode })) if !is_kept => {
                notes.push(ReplacementNote::ModeRepaired { from: mode });
            }
            _ => {}
        }
        Ok(notes)
    }

    /// Checks everything that may refuse, before space is reserved.
    fn prepare(
        path: &Path,
        size: u64,
        links: Links,
        mount_policy: MountPolicy,
        mode: FileMode,
    ) -> Result<Self, Error> {
        let target = resolve(path, links)?;
        let failed = |error| Error::from_write("create a file beside", &target, size, error);
        let (folder, name) = OpenFolder::parent_of(&target).map_err(failed)?;
        temporary::remove_leftovers(&folder, name);
        predicate::regular_entry(&folder, name, &target)?;
        let mut notes = Vec::new();
        let mounted = filesystem::is_mount_point(&target).map_err(|source| Error::Io {
            action: "check for a mount at",
            path: target.clone(),
            source,
        })?;
        let method = match (mounted, mount_policy) {
            (MountPoint::Yes, MountPolicy::Refuse) => return Err(Error::MountPoint { path: target }),
            (MountPoint::Yes, MountPolicy::InPlace) => {
                ReplacementMethod::Overwrite(open_mounted(&target, size)?)
            }
            (MountPoint::No, _) => {
                let private = Mode::RUSR | Mode::WUSR;
                let temporary = TemporaryFile::create(folder, name, private).map_err(|error| {
                    let folder = OpenFolder::parent_of(&target).ok();
                    let refused =
                        folder.and_then(|(folder, name)| predicate::refusal(&folder, name, &target));
                    refused.unwrap_or_else(|| failed(error))
                })?;
                match temporary.folder().give_to_owner(temporary.file()) {
                    Ok(OwnershipChange::Unchanged) => {}
                    Ok(OwnershipChange::Given { uid }) => notes.push(ReplacementNote::OwnerGiven { uid }),
                    Err(source) => {
                        let (uid, _) = temporary.folder().foreign_owner().unwrap_or_default();
                        return Err(Error::ForeignOwner { path: target, uid, source: Some(source) });
                    }
                }
                ReplacementMethod::Rename(temporary)
            }
        };
        Ok(Self { target, mount_policy, mode, method, notes })
    }
}

/// Tests that a file can be created and renamed in the folder of `path`, as a replacement does: some FUSE file
/// systems refuse that. Leaves nothing behind.
///
/// # Errors
/// Those of [`Replacement::reserve`] and of its commit.
pub fn test_replacement(path: &Path, links: Links) -> Result<(), Error> {
    let replacement = Replacement::prepare(path, 0, links, MountPolicy::Refuse, FileMode::Private)?;
    if let ReplacementMethod::Rename(mut temporary) = replacement.method {
        let failed = |error| Error::from_write("rename a file beside", &replacement.target, 0, error);
        let name = temporary::temporary_name(replacement.target.file_name().unwrap_or_default());
        temporary.rename(&name).map_err(failed)?;
        temporary.folder().unlink(&name).map_err(failed)?;
    }
    Ok(())
}

/// Replaces the content of a file, as [`Replacement::commit`] does, without a reservation.
///
/// # Errors
/// Those of [`Replacement::reserve`] and [`Replacement::commit`].
pub fn replace(
    path: &Path,
    bytes: &[u8],
    links: Links,
    mount_policy: MountPolicy,
    mode: FileMode,
) -> Result<Vec<ReplacementNote>, Error> {
    Replacement::prepare(path, bytes.len() as u64, links, mount_policy, mode)?.commit(bytes)
}

/// Replaces the content of a file, as [`replace`] does, with one that `users` may read too: they are listed before it
/// has the name ([`share`]). A link at `path` is replaced, not followed.
///
/// # Errors
/// Those of [`Replacement::reserve`], [`Replacement::commit`] and [`share`]; the old file is unchanged.
pub fn replace_shared(path: &Path, bytes: &[u8], users: &[u32]) -> Result<(), Error> {
    let failed = |error| Error::from_write("replace", path, bytes.len() as u64, error);
    let (folder, name) = OpenFolder::parent_of(path).map_err(failed)?;
    if folder.entry(name).map_err(failed)?.is_some_and(|entry| entry.kind == FileType::Symlink) {
        folder.unlink(name).map_err(failed)?;
    }
    let replacement = Replacement::prepare(
        path,
        bytes.len() as u64,
        Links::Refuse,
        MountPolicy::Refuse,
        FileMode::Private,
    )?;
    if let (ReplacementMethod::Rename(temporary), false) = (&replacement.method, users.is_empty()) {
        share(&replacement.target.with_file_name(temporary.name()), users, SharedAccess::Read)?;
    }
    replacement.commit(bytes).map(drop)
}

/// Gives `file` the mode and group of the `old` file `name`, and returns whether it could.
fn keep_mode(folder: &OpenFolder, name: &OsStr, file: &File, old: &FolderEntry) -> bool {
    let Ok(current) = file.metadata() else { return false };
    let had_acl =
        folder.open_entry(name, OFlags::RDONLY, Mode::empty()).is_ok_and(|old| attributes::has_acl(&old));
    let group = Gid::from_raw(old.gid);
    !had_acl
        && (current.gid() == old.gid || rustix::fs::fchown(file, None, Some(group)).is_ok())
        && matches!(folder::set_mode(file, old.mode & PERMISSIONS), Ok(ModeChange::Set))
}

/// Allocates `size` bytes for an empty file, to be written from its start.
fn allocate(mut file: &File, size: u64) -> io::Result<()> {
    // The error of `allocate` is useless: `posix_fallocate` returns one, and fs2 0.4 reports `errno` instead. Writing
    // zeros finds the real error, and is the fallback where the file system cannot allocate.
    if size == 0 || FileExt::allocate(file, size).is_ok() {
        return Ok(());
    }
    io::copy(&mut io::Read::take(io::repeat(0), size), &mut file)?;
    file.rewind()
}

/// Opens a mounted file for writing and reserves space for `size` bytes, as far as possible without changing its
/// content.
fn open_mounted(target: &Path, size: u64) -> Result<File, Error> {
    let failed = |error| Error::from_write("write", target, size, error);
    let (folder, name) = OpenFolder::parent_of(target).map_err(failed)?;
    let file = folder.open_entry(name, OFlags::RDWR, Mode::empty()).map_err(failed)?;
    space::reserve(&file, size).map_err(failed)?;
    Ok(file)
}

/// Overwrites a mounted file after saving its old content beside it.
fn overwrite(
    target: &Path,
    mut file: &File,
    bytes: &[u8],
    mode: FileMode,
    mut notes: Vec<ReplacementNote>,
) -> Result<Vec<ReplacementNote>, Error> {
    let needed = bytes.len() as u64;
    let failed = |error| Error::from_write("write", target, needed, error);
    space::reserve(file, needed).map_err(failed)?;
    let backup = back_up(target)?;
    file.rewind().map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.set_len(needed).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if let Exposure::Loose { mode: from } = Exposure::of(&found)
        && mode == FileMode::Private
    {
        notes.push(match rustix::fs::fchmod(file, Mode::RUSR | Mode::WUSR) {
            Ok(()) => ReplacementNote::ModeRepaired { from },
            Err(error) => {
                ReplacementNote::ModeRefused { mode: from, reason: io::Error::from(error).to_string() }
            }
        });
    }
    folder::sync(file).map_err(|source| Error::Unsynced { path: target.to_owned(), source })?;
    notes.push(ReplacementNote::WrittenInPlace { backup });
    Ok(notes)
}

/// Saves the content of a file as `{name}.bak`; `None` if its folder does not allow that.
fn back_up(target: &Path) -> Result<Option<PathBuf>, Error> {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".bak");
    let backup = target.with_file_name(name);
    let Some(contents) = read(target, u64::MAX, Links::Refuse)? else { return Ok(None) };
    match replace(&backup, &contents.bytes, Links::Refuse, MountPolicy::Refuse, FileMode::Private) {
        Ok(_) => Ok(Some(backup)),
        Err(error) if error.is_read_only() => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_mount_error(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::BUSY | Errno::XDEV))
}
