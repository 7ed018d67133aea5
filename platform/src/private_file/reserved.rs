//! A private file whose space is reserved before its content is known, and which is written once.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::error::Error;
use super::folder::{self, OpenFolder, OwnershipChange};
use crate::space::{self, SpaceReservation};

/// Fills a file whose space cannot be reserved beyond its end.
const FILLER: u8 = b' ';

/// An empty file with reserved space. Removed on drop unless it was written.
///
/// Its content then takes one write and one sync of an open file, without a rename.
#[derive(Debug)]
#[must_use = "the space is given back on drop"]
pub struct ReservedFile {
    file: File,
    path: PathBuf,
    state: ReservedState,
}

#[derive(Debug, PartialEq, Eq)]
enum ReservedState {
    Blank,
    Written,
}

impl ReservedFile {
    /// Creates the file at `path`, mode 0600, with `size` bytes reserved beyond its end, or filled with spaces if the
    /// file system cannot do that. File and folder are durable when this returns. Reuses a blank file that a killed
    /// process left.
    ///
    /// # Errors
    /// [`Error::NoSpace`]; [`Error::ReadOnly`]; [`Error::ForeignOwner`]; [`Error::NotAFile`]; [`Error::Io`], of kind
    /// `AlreadyExists` for a file that is not blank. Nothing new is left behind.
    pub fn create(path: &Path, size: u64) -> Result<Self, Error> {
        let failed = |error| Error::from_write("reserve", path, size, error);
        let (folder, name) = OpenFolder::parent_of(path).map_err(failed)?;
        let private = Mode::RUSR | Mode::WUSR;
        let file = match folder.open_entry(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, private) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = folder.open_entry(name, OFlags::RDWR, private).map_err(failed)?;
                return Self::reuse(file, path, size);
            }
            Err(error) => return Err(failed(error)),
        };
        // From here on an error removes the file again.
        let reserved = Self { file, path: path.to_owned(), state: ReservedState::Blank };
        match folder.give_to_owner(&reserved.file) {
            Ok(OwnershipChange::Unchanged | OwnershipChange::Given { .. }) => {}
            Err(source) => {
                let (uid, _) = folder.foreign_owner().unwrap_or_default();
                return Err(Error::ForeignOwner { path: path.to_owned(), uid, source: Some(source) });
            }
        }
        reserved.reserve_space(size).map_err(failed)?;
        folder.sync().map_err(failed)?;
        Ok(reserved)
    }

    fn reuse(file: File, path: &Path, size: u64) -> Result<Self, Error> {
        let failed = |error| Error::from_write("reserve", path, size, error);
        let found = file.metadata().map_err(failed)?;
        if !found.is_file() {
            return Err(Error::NotAFile { path: path.to_owned() });
        }
        let mut bytes = vec![0; usize::try_from(found.len()).unwrap_or(usize::MAX).min(1 << 20)];
        file.read_exact_at(&mut bytes, 0).map_err(failed)?;
        if !is_blank(&bytes) {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        let reserved = Self { file, path: path.to_owned(), state: ReservedState::Blank };
        reserved.reserve_space(size).map_err(failed)?;
        Ok(reserved)
    }

    fn reserve_space(&self, size: u64) -> io::Result<()> {
        if space::reserve(&self.file, size)? == SpaceReservation::Unsupported {
            io::copy(&mut io::Read::take(io::repeat(FILLER), size), &mut &self.file)?;
        }
        folder::sync(&self.file)
    }

    /// Writes `bytes` at the start of the file, in one write, and makes them durable. Spaces that reserved the rest
    /// may remain after them.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Io`], [`Error::Unsynced`], although the space was reserved.
    pub fn write(mut self, bytes: &[u8]) -> Result<(), Error> {
        // Kept on an error: part of the content is better than none.
        self.state = ReservedState::Written;
        let failed = |error| Error::from_write("write", &self.path, bytes.len() as u64, error);
        let written = self.file.write_at(bytes, 0).map_err(failed)?;
        if written < bytes.len() {
            self.file.write_all_at(&bytes[written..], written as u64).map_err(failed)?;
        }
        folder::sync(&self.file).map_err(|source| Error::Unsynced { path: self.path.clone(), source })?;
        // Frees the rest of the space; if that fails, it stays reserved.
        let _ = self.file.set_len(bytes.len() as u64);
        Ok(())
    }
}

impl Drop for ReservedFile {
    fn drop(&mut self) {
        if self.state == ReservedState::Blank
            && let Ok((folder, name)) = OpenFolder::parent_of(&self.path)
        {
            // A file that remains is blank, and will be reused.
            let _ = folder.unlink(name);
        }
    }
}

/// Returns whether `bytes` are those of a reservation that was never written.
#[must_use]
pub fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == FILLER)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_reservation_is_blank_until_written_and_removed_if_never_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        let reserved = ReservedFile::create(&path, 4096).unwrap();
        assert!(is_blank(&std::fs::read(&path).unwrap()));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(reserved);
        assert!(!path.exists());

        ReservedFile::create(&path, 4096).unwrap().write(b"content").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"content");
        let error = ReservedFile::create(&path, 4096).unwrap_err();
        assert!(matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists));
        assert_eq!(std::fs::read(&path).unwrap(), b"content", "it was not touched");
    }

    #[test]
    fn a_blank_leftover_is_reused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        for left in [Vec::new(), vec![FILLER; 9000]] {
            std::fs::write(&path, &left).unwrap();
            ReservedFile::create(&path, 4096).unwrap().write(b"{}").unwrap();
            let found = std::fs::read(&path).unwrap();
            assert!(found.starts_with(b"{}") && is_blank(&found[2..]));
            std::fs::remove_file(&path).unwrap();
        }
    }
}
