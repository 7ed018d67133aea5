//! Replacing a private file whole, with the space for it reserved before anything is spent.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use fs2::FileExt;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::folder::{self, Inheritance};
use super::temporary::{self, TemporaryFile};
use super::{Error, Exposure, Links, OpenFolder, Stamp, predicate, read, resolve};
use crate::filesystem::{self, MountPoint};
use crate::space;

/// What to do where the file is itself a mount point, so that nothing can be renamed over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MountPolicy {
    /// Fail with [`Error::MountPoint`].
    Refuse,
    /// Copy the content to `{name}.bak` beside it if that can be done, then overwrite it. A reader may see
    /// part of the new content, and a crash may leave that.
    InPlace,
}

/// How a replacement went.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplacementReport {
    /// The new file.
    pub stamp: Stamp,
    /// What a person may want to hear of.
    pub notes: Vec<ReplacementNote>,
}

/// Something that a replacement did beyond replacing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplacementNote {
    /// The old file could be used by others; the new one is 0600.
    ModeRepaired {
        /// The permission bits of the old one.
        from: u32,
    },
    /// The file was overwritten, because it is a mount point.
    WrittenInPlace {
        /// Where the old content is; nowhere, if there is no writing beside the file.
        backup: Option<PathBuf>,
    },
    /// We are root, and the new file was given to the owner of its folder.
    OwnerGiven {
        /// Its owner now.
        uid: u32,
    },
}

/// A place on the disk for the next content of a file: once there is one, [`commit`](Self::commit) fails for
/// want of neither space nor permission.
///
/// That is as true as the file system makes it: one that copies on write or compresses may still run out when
/// the reserved bytes are overwritten, and permissions may be taken away meanwhile.
///
/// Dropped without a commit, it leaves nothing behind. Of a process that was killed it leaves a temporary
/// file, for [`sweep`](super::sweep).
#[derive(Debug)]
#[must_use = "the space is given back on drop"]
pub struct Replacement {
    target: PathBuf,
    over: MountPolicy,
    size: u64,
    way: ReplacementMethod,
    notes: Vec<ReplacementNote>,
}

#[derive(Debug)]
enum ReplacementMethod {
    Rename(TemporaryFile),
    Overwrite(File),
}

impl Replacement {
    /// Makes a file of `size` bytes beside the one that `path` stands for, and makes it durable.
    ///
    /// # Errors
    /// Those of [`resolve`]; [`Error::NotAFile`]; [`Error::MountPoint`] unless `over` is
    /// [`MountPolicy::InPlace`]; [`Error::ReadOnly`], [`Error::Flagged`] and [`Error::ForeignOwner`];
    /// [`Error::NoSpace`]; [`Error::Io`], which is `NotFound` where the folder is missing. Nothing has changed
    /// then, and nothing is left behind.
    pub fn reserve(path: &Path, size: u64, links: Links, over: MountPolicy) -> Result<Self, Error> {
        let replacement = Self::begin(path, size, links, over)?;
        match &replacement.way {
            ReplacementMethod::Rename(temporary) => allocate(temporary.file(), size)
                .and_then(|()| folder::sync(temporary.file()))
                .map_err(|error| Error::change("reserve", &replacement.target, size, error))?,
            // `begin` has seen to it: nothing but space beyond the end can be reserved there.
            ReplacementMethod::Overwrite(_) => {}
        }
        Ok(replacement)
    }

    /// Writes `bytes` as the whole of the file: written once, synced, renamed, and the folder synced. When
    /// this returns the content is durable and everybody sees it.
    ///
    /// More bytes than were reserved may be committed; those can be refused for want of space.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve), and the old content is still there, whole; but a write in place that
    /// fails in its middle leaves part of each, and the backup. [`Error::Unsynced`] when the new content is
    /// there and its durability is in doubt.
    pub fn commit(self, bytes: &[u8]) -> Result<ReplacementReport, Error> {
        let Self { target, over, mut notes, way, .. } = self;
        let mut temporary = match way {
            ReplacementMethod::Rename(temporary) => temporary,
            ReplacementMethod::Overwrite(file) => return overwrite(&target, &file, bytes, notes),
        };
        let needed = bytes.len() as u64;
        let failed = |error| Error::change("write", &target, needed, error);
        let mut file = temporary.file();
        file.write_all(bytes).map_err(failed)?;
        file.set_len(needed).map_err(failed)?;
        folder::sync(file).map_err(failed)?;

        let name = target.file_name().unwrap_or_default();
        let old = regular_or_absent(temporary.folder(), &target)?;
        match temporary.rename(name) {
            Ok(()) => {}
            // A mount that was made since, or that the kernel could not tell us of.
            Err(error) if is_mount(&error) && over == MountPolicy::InPlace => {
                return overwrite(&target, &open_mounted(&target, needed)?, bytes, notes);
            }
            Err(error) => {
                let refused = predicate::refusal(temporary.folder(), name, &target);
                return Err(refused.unwrap_or_else(|| Error::change("replace", &target, needed, error)));
            }
        }
        let unsynced = |source| Error::Unsynced { path: target.clone(), source };
        temporary.folder().sync().map_err(unsynced)?;
        if let Some(Exposure::Loose { mode }) = old {
            notes.push(ReplacementNote::ModeRepaired { from: mode });
        }
        let stamp = Stamp::of(&temporary.file().metadata().map_err(unsynced)?);
        Ok(ReplacementReport { stamp, notes })
    }

    /// Everything that may refuse, before any space is taken.
    fn begin(path: &Path, size: u64, links: Links, over: MountPolicy) -> Result<Self, Error> {
        let target = resolve(path, links)?;
        let failed = |error| Error::change("make a file beside", &target, size, error);
        let (folder, name) = OpenFolder::around(&target).map_err(failed)?;
        temporary::sweep(&folder, name);
        regular_or_absent(&folder, &target)?;
        let mut notes = Vec::new();
        let mounted = filesystem::is_mount_point(&target).map_err(|source| Error::Io {
            action: "look for a mount at",
            path: target.clone(),
            source,
        })?;
        let way = match (mounted, over) {
            (MountPoint::Yes, MountPolicy::Refuse) => return Err(Error::MountPoint { path: target }),
            (MountPoint::Yes, MountPolicy::InPlace) => {
                ReplacementMethod::Overwrite(open_mounted(&target, size)?)
            }
            (MountPoint::No, _) => {
                let private = Mode::RUSR | Mode::WUSR;
                let temporary = TemporaryFile::create(folder, name, private).map_err(|error| {
                    let folder = OpenFolder::around(&target).ok();
                    let refused =
                        folder.and_then(|(folder, name)| predicate::refusal(&folder, name, &target));
                    refused.unwrap_or_else(|| failed(error))
                })?;
                match temporary.folder().bequeath(temporary.file()) {
                    Ok(Inheritance::Ours) => {}
                    Ok(Inheritance::Given { uid }) => notes.push(ReplacementNote::OwnerGiven { uid }),
                    Err(source) => {
                        let (uid, _) = temporary.folder().heir().unwrap_or_default();
                        return Err(Error::ForeignOwner { path: target, uid, source: Some(source) });
                    }
                }
                ReplacementMethod::Rename(temporary)
            }
        };
        Ok(Self { target, over, size, way, notes })
    }

    /// The file that will be replaced.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// How many bytes were reserved.
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// Proves that a file can be created and renamed in the folder of `path`, as a replacement does: on some file systems a
/// program answers, and may refuse that. Nothing is left behind.
///
/// # Errors
/// Those of [`Replacement::reserve`] and of its commit.
pub fn prove_replacement(path: &Path, links: Links) -> Result<(), Error> {
    let replacement = Replacement::begin(path, 0, links, MountPolicy::Refuse)?;
    if let ReplacementMethod::Rename(mut temporary) = replacement.way {
        let change = |error| Error::change("rename a file beside", &replacement.target, 0, error);
        let name = temporary::name_for(replacement.target.file_name().unwrap_or_default());
        temporary.rename(&name).map_err(change)?;
        temporary.folder().unlink(&name).map_err(change)?;
    }
    Ok(())
}

/// Replaces a file whole, as [`Replacement::commit`] does, with no reservation before.
///
/// # Errors
/// Those of [`Replacement::reserve`] and [`Replacement::commit`].
pub fn replace(
    path: &Path,
    bytes: &[u8],
    links: Links,
    over: MountPolicy,
) -> Result<ReplacementReport, Error> {
    Replacement::begin(path, bytes.len() as u64, links, over)?.commit(bytes)
}

/// How exposed the old file is; an error when it is no file.
fn regular_or_absent(folder: &OpenFolder, target: &Path) -> Result<Option<Exposure>, Error> {
    let entry = predicate::regular(folder, target.file_name().unwrap_or_default(), target)?;
    Ok(entry.map(|entry| Exposure::of_mode(folder::bits(entry.mode))))
}

/// Gives an empty file `size` bytes that the disk has set aside, and leaves it to be written from its start.
fn allocate(mut file: &File, size: u64) -> io::Result<()> {
    // Its error is not worth reading: `posix_fallocate` returns one, and fs2 0.4 reports `errno` instead.
    // Writing finds the true one, and is what there is to do where the file system cannot allocate.
    if size == 0 || FileExt::allocate(file, size).is_ok() {
        return Ok(());
    }
    io::copy(&mut io::Read::take(io::repeat(0), size), &mut file)?;
    file.rewind()
}

/// Opens a mounted file for writing and sets space for `size` bytes aside, as far as that can be done without
/// changing what is read from it.
fn open_mounted(target: &Path, size: u64) -> Result<File, Error> {
    let failed = |error| Error::change("write", target, size, error);
    let (folder, name) = OpenFolder::around(target).map_err(failed)?;
    let file = folder.open_entry(name, OFlags::RDWR, Mode::empty()).map_err(failed)?;
    space::keep(&file, size).map_err(failed)?;
    Ok(file)
}

/// Writes over a mounted file, with its old content saved beside it first.
fn overwrite(
    target: &Path,
    mut file: &File,
    bytes: &[u8],
    mut notes: Vec<ReplacementNote>,
) -> Result<ReplacementReport, Error> {
    let needed = bytes.len() as u64;
    let failed = |error| Error::change("write", target, needed, error);
    space::keep(file, needed).map_err(failed)?;
    let backup = back_up(target)?;
    file.rewind().map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.set_len(needed).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if let Exposure::Loose { mode } = Exposure::of(&found)
        && rustix::fs::fchmod(file, Mode::RUSR | Mode::WUSR).is_ok()
    {
        notes.push(ReplacementNote::ModeRepaired { from: mode });
    }
    let unsynced = |source| Error::Unsynced { path: target.to_owned(), source };
    folder::sync(file).map_err(unsynced)?;
    notes.push(ReplacementNote::WrittenInPlace { backup });
    Ok(ReplacementReport { stamp: Stamp::of(&file.metadata().map_err(unsynced)?), notes })
}

/// Saves the content of a file as `{name}.bak`; nowhere, if its folder does not allow that.
fn back_up(target: &Path) -> Result<Option<PathBuf>, Error> {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".bak");
    let backup = target.with_file_name(name);
    let Some(contents) = read(target, u64::MAX, Links::Refuse)? else { return Ok(None) };
    match replace(&backup, &contents.bytes, Links::Refuse, MountPolicy::Refuse) {
        Ok(_) => Ok(Some(backup)),
        Err(error) if error.is_read_only() => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_mount(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::BUSY | Errno::XDEV))
}
