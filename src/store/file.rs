//! The document as a locked `auth.json`, mode 0600.

use std::path::PathBuf;
use std::time::Duration;

use codex_auth_platform::lock;
use codex_auth_platform::private_file::{self, Exposure, Links, MountPolicy, Removal};

use super::{
    CommitLocks, DocumentLocation, DocumentTarget, Error, StorageNote, Store, StoreContent, StoredDocument,
    WriteIntent, WriteReport,
};
use crate::config::StoreKind;
use crate::document::AuthDocument;
use crate::home::Home;

/// A document is a few kilobytes; a file beyond this is something else.
const LIMIT: u64 = 1024 * 1024;

/// The file store of a home.
///
/// Where `auth.json` is a symbolic link, the file it leads to is read, replaced and removed, and the link stays. Under a
/// lease that file is the one that the link led to when the lease was acquired. A write replaces the whole file in one
/// step (a temporary file beside it, fsync, rename, fsync of the folder), so that a reader sees the old document or the
/// new one; a file that is itself a mount point is only ever written in place, and only for a login.
#[derive(Clone, Debug)]
pub struct FileStore {
    home: Home,
    pinned: Option<DocumentTarget>,
}

impl FileStore {
    /// The file store of `home`, for reading.
    #[must_use]
    pub fn new(home: Home) -> Self {
        Self { home, pinned: None }
    }

    /// The same with the document where a lease found it.
    pub(super) fn pinned(home: Home, target: DocumentTarget) -> Self {
        Self { home, pinned: Some(target) }
    }

    /// Whether a login could be written now: over a file that is a mount point, in place.
    pub(super) fn check_login(&self) -> Result<(), Error> {
        super::settings::check_in_place(&self.path()?)?;
        self.check_locks()
    }

    fn target(&self) -> Result<DocumentTarget, Error> {
        self.pinned.clone().map_or_else(|| DocumentTarget::of(&self.home), Ok)
    }

    fn path(&self) -> Result<PathBuf, Error> {
        Ok(self.target()?.document())
    }

    /// Whether Codex's commit locks could be acquired by this user.
    pub(super) fn check_locks(&self) -> Result<(), Error> {
        lock::may_open(&self.home.first_commit_lock())?;
        Ok(lock::may_open(&self.target()?.commit_lock())?)
    }

    /// The bytes of the file, up to `limit` of them.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(super) fn bytes(&self, limit: u64) -> Result<Option<private_file::Contents>, Error> {
        Ok(private_file::read(&self.path()?, limit, Links::Refuse)?)
    }
}

impl Store for FileStore {
    fn kind(&self) -> StoreKind {
        StoreKind::File
    }

    fn read(&self, _within: Duration) -> Result<StoreContent, Error> {
        let path = self.path()?;
        let Some(contents) = self.bytes(LIMIT)? else { return Ok(StoreContent::Nothing) };
        let location = DocumentLocation::File(path.clone());
        let document = match AuthDocument::parse(&contents.bytes) {
            Ok(document) => document,
            Err(source) => return Ok(StoreContent::Unparsable { location, source, bytes: contents.bytes }),
        };
        let mut notes = Vec::new();
        if let Exposure::Loose { mode } = contents.exposure {
            notes.push(StorageNote::Loose { path: path.clone(), mode });
        }
        if contents.names > 1 {
            notes.push(StorageNote::HardLinked { path, names: contents.names });
        }
        notes.extend(document.oddities().iter().cloned().map(StorageNote::from));
        Ok(StoreContent::Document(Box::new(StoredDocument { document, location, notes })))
    }

    fn check_write(&self, _within: Duration) -> Result<(), Error> {
        private_file::may_replace(&self.path()?, Links::Refuse)?;
        self.check_locks()
    }

    fn prove_write(&self) -> Result<(), Error> {
        Ok(private_file::prove_replacement(&self.path()?, Links::Refuse)?)
    }

    fn check_remove(&self, _within: Duration) -> Result<(), Error> {
        private_file::may_remove(&self.path()?, Links::Refuse)?;
        self.check_locks()
    }

    fn write(&self, commit: &CommitLocks<'_>, document: &AuthDocument) -> Result<WriteReport, Error> {
        let over = match commit.intent() {
            WriteIntent::Login => MountPolicy::InPlace,
            WriteIntent::Keep => MountPolicy::Refuse,
        };
        let path = self.path()?;
        let replaced = private_file::replace(&path, &document.to_pretty(), Links::Refuse, over)?;
        let report = |note| match note {
            private_file::ReplacementNote::ModeRepaired { from } => {
                Some(StorageNote::Tightened { path: path.clone(), mode: from })
            }
            private_file::ReplacementNote::WrittenInPlace { backup } => {
                Some(StorageNote::InPlace { path: path.clone(), backup })
            }
            _ => None,
        };
        let notes = replaced.notes.into_iter().filter_map(report).collect();
        Ok(WriteReport { location: DocumentLocation::File(path), notes })
    }

    fn remove(&self, _commit: &CommitLocks<'_>) -> Result<Removal, Error> {
        Ok(private_file::remove(&self.path()?, Links::Refuse)?)
    }
}
