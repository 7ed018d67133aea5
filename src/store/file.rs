//! The file store: the document in `auth.json`, mode 0600.

use std::path::{Path, PathBuf};
use std::time::Duration;

use codex_auth_platform::lock;
use codex_auth_platform::private_file::{self, Exposure, FileMode, Links, MountPolicy, Removal};

use zeroize::Zeroizing;

use super::Store;
use super::commit::{CommitLocks, WriteIntent};
use super::content::{DocumentLocation, StorageNote, StoreContent, StoredDocument, WriteReport};
use super::error::Error;
use super::locate::DocumentTarget;
use super::sealed::Sealed;
use super::settings::check_in_place;
use crate::document::AuthDocument;
use crate::home::Home;

/// The largest file that is read; a document has a few kilobytes.
const MAX_DOCUMENT_BYTES: u64 = 1024 * 1024;

/// The file store of a home.
///
/// If `auth.json` is a symbolic link, its target is read, replaced and removed, and the link stays. Under a lease the
/// target is the one that the link had when the lease was acquired. A write replaces the file atomically (temporary
/// file beside it, fsync, rename, fsync of the folder). A file that is itself a mount point cannot be replaced; only a
/// login writes it, in place.
#[derive(Clone, Debug)]
pub struct FileStore {
    home: Home,
    pinned: Option<DocumentTarget>,
}

impl FileStore {
    /// Returns the file store of `home`, with the document where a lease found it.
    pub(crate) fn new(home: Home, pinned: Option<DocumentTarget>) -> Self {
        Self { home, pinned }
    }

    /// Returns whether a keeper elsewhere hands in the document. One that cannot be read is none.
    pub(crate) fn is_handed_in(&self) -> bool {
        let content = self.read(Duration::ZERO).ok();
        content.and_then(StoreContent::stored).is_some_and(|stored| stored.document.is_handed_in())
    }

    /// Checks whether a login could be written now, also in place over a file that is a mount point.
    pub(super) fn check_login(&self) -> Result<(), Error> {
        check_in_place(&self.path()?)?;
        self.check_locks()
    }

    /// Returns the location of the document: the pinned one, or where the home's `auth.json` leads now.
    pub(super) fn target(&self) -> Result<DocumentTarget, Error> {
        self.pinned.clone().map_or_else(|| DocumentTarget::of(&self.home), Ok)
    }

    fn path(&self) -> Result<PathBuf, Error> {
        Ok(self.target()?.document())
    }

    /// Checks whether this user may acquire Codex's commit locks.
    pub(super) fn check_locks(&self) -> Result<(), Error> {
        lock::check_can_open(&self.home.first_commit_lock())?;
        Ok(lock::check_can_open(&self.target()?.commit_lock())?)
    }

    /// Reads the file, whose size is at most `limit` bytes.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(super) fn bytes(&self, limit: u64) -> Result<Option<private_file::Contents>, Error> {
        Ok(private_file::read(&self.path()?, limit, Links::Refuse)?)
    }
}

/// Returns whether the group of the folder around `path` can enter it.
fn is_open_to_group(path: &Path) -> bool {
    let folder = path.parent().and_then(|folder| private_file::ownership(folder, Links::Follow).ok()?);
    folder.is_some_and(|folder| folder.mode & 0o010 != 0)
}

impl Sealed for FileStore {}

impl Store for FileStore {
    fn read(&self, _within: Duration) -> Result<StoreContent, Error> {
        let path = self.path()?;
        let Some(contents) = self.bytes(MAX_DOCUMENT_BYTES)? else { return Ok(StoreContent::Nothing) };
        let location = DocumentLocation::File(path.clone());
        let document = match AuthDocument::parse(&contents.bytes) {
            Ok(document) => document,
            Err(source) => return Ok(StoreContent::Unparsable { location, source, bytes: contents.bytes }),
        };
        let mut notes = Vec::new();
        // The access control list of an export shows in the mode.
        if let Exposure::Loose { mode } = contents.exposure
            && !document.is_handed_in()
        {
            let (path, group) = (path.clone(), contents.group);
            notes.push(match mode & 0o060 != 0 && mode & 0o007 == 0 && is_open_to_group(&path) {
                true => StorageNote::SharedWithGroup { path, mode, group },
                false => StorageNote::ReadableByOthers { path, mode },
            });
        }
        if contents.names > 1 {
            notes.push(StorageNote::HardLinked { path, names: contents.names });
        }
        notes.extend(document.warnings().iter().cloned().map(StorageNote::from));
        Ok(StoreContent::Document(Box::new(StoredDocument { document, location, notes })))
    }

    fn check_write(&self, _within: Duration) -> Result<(), Error> {
        private_file::check_can_replace(&self.path()?, Links::Refuse)?;
        self.check_locks()
    }

    fn prove_write(&self) -> Result<(), Error> {
        Ok(private_file::test_replacement(&self.path()?, Links::Refuse)?)
    }

    fn check_remove(&self, _within: Duration) -> Result<(), Error> {
        private_file::check_can_remove(&self.path()?, Links::Refuse)?;
        self.check_locks()
    }

    fn encode(&self, document: &AuthDocument) -> Zeroizing<Vec<u8>> {
        document.to_pretty()
    }

    fn write_bytes(&self, commit: &CommitLocks<'_>, bytes: &[u8]) -> Result<WriteReport, Error> {
        let over = match commit.intent() {
            WriteIntent::Login => MountPolicy::InPlace,
            WriteIntent::Save => MountPolicy::Refuse,
        };
        let path = self.path()?;
        let replaced = private_file::replace(&path, bytes, Links::Refuse, over, FileMode::Private)?;
        let report = |note| match note {
            private_file::ReplacementNote::ModeRepaired { from } => {
                Some(StorageNote::ModeRepaired { path: path.clone(), mode: from })
            }
            private_file::ReplacementNote::ModeRefused { mode, reason } => {
                Some(StorageNote::ModeRefused { path: path.clone(), mode, reason })
            }
            private_file::ReplacementNote::WrittenInPlace { backup } => {
                Some(StorageNote::WrittenInPlace { path: path.clone(), backup })
            }
            _ => None,
        };
        let notes = replaced.into_iter().filter_map(report).collect();
        Ok(WriteReport { location: DocumentLocation::File(path), notes })
    }

    fn remove(&self, _commit: &CommitLocks<'_>) -> Result<Removal, Error> {
        Ok(private_file::remove(&self.path()?, Links::Refuse)?)
    }
}
