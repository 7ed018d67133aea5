//! What a process holds in memory of a login: the document, how long its token is good for, and the poison.

use std::sync::Arc;

use jiff::Timestamp;

use crate::document::{AuthDocument, Identity, Revision};
use crate::secret::{Fingerprint, Secret};
use crate::store::{self, Location, Note, Poison, Stored};

/// A login as this process knows it. It never changes; a new one takes its place.
#[derive(Clone, Debug)]
pub struct Snapshot {
    stored: Option<Stored>,
    poison: Option<Poison>,
    stale_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    uncommitted: Option<Arc<store::Error>>,
}

/// How a snapshot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// Its token can be handed out.
    Fresh,
    /// Its token is good still, and wants a successor.
    Stale,
    /// Its token has ended.
    Expired,
    /// Its refresh token is dead; no token is given out.
    Poisoned,
    /// There is no token in it.
    Empty,
}

impl Snapshot {
    pub(super) fn new(stored: Option<Stored>, poison: Option<Poison>) -> Self {
        let document = stored.as_ref().map(|stored| &stored.document);
        let poison =
            poison.filter(|poison| document.and_then(AuthDocument::fingerprint) == Some(poison.fingerprint));
        let stale_at = document.and_then(AuthDocument::stale_at);
        let expires_at = document.and_then(AuthDocument::expires_at);
        Self { stored, poison, stale_at, expires_at, uncommitted: None }
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> Option<&AuthDocument> {
        self.stored.as_ref().map(|stored| &stored.document)
    }

    /// Where the document is.
    #[must_use]
    pub fn location(&self) -> Option<&Location> {
        self.stored.as_ref().map(|stored| &stored.location)
    }

    /// What a person should hear about how the document is kept.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        self.stored.as_ref().map_or(&[], |stored| &stored.notes)
    }

    /// Why its refresh token is dead, if it is. The account stays visible in the document.
    #[must_use]
    pub fn poison(&self) -> Option<&Poison> {
        self.poison.as_ref()
    }

    /// When its token ends, if it tells.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// Whose login it is; of nobody, which matches anybody, when there is none.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.document().map(AuthDocument::identity).unwrap_or_default()
    }

    /// How it stands at `now`. Allocates nothing.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> Standing {
        let ended = |moment: Option<Timestamp>| moment.is_some_and(|moment| moment <= now);
        if self.poison.as_ref().is_some_and(|poison| poison.holds(now)) {
            Standing::Poisoned
        } else if self.bearer().is_none() {
            Standing::Empty
        } else if ended(self.expires_at) {
            Standing::Expired
        } else if ended(self.stale_at) {
            Standing::Stale
        } else {
            Standing::Fresh
        }
    }

    /// Why its tokens are in the rescue only, if they are. They are safe there, and the next holder of the lease commits
    /// them.
    #[must_use]
    pub fn uncommitted_because(&self) -> Option<&store::Error> {
        self.uncommitted.as_deref()
    }

    pub(super) fn uncommitted(self, because: store::Error) -> Self {
        Self { uncommitted: Some(Arc::new(because)), ..self }
    }

    pub(super) fn poisoned(&self, poison: &Poison) -> Self {
        Self { poison: Some(poison.clone()), ..self.clone() }
    }

    pub(super) fn bearer(&self) -> Option<&Secret> {
        self.document().and_then(AuthDocument::bearer)
    }

    pub(super) fn fingerprint(&self) -> Option<Fingerprint> {
        self.document().and_then(AuthDocument::fingerprint)
    }

    pub(super) fn revision(&self) -> Option<Revision> {
        self.document().map(AuthDocument::revision)
    }
}
