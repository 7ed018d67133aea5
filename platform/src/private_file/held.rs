//! A folder that is held open, so that its files can be removed even after it was moved.

use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

use super::error::Error;
use super::folder::OpenFolder;
use crate::filesystem::{self, FileId};

/// An open folder.
#[derive(Debug)]
pub struct HeldFolder {
    folder: OpenFolder,
    identity: FileId,
}

impl HeldFolder {
    /// Opens the folder at `path`.
    ///
    /// # Errors
    /// [`Error::Unreadable`]; [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |error| Error::from_read("open", path, error);
        let folder = OpenFolder::open(path).map_err(failed)?;
        let identity = FileId::of(&folder.file().metadata().map_err(failed)?);
        Ok(Self { folder, identity })
    }

    /// Returns whether it is at `path`.
    #[must_use]
    pub fn is_at(&self, path: &Path) -> bool {
        filesystem::identity(path) == Some(self.identity)
    }

    /// Removes the file `name` if it is not larger than `limit` bytes and `is_ours` accepts its content. Anything else
    /// stays, and a missing file is no error.
    ///
    /// # Errors
    /// An error of the system.
    pub fn remove_file(
        &self,
        name: &OsStr,
        limit: u64,
        is_ours: impl FnOnce(&[u8]) -> bool,
    ) -> io::Result<()> {
        if self.folder.entry(name)?.is_none_or(|entry| entry.kind != FileType::RegularFile) {
            return Ok(());
        }
        let mut bytes = zeroize::Zeroizing::new(Vec::new());
        let file = self.folder.open_entry(name, OFlags::RDONLY, Mode::empty())?;
        file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 <= limit && is_ours(&bytes) {
            self.folder.unlink(name)?;
        }
        Ok(())
    }

    /// Removes the socket `name`. Anything else stays, and a missing socket is no error.
    ///
    /// # Errors
    /// An error of the system.
    pub fn remove_socket(&self, name: &OsStr) -> io::Result<()> {
        match self.folder.entry(name)? {
            Some(entry) if entry.kind == FileType::Socket => self.folder.unlink(name),
            _ => Ok(()),
        }
    }
}
