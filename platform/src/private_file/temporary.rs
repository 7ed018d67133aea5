//! A temporary file beside its target, removed unless it replaces the target.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use fs2::FileExt;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::contents::Exposure;
use super::folder::{self, ModeChange, OpenFolder};

/// How often to try again if a name is taken, or a file was removed before it was locked.
const MAX_ATTEMPTS: usize = 32;

/// A new file `.{name}.{16 hex digits}.tmp`. Its writer holds a lock on it, so a file that can be locked has no live
/// writer. Removed on drop unless it was renamed.
#[derive(Debug)]
pub(crate) struct TemporaryFile {
    folder: OpenFolder,
    name: OsString,
    file: File,
    state: TemporaryState,
    /// The error of a file system that kept a looser mode than was asked for.
    mode_refusal: Option<io::Error>,
}

#[derive(Debug, PartialEq, Eq)]
enum TemporaryState {
    Named,
    Renamed,
}

impl TemporaryFile {
    /// Creates a temporary file for `target` in `folder`. A mode of 0600 is set exactly; the
    /// umask restricts any other.
    pub(crate) fn create(folder: OpenFolder, target: &OsStr, mode: Mode) -> io::Result<Self> {
        for _ in 0..MAX_ATTEMPTS {
            let name = temporary_name(target);
            let file = match folder.open_entry(&name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, mode) {
                Ok(file) => file,
                Err(error) if Errno::from_io_error(&error) == Some(Errno::EXIST) => continue,
                Err(error) => return Err(error),
            };
            // A process that holds the lock takes the file for a leftover and removes it. Without support for locks, no
            // process removes leftovers.
            let is_being_removed =
                matches!(FileExt::try_lock_exclusive(&file), Err(error) if is_contended(&error));
            let metadata = file.metadata()?;
            if is_being_removed || metadata.nlink() == 0 {
                continue;
            }
            let mut temporary = Self { folder, name, file, state: TemporaryState::Named, mode_refusal: None };
            let private = Mode::RUSR | Mode::WUSR;
            if mode == private
                && metadata.permissions().mode() & 0o7777 != 0o600
                && let ModeChange::Refused(error) = folder::set_mode(&temporary.file, private)?
                && Exposure::of(&metadata) != Exposure::Private
            {
                temporary.mode_refusal = Some(error);
            }
            return Ok(temporary);
        }
        Err(Errno::EXIST.into())
    }

    /// Takes the error of a file system that left the file accessible to other users.
    pub(super) fn take_mode_refusal(&mut self) -> Option<io::Error> {
        self.mode_refusal.take()
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn name(&self) -> &OsStr {
        &self.name
    }

    pub(crate) fn folder(&self) -> &OpenFolder {
        &self.folder
    }

    /// Renames the file to `target`, replacing what is there.
    pub(crate) fn rename(&mut self, target: &OsStr) -> io::Result<()> {
        self.folder.rename(&self.name, target)?;
        self.state = TemporaryState::Renamed;
        Ok(())
    }

    /// Links the file to `target`, which must not exist. Unlocks it first, because another process may lock `target` as
    /// soon as it exists.
    pub(crate) fn link(&self, target: &OsStr) -> io::Result<()> {
        FileExt::unlock(&self.file)?;
        self.folder.link(&self.name, target)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if self.state == TemporaryState::Named {
            // If this fails, the next writer removes the file.
            let _ = unlink_open(&self.folder, &self.name, || {
                if let Ok(another) = self.folder.file().try_clone() {
                    self.file = another;
                }
            });
        }
    }
}

/// Removes the files that killed writers of `target` left, and returns how many.
pub(crate) fn remove_leftovers(folder: &OpenFolder, target: &OsStr) -> usize {
    let removed = |(name, held): (OsString, File)| unlink_open(folder, &name, || drop(held)).is_ok();
    leftovers(folder, target).into_iter().map(removed).filter(|removed| *removed).count()
}

/// Removes the file `name`, which `close` closes. FUSE programs rename an open file instead of removing it, and some
/// refuse that.
fn unlink_open(folder: &OpenFolder, name: &OsStr, close: impl FnOnce()) -> io::Result<()> {
    folder.unlink(name).or_else(|_| {
        close();
        folder.unlink(name)
    })
}

/// Returns the files that killed writers of `target` left, each locked so that no writer can use it.
pub(crate) fn leftovers(folder: &OpenFolder, target: &OsStr) -> Vec<(OsString, File)> {
    let names = folder.names().unwrap_or_default().into_iter().filter(|name| is_temporary_for(target, name));
    names.filter_map(|name| lock_if_dead(folder, &name).map(|held| (name, held))).collect()
}

/// Returns 16 hex digits that differ between calls and processes; not for secrets.
#[must_use]
pub fn unique_name() -> String {
    format!("{:016x}", random())
}

/// Returns 64 bits that differ between calls and processes; not for secrets.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

pub(crate) fn is_contended(error: &io::Error) -> bool {
    error.raw_os_error() == fs2::lock_contended_error().raw_os_error()
}

/// Returns the file, locked, if its writer is dead.
fn lock_if_dead(folder: &OpenFolder, name: &OsStr) -> Option<File> {
    let regular = matches!(folder.entry(name), Ok(Some(entry)) if entry.kind == FileType::RegularFile);
    let file = regular.then(|| folder.open_entry(name, OFlags::RDONLY, Mode::empty()).ok()).flatten()?;
    FileExt::try_lock_exclusive(&file).ok().map(|()| file)
}

pub(super) fn temporary_name(target: &OsStr) -> OsString {
    let mut name = b".".to_vec();
    name.extend_from_slice(target.as_bytes());
    name.extend_from_slice(format!(".{:016x}.tmp", random()).as_bytes());
    OsString::from_vec(name)
}

fn is_temporary_for(target: &OsStr, name: &OsStr) -> bool {
    let random = name
        .as_bytes()
        .strip_prefix(b".")
        .and_then(|rest| rest.strip_prefix(target.as_bytes()))
        .and_then(|rest| rest.strip_prefix(b"."))
        .and_then(|rest| rest.strip_suffix(b".tmp"));
    random.is_some_and(|digits| {
        digits.len() == 16 && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_belongs_to_its_target_and_to_no_other() {
        let target = OsStr::new("record");
        let name = temporary_name(target);
        assert!(is_temporary_for(target, &name));
        assert_ne!(name, temporary_name(target));
        for other in ["recor", "record.", "records", ""] {
            assert!(!is_temporary_for(OsStr::new(other), &name), "{other:?}");
        }
        for other in [".record.tmp", ".record.0123.tmp", ".record.0123456789ABCDEF.tmp", "record"] {
            assert!(!is_temporary_for(target, OsStr::new(other)), "{other}");
        }
    }
}
