//! What a process holds in memory of a login: the document, how long its token is good for, and the poison.

use std::sync::Arc;

use jiff::Timestamp;

use super::error::Error;
use super::read_order::ReadTicket;
use super::unusable::{Unusable, forbidden};
use super::usability::Usability;
use crate::config::{ForbiddenLogin, Restrictions};
use crate::document::{AuthDocument, Identity, Revision, Validity};
use crate::external::{self, ExternalToken};
use crate::secret::{Fingerprint, Secret};
use crate::store::{self, ChangeAuthor, DocumentLocation, HomeState, Poison, StorageNote, StoredDocument};

/// A login as this process knows it. It never changes; a new one takes its place.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    stored: Option<StoredDocument>,
    provided: Option<ProvidedToken>,
    logging_out: Option<Fingerprint>,
    forbidden: Option<ForbiddenLogin>,
    poison: Option<Poison>,
    refusal: Option<Arc<external::Error>>,
    validity: Validity,
    departure: Option<Divergence>,
    record: RecordedState,
    look: ReadTicket,
}

/// A token of a provider, and the document of a ChatGPT token.
#[derive(Clone, Debug)]
struct ProvidedToken {
    token: ExternalToken,
    document: Option<AuthDocument>,
}

/// How a snapshot differs from what is stored.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Divergence {
    /// Another account has logged in since, and this process stays with its own ([`super::AccountPolicy::Stay`]).
    OtherAccount(Identity),
    /// Its tokens are in the rescue only. They are safe there, and the next holder of the lease commits them.
    Uncommitted(Arc<store::Error>),
    /// The store cannot be read any more; this is what it held. That is never a logout.
    Unreadable(Arc<store::Error>),
}

/// What the shared record said when a snapshot was taken.
#[derive(Clone, Debug, Default)]
pub(super) struct RecordedState {
    pub(super) generation: String,
    pub(super) by: Option<ChangeAuthor>,
    /// What the last outcome spent; nothing after a login.
    pub(super) spent: Option<Fingerprint>,
    /// The refresh tokens that were spent for others, of which the stored one may be a descendant.
    pub(super) ancestors: Vec<Fingerprint>,
}

/// How a snapshot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotStatus {
    /// Its token can be handed out.
    Fresh,
    /// Its token is good still, and wants a successor.
    Stale,
    /// Its token has ended.
    Expired,
    /// Its refresh token is dead, or its provider gives no other; no token is given out.
    Poisoned,
    /// There is no token in it.
    Empty,
}

impl Snapshot {
    /// The same where `restrictions` apply: a token for a workspace that they do not allow is withheld.
    pub(super) fn under(self, restrictions: &Restrictions) -> Self {
        let stored = self.stored.as_ref().map(|stored| &stored.document);
        Self { forbidden: stored.and_then(|document| forbidden(restrictions, document)), ..self }
    }

    pub(super) fn new(stored: Option<StoredDocument>, poison: Option<Poison>) -> Self {
        let document = stored.as_ref().map(|stored| &stored.document);
        let poison =
            poison.filter(|poison| document.and_then(AuthDocument::fingerprint) == Some(poison.fingerprint));
        let validity = document.map(AuthDocument::validity).unwrap_or_default();
        Self { stored, poison, validity, ..Self::default() }
    }

    /// A token of a provider's, which wants a successor from `stale_at` on. A ChatGPT token has a document too.
    pub(super) fn provided(token: ExternalToken, now: Timestamp, stale_at: Option<Timestamp>) -> Self {
        let document = token.to_document(now).ok();
        let validity = Validity::claimed(token.expires_at(), stale_at);
        let provided = Some(ProvidedToken { token, document });
        Self { validity, provided, ..Self::default() }
    }

    /// The same, of which its provider says that no successor will come.
    pub(super) fn refused(&self, refusal: Arc<external::Error>) -> Self {
        Self { refusal: Some(refusal), ..self.clone() }
    }

    /// The snapshot of what `look` has found, with what the shared record said of it.
    pub(super) fn found(look: ReadTicket, stored: Option<StoredDocument>, state: HomeState) -> Self {
        let logging_out = stored.as_ref().and_then(|stored| state.ending(&stored.document));
        let spent = state.outcome.map(|outcome| outcome.fingerprint);
        let record =
            RecordedState { generation: state.generation, by: state.by, spent, ancestors: state.spent };
        Self { record, logging_out, look, ..Self::new(stored, state.poison) }
    }

    #[cfg(test)]
    pub(crate) fn of(document: AuthDocument) -> Self {
        let location = DocumentLocation::File("auth.json".into());
        Self::new(Some(StoredDocument { document, location, notes: Vec::new() }), None)
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> Option<&AuthDocument> {
        match &self.provided {
            Some(provided) => provided.document.as_ref(),
            None => self.stored.as_ref().map(|stored| &stored.document),
        }
    }

    /// Where the document is.
    #[must_use]
    pub fn location(&self) -> Option<&DocumentLocation> {
        self.stored.as_ref().map(|stored| &stored.location)
    }

    /// What a person should hear about how the document is kept.
    #[must_use]
    pub fn notes(&self) -> &[StorageNote] {
        self.stored.as_ref().map_or(&[], |stored| &stored.notes)
    }

    /// The name of the token that it hands out.
    #[must_use]
    pub fn bearer_fingerprint(&self) -> Option<Fingerprint> {
        self.bearer().map(Secret::fingerprint)
    }

    /// Why its refresh token is dead, if it is. The account stays visible in the document.
    #[must_use]
    pub fn poison(&self) -> Option<&Poison> {
        self.poison.as_ref()
    }

    /// The token of a provider, where it is not a login that is stored.
    #[must_use]
    pub fn external_token(&self) -> Option<&ExternalToken> {
        self.provided.as_ref().map(|provided| &provided.token)
    }

    /// Why the provider gives no token any more, if it does not.
    #[must_use]
    pub fn refusal(&self) -> Option<&Arc<external::Error>> {
        self.refusal.as_ref()
    }

    /// When its token ends by the clock that says `now`, if it tells.
    #[must_use]
    pub fn expires_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.validity.expires_at(now)
    }

    /// Account and user of the login; empty when logged out.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.document().map(AuthDocument::identity).unwrap_or_default()
    }

    /// The workspace that its token acts for; see [`AuthDocument::workspace`].
    #[must_use]
    pub fn workspace(&self) -> Option<String> {
        self.document().and_then(AuthDocument::workspace)
    }

    /// Whether this is the login of `before`, with the tokens of then or with later ones. Where a document does not say whose
    /// it is, only the record of what was spent can tell. What is no account, as an API key, is taken for the same.
    pub(super) fn is_same_login_as(&self, before: &Self) -> bool {
        let contradicts = self.identity().contradicts(&before.identity());
        let account = |snapshot: &'_ Self| {
            snapshot.stored.as_ref().is_some_and(|stored| stored.document.tokens().is_some())
        };
        if !account(self) || !account(before) {
            return !contradicts;
        }
        let known = |document: &AuthDocument| {
            before.document().is_some_and(|before| document.is_same_login_as(before))
        };
        let descends = before.fingerprint().is_some_and(|name| self.record.ancestors.contains(&name));
        self.document().is_some_and(known) || (descends && !contradicts)
    }

    /// How it stands at `now`. Allocates nothing.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> SnapshotStatus {
        let ended = |moment: Option<Timestamp>| moment.is_some_and(|moment| moment <= now);
        if self.refusal.is_some() || self.poison.as_ref().is_some_and(|poison| poison.holds(now)) {
            SnapshotStatus::Poisoned
        } else if self.bearer().is_none() {
            SnapshotStatus::Empty
        } else if ended(self.validity.expires_at(now)) {
            SnapshotStatus::Expired
        } else if ended(self.validity.stale_at(now)) {
            SnapshotStatus::Stale
        } else {
            SnapshotStatus::Fresh
        }
    }

    /// Whether it is expected to yield a token at `now`, by what is in memory.
    #[must_use]
    pub fn usability(&self, now: Timestamp) -> Usability {
        if let Some(Divergence::Unreadable(error)) = &self.departure {
            return Usability::Unusable(Error::Store(Arc::clone(error)));
        }
        if let Some(refusal) = &self.refusal {
            return Usability::Unusable(Error::Provider(Arc::clone(refusal)));
        }
        if self.external_token().is_some_and(|token| token.lives(now)) {
            return Usability::Usable;
        }
        let reason = Unusable::of(self.document(), self.poison(), self.logging_out, now);
        match reason.or_else(|| self.forbidden.clone().map(Unusable::Forbidden)) {
            Some(reason) => Usability::Unusable(reason.into()),
            None => Usability::Usable,
        }
    }

    /// How it differs from what is stored, if it does.
    #[must_use]
    pub fn departure(&self) -> Option<&Divergence> {
        self.departure.as_ref()
    }

    /// Which process left the login as it is here, as far as that is known.
    #[must_use]
    pub fn author(&self) -> Option<&ChangeAuthor> {
        self.record.by.as_ref()
    }

    pub(super) fn departed(self, departure: Divergence) -> Self {
        Self { departure: Some(departure), ..self }
    }

    /// The same login, with what the shared record says now.
    pub(super) fn recorded_as(self, stored: &Self) -> Self {
        Self { record: stored.record.clone(), ..self }
    }

    pub(super) fn written_by(mut self, author: Option<ChangeAuthor>) -> Self {
        self.record.by = author;
        self
    }

    pub(super) fn poisoned(&self, poison: &Poison) -> Self {
        Self { poison: Some(poison.clone()), ..self.clone() }
    }

    /// Whether the poison of this very token is this process's own knowledge, which the shared record could not take.
    pub(super) fn is_sure_of_poison(&self, stored: &Self) -> bool {
        self.poison.is_some() && stored.poison.is_none() && self.fingerprint() == stored.fingerprint()
    }

    /// A mere look clears no poison; only another credential does.
    pub(super) fn keeping_poison_of(self, old: &Self) -> Self {
        if old.is_sure_of_poison(&self) { Self { poison: old.poison.clone(), ..self } } else { self }
    }

    /// The look that found it.
    pub(super) fn look(&self) -> ReadTicket {
        self.look
    }

    pub(super) fn record(&self) -> &RecordedState {
        &self.record
    }

    pub(crate) fn bearer(&self) -> Option<&Secret> {
        match &self.provided {
            Some(provided) => Some(provided.token.access_token()),
            None if self.logging_out.is_some() || self.forbidden.is_some() => None,
            None => self.document().and_then(AuthDocument::bearer),
        }
    }

    /// Whether there is a credential in it, of whatever kind.
    pub(super) fn is_login(&self) -> bool {
        self.stored.is_some() || self.provided.is_some()
    }

    pub(crate) fn fingerprint(&self) -> Option<Fingerprint> {
        self.document().and_then(AuthDocument::fingerprint)
    }

    pub(super) fn revision(&self) -> Option<Revision> {
        self.document().map(AuthDocument::revision)
    }

    /// Whether both hold the same credential.
    pub(super) fn holds_the_same_as(&self, other: &Self) -> bool {
        let token = |snapshot: &Self| snapshot.external_token().map(ExternalToken::fingerprint);
        self.revision() == other.revision() && token(self) == token(other)
    }

    pub(super) fn is_dead(&self) -> bool {
        self.poison.is_some() || self.refusal.is_some()
    }
}
