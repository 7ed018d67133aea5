//! Identifies files and folders by device and inode.

use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::str::FromStr;

/// Identifies a file or folder by device and inode for as long as it exists; a replacement has another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(crate) fn of(found: &Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino() }
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.device, self.inode)
    }
}

/// A text that is not a [`FileId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a device and an inode, separated by a colon")]
#[non_exhaustive]
pub struct InvalidFileId;

impl FromStr for FileId {
    type Err = InvalidFileId;

    fn from_str(text: &str) -> Result<Self, InvalidFileId> {
        let (device, inode) = text.split_once(':').ok_or(InvalidFileId)?;
        let number = |text: &str| text.parse().map_err(|_| InvalidFileId);
        Ok(Self { device: number(device)?, inode: number(inode)? })
    }
}

/// Whether something exists at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the caller handles each")]
pub enum Presence {
    /// The file or folder with this id exists.
    Present(FileId),
    /// Nothing exists there.
    Absent,
    /// The system does not say, because a folder on the way is closed to this user or cannot be read now.
    Unknown,
}

/// Returns the id of what is at `path`, links followed, or `None` if nothing can be found there.
pub fn identity(path: &Path) -> Option<FileId> {
    match presence(path) {
        Presence::Present(identity) => Some(identity),
        Presence::Absent | Presence::Unknown => None,
    }
}

/// Returns whether something exists at `path`, links followed.
pub fn presence(path: &Path) -> Presence {
    match std::fs::metadata(path) {
        Ok(found) => Presence::Present(FileId::of(&found)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Presence::Absent
        }
        Err(_) => Presence::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_from_its_own_text_only() {
        let id = identity(Path::new("/")).unwrap();
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "1", ":", "1:", "-1:2", "1:2:3", "a:b"] {
            assert_eq!(wrong.parse::<FileId>(), Err(InvalidFileId), "{wrong}");
        }
    }
}
