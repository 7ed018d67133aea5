//! The document as a locked `auth.json`, mode 0600.

use std::time::Duration;

use codex_auth_platform::private_file::{self, Exposure, Links, OverMount, Removal};

use super::{Commit, Error, Intent, Location, Note, Store, Stored, Written};
use crate::config::StoreKind;
use crate::document::AuthDocument;
use crate::home::Home;

/// A document is a few kilobytes; a file beyond this is something else.
const LIMIT: u64 = 1024 * 1024;

/// The file store of a home.
///
/// A symbolic link is followed: the target is replaced or removed, and the link stays. A write replaces the whole file
/// in one step (a temporary file beside it, fsync, rename, fsync of the folder), so that a reader sees the old
/// document or the new one; a file that is itself a mount point is only ever written in place, and only for a login.
#[derive(Clone, Debug)]
pub struct FileStore {
    home: Home,
}

impl FileStore {
    /// The file store of `home`.
    #[must_use]
    pub fn new(home: Home) -> Self {
        Self { home }
    }

    /// Proves that the document could be replaced now: that its folder takes a new file, and that it is no mount point.
    ///
    /// # Errors
    /// [`Error::File`] says why not; nothing may be spent for it.
    pub fn prove_replaceable(&self) -> Result<(), Error> {
        let (path, size) = (self.home.document(), 0);
        drop(private_file::Replacement::reserve(&path, size, Links::Follow, OverMount::Refuse)?);
        Ok(())
    }

    fn location(&self) -> Result<Location, Error> {
        Ok(Location::File(private_file::resolve(&self.home.document(), Links::Follow)?))
    }
}

impl Store for FileStore {
    fn kind(&self) -> StoreKind {
        StoreKind::File
    }

    fn load(&self, _within: Duration) -> Result<Option<Stored>, Error> {
        let Some(contents) = private_file::read(&self.home.document(), LIMIT, Links::Follow)? else {
            return Ok(None);
        };
        let location = self.location()?;
        let document = match AuthDocument::parse(&contents.bytes) {
            Ok(document) => document,
            Err(source) => return Err(Error::Document { location, source }),
        };
        let mut notes = Vec::new();
        if let (Exposure::Loose { mode }, Location::File(path)) = (contents.exposure, &location) {
            notes.push(Note::Loose { path: path.clone(), mode });
        }
        notes.extend(document.oddities().iter().cloned().map(Note::from));
        Ok(Some(Stored { document, location, notes }))
    }

    fn write(&self, commit: &Commit<'_>, document: &AuthDocument) -> Result<Written, Error> {
        let over = match commit.intent() {
            Intent::Login => OverMount::InPlace,
            Intent::Keep => OverMount::Refuse,
        };
        let location = self.location()?;
        let replaced =
            private_file::replace(&self.home.document(), &document.to_pretty(), Links::Follow, over)?;
        let Location::File(path) = &location else { return Ok(Written { location, notes: Vec::new() }) };
        let told = |note| match note {
            private_file::Note::ModeRepaired { from } => {
                Some(Note::Tightened { path: path.clone(), mode: from })
            }
            private_file::Note::WrittenInPlace { backup } => {
                Some(Note::InPlace { path: path.clone(), backup })
            }
            _ => None,
        };
        let notes = replaced.notes.into_iter().filter_map(told).collect();
        Ok(Written { location, notes })
    }

    fn remove(&self, _commit: &Commit<'_>) -> Result<Removal, Error> {
        Ok(private_file::remove(&self.home.document(), Links::Follow)?)
    }
}
