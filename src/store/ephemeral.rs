//! The document in the memory of this process, for embedders: nothing is written anywhere.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use codex_auth_platform::private_file::Removal;

use super::{Commit, Error, Location, Store, Stored, Written};
use crate::config::StoreKind;
use crate::document::AuthDocument;

/// A store that ends with its last clone. Clones share one document.
#[derive(Clone, Debug, Default)]
pub struct EphemeralStore {
    document: Arc<Mutex<Option<AuthDocument>>>,
}

impl EphemeralStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn swap(&self, document: Option<AuthDocument>) -> Option<AuthDocument> {
        // A holder that panicked has either swapped or not; both are whole documents.
        std::mem::replace(&mut *self.document.lock().unwrap_or_else(PoisonError::into_inner), document)
    }
}

impl Store for EphemeralStore {
    fn kind(&self) -> StoreKind {
        StoreKind::Ephemeral
    }

    fn load(&self, _within: Duration) -> Result<Option<Stored>, Error> {
        let document = self.document.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(document.map(|document| Stored { document, location: Location::Memory, notes: Vec::new() }))
    }

    fn write(&self, _commit: &Commit<'_>, document: &AuthDocument) -> Result<Written, Error> {
        self.swap(Some(document.clone()));
        Ok(Written { location: Location::Memory, notes: Vec::new() })
    }

    fn remove(&self, _commit: &Commit<'_>) -> Result<Removal, Error> {
        Ok(if self.swap(None).is_some() { Removal::Removed } else { Removal::Absent })
    }
}
