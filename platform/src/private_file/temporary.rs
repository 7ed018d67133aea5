//! A file under a name of its own beside the one it is meant to become, gone when it does not.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use fs2::FileExt;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::folder::OpenFolder;

/// How often a name that is taken, or a file that was swept before it was locked, is tried anew.
const TRIES: usize = 32;

/// A new file `.{name}.{16 hex digits}.tmp`. Its writer holds a lock on it, so that a file which can be
/// locked is one whose writer is dead. Removed on drop unless it was renamed.
#[derive(Debug)]
pub(crate) struct TemporaryFile {
    folder: OpenFolder,
    name: OsString,
    file: File,
    state: TemporaryState,
}

#[derive(Debug, PartialEq, Eq)]
enum TemporaryState {
    Named,
    Gone,
}

impl TemporaryFile {
    /// Makes one for `target` in `folder`. A mode of 0600 is kept from a umask that would take from it.
    pub(crate) fn create(folder: OpenFolder, target: &OsStr, mode: Mode) -> io::Result<Self> {
        for _ in 0..TRIES {
            let name = name_for(target);
            let file = match folder.open_entry(&name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, mode) {
                Ok(file) => file,
                Err(error) if Errno::from_io_error(&error) == Some(Errno::EXIST) => continue,
                Err(error) => return Err(error),
            };
            // Where locks are not supported, nothing can be swept either.
            let swept = matches!(FileExt::try_lock_exclusive(&file), Err(error) if is_contended(&error));
            let made = file.metadata()?;
            if swept || made.nlink() == 0 {
                continue;
            }
            let temporary = Self { folder, name, file, state: TemporaryState::Named };
            let private = Mode::RUSR | Mode::WUSR;
            if mode == private && made.permissions().mode() & 0o7777 != 0o600 {
                rustix::fs::fchmod(&temporary.file, private)?;
            }
            return Ok(temporary);
        }
        Err(Errno::EXIST.into())
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn folder(&self) -> &OpenFolder {
        &self.folder
    }

    /// Takes the place of `target`, whatever is there.
    pub(crate) fn rename(&mut self, target: &OsStr) -> io::Result<()> {
        self.folder.rename(&self.name, target)?;
        self.state = TemporaryState::Gone;
        Ok(())
    }

    /// Takes the name `target` only if it is free; unlocked first, for those who open it at once.
    pub(crate) fn link(&self, target: &OsStr) -> io::Result<()> {
        FileExt::unlock(&self.file)?;
        self.folder.link(&self.name, target)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if self.state == TemporaryState::Named {
            // What cannot be removed here is swept by the next writer.
            let _ = self.folder.unlink(&self.name);
        }
    }
}

/// Removes the files that writers of `target` left when they were killed, and says how many.
pub(crate) fn sweep(folder: &OpenFolder, target: &OsStr) -> usize {
    let dead = abandoned(folder, target);
    dead.iter().filter(|(name, _held)| folder.unlink(name).is_ok()).count()
}

/// The files that writers of `target` left when they were killed, each with a lock on it that no writer can have.
pub(crate) fn abandoned(folder: &OpenFolder, target: &OsStr) -> Vec<(OsString, File)> {
    let names = folder.names().unwrap_or_default().into_iter().filter(|name| is_for(target, name));
    names.filter_map(|name| dead(folder, &name).map(|held| (name, held))).collect()
}

/// Sixty-four bits that differ from one call and process to the next; not for secrets.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

pub(crate) fn is_contended(error: &io::Error) -> bool {
    error.raw_os_error() == fs2::lock_contended_error().raw_os_error()
}

/// The file, locked, if its writer is dead.
fn dead(folder: &OpenFolder, name: &OsStr) -> Option<File> {
    let regular = matches!(folder.entry(name), Ok(Some(entry)) if entry.kind == FileType::RegularFile);
    let file = regular.then(|| folder.open_entry(name, OFlags::RDONLY, Mode::empty()).ok()).flatten()?;
    FileExt::try_lock_exclusive(&file).ok().map(|()| file)
}

pub(super) fn name_for(target: &OsStr) -> OsString {
    let mut name = b".".to_vec();
    name.extend_from_slice(target.as_bytes());
    name.extend_from_slice(format!(".{:016x}.tmp", random()).as_bytes());
    OsString::from_vec(name)
}

fn is_for(target: &OsStr, name: &OsStr) -> bool {
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
        let name = name_for(target);
        assert!(is_for(target, &name));
        assert_ne!(name, name_for(target));
        for other in ["recor", "record.", "records", ""] {
            assert!(!is_for(OsStr::new(other), &name), "{other:?}");
        }
        for stranger in [".record.tmp", ".record.0123.tmp", ".record.0123456789ABCDEF.tmp", "record"] {
            assert!(!is_for(target, OsStr::new(stranger)), "{stranger}");
        }
    }
}
