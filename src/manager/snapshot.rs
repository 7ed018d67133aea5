//! A login in memory.

use std::sync::Arc;

use jiff::Timestamp;

use super::error::{Error, Unusable, Usability};
use super::permission::permit_document;
use super::read_order::ReadTicket;
use super::renewal::Renewal;
use crate::config::{ForbiddenLogin, Restrictions};
use crate::document::{AuthDocument, Identity, Revision, Validity};
use crate::external::{self, ExternalToken};
use crate::secret::{Fingerprint, Secret};
use crate::store::{
    self, ChangeAuthor, DocumentLocation, Holder, HomeState, Poison, StorageNote, StoredDocument,
};

/// The login as a process last read it. Immutable; a change produces a new snapshot.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    stored: Option<StoredDocument>,
    provided: Option<ProvidedToken>,
    logging_out: Option<Fingerprint>,
    /// The process that is logging out, if it was running when the login was read.
    logout_holder: Option<Holder>,
    forbidden: Option<ForbiddenLogin>,
    poison: Option<Poison>,
    refusal: Option<Arc<external::Error>>,
    validity: Validity,
    divergence: Option<Divergence>,
    record: RecordedState,
    read_ticket: ReadTicket,
    renewal: Renewal,
}

/// A provider's token, with a document if it is a ChatGPT token.
#[derive(Clone, Debug)]
struct ProvidedToken {
    token: ExternalToken,
    document: Option<AuthDocument>,
}

/// How a snapshot differs from the store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Divergence {
    /// Another account is stored, and this process keeps its own ([`super::AccountPolicy::Stay`]).
    OtherAccount(Identity),
    /// Its tokens are in the rescue only; the next lease holder commits them.
    Uncommitted(Arc<store::Error>),
    /// The store cannot be read; the snapshot is what it held before. This is not a logout.
    Unreadable(Arc<store::Error>),
}

/// The part of `state.json` that belongs to a snapshot.
#[derive(Clone, Debug, Default)]
pub(super) struct RecordedState {
    pub(super) generation: String,
    pub(super) author: Option<ChangeAuthor>,
    /// The refresh token that the last refresh spent; `None` after a login.
    pub(super) spent: Option<Fingerprint>,
    /// Spent refresh tokens; the stored one may descend from them.
    pub(super) ancestors: Vec<Fingerprint>,
}

/// The status of a snapshot's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotStatus {
    /// The token is valid.
    Fresh,
    /// The token is valid but should be refreshed.
    Stale,
    /// The token has expired.
    Expired,
    /// The refresh token or the provider failed permanently; no token is served.
    Poisoned,
    /// There is no token.
    Empty,
}

impl Snapshot {
    /// Applies `restrictions`: the token of a login that they forbid is not served.
    pub(super) fn restricted_by(self, restrictions: &Restrictions) -> Self {
        let stored = self.stored.as_ref().map(|stored| &stored.document);
        Self { forbidden: stored.and_then(|document| permit_document(restrictions, document).err()), ..self }
    }

    /// Adds the process that runs the recorded logout, which `holder` looks up.
    pub(super) fn with_logout_holder(self, holder: impl FnOnce() -> Option<Holder>) -> Self {
        Self { logout_holder: self.logging_out.and_then(|_| holder()), ..self }
    }

    pub(super) fn new(stored: Option<StoredDocument>, poison: Option<Poison>) -> Self {
        let document = stored.as_ref().map(|stored| &stored.document);
        let poison =
            poison.filter(|poison| document.and_then(AuthDocument::fingerprint) == Some(poison.fingerprint));
        let validity = document.map(AuthDocument::validity).unwrap_or_default();
        Self { stored, poison, validity, ..Self::default() }
    }

    /// Returns a snapshot of a provider's token, which is stale from `stale_at`.
    pub(super) fn provided(token: ExternalToken, now: Timestamp, stale_at: Option<Timestamp>) -> Self {
        let document = token.to_document(now).ok();
        let validity = Validity::claimed(token.expires_at(), stale_at);
        let provided = Some(ProvidedToken { token, document });
        Self { validity, provided, ..Self::default() }
    }

    /// Returns a copy with a permanent failure of its provider.
    pub(super) fn with_refusal(&self, refusal: Arc<external::Error>) -> Self {
        Self { refusal: Some(refusal), ..self.clone() }
    }

    /// Returns the snapshot of a read, with the state that was read before it.
    pub(super) fn from_read(ticket: ReadTicket, stored: Option<StoredDocument>, state: HomeState) -> Self {
        let logging_out = stored.as_ref().and_then(|stored| state.logout_token(&stored.document));
        let spent = state.outcome.map(|outcome| outcome.fingerprint);
        let record =
            RecordedState { generation: state.generation, author: state.by, spent, ancestors: state.spent };
        Self { record, logging_out, read_ticket: ticket, ..Self::new(stored, state.poison) }
    }

    #[cfg(test)]
    pub(crate) fn of(document: AuthDocument) -> Self {
        let location = DocumentLocation::File("auth.json".into());
        Self::new(Some(StoredDocument { document, location, notes: Vec::new() }), None)
    }

    /// Returns the document.
    #[must_use]
    pub fn document(&self) -> Option<&AuthDocument> {
        match &self.provided {
            Some(provided) => provided.document.as_ref(),
            None => self.stored.as_ref().map(|stored| &stored.document),
        }
    }

    /// Returns where the next token comes from.
    #[must_use]
    pub fn renewal(&self) -> Renewal {
        self.renewal
    }

    /// Returns whether a process of this home can obtain another token: from its refresh token, or from its fleet.
    #[must_use]
    pub fn is_refreshable(&self) -> bool {
        self.fingerprint().is_some() || self.renewal == Renewal::Fleet
    }

    pub(super) fn renewed_by(self, renewal: Renewal) -> Self {
        Self { renewal, ..self }
    }

    pub(super) fn stored(&self) -> Option<&StoredDocument> {
        self.stored.as_ref()
    }

    /// Returns where the document is stored.
    #[must_use]
    pub fn location(&self) -> Option<&DocumentLocation> {
        self.stored.as_ref().map(|stored| &stored.location)
    }

    /// Returns warnings about how the document is stored.
    #[must_use]
    pub fn notes(&self) -> &[StorageNote] {
        self.stored.as_ref().map_or(&[], |stored| &stored.notes)
    }

    /// Returns the fingerprint of the bearer token.
    #[must_use]
    pub fn bearer_fingerprint(&self) -> Option<Fingerprint> {
        self.bearer().map(Secret::fingerprint)
    }

    /// Returns the permanent failure of the refresh token. The document stays available.
    #[must_use]
    pub fn poison(&self) -> Option<&Poison> {
        self.poison.as_ref()
    }

    /// Returns the provider's token, if it comes from a provider.
    #[must_use]
    pub fn external_token(&self) -> Option<&ExternalToken> {
        self.provided.as_ref().map(|provided| &provided.token)
    }

    /// Returns the permanent failure of the provider.
    #[must_use]
    pub fn refusal(&self) -> Option<&Arc<external::Error>> {
        self.refusal.as_ref()
    }

    /// Returns when the token expires, by a clock that reads `now`; `None` if unknown.
    #[must_use]
    pub fn expires_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.validity.expires_at(now)
    }

    /// Returns account id and user id; empty when logged out.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.document().map(AuthDocument::identity).unwrap_or_default()
    }

    /// Returns the workspace of the access token; see [`AuthDocument::workspace`].
    #[must_use]
    pub fn workspace(&self) -> Option<String> {
        self.document().and_then(AuthDocument::workspace)
    }

    /// Whether this is the same login as `before`, with the same or later tokens. Documents without ids are compared by
    /// spent tokens. Documents without an account, such as API keys, count as the same.
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

    /// Returns the status of the token at `now`. Does not allocate.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> SnapshotStatus {
        let ended = |moment: Option<Timestamp>| moment.is_some_and(|moment| moment <= now);
        if self.refusal.is_some() || self.poison.as_ref().is_some_and(|poison| poison.is_active(now)) {
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

    /// Returns whether a token can be obtained at `now`, by what is in memory.
    #[must_use]
    pub fn usability(&self, now: Timestamp) -> Usability {
        if let Some(Divergence::Unreadable(error)) = &self.divergence {
            return Usability::Unusable(Error::Store(Arc::clone(error)));
        }
        if let Some(refusal) = &self.refusal {
            return Usability::Unusable(Error::Provider(Arc::clone(refusal)));
        }
        if self.external_token().is_some_and(|token| token.is_valid_at(now)) {
            return Usability::Usable;
        }
        let reason = Unusable::of(self.document(), self.poison(), self.logging_out, now);
        let reason = match (reason, &self.logout_holder) {
            (Some(Unusable::NotReplaced), _) if self.renewal == Renewal::Fleet => None,
            (Some(Unusable::LoggingOut), Some(holder)) => Some(Unusable::LogoutRunning(holder.clone())),
            (reason, _) => reason,
        };
        match reason.or_else(|| self.forbidden.clone().map(Unusable::Forbidden)) {
            Some(reason) => Usability::Unusable(reason.into()),
            None => Usability::Usable,
        }
    }

    /// Returns how the snapshot differs from the store, if it does.
    #[must_use]
    pub fn divergence(&self) -> Option<&Divergence> {
        self.divergence.as_ref()
    }

    /// Returns the process that made the last change, if known.
    #[must_use]
    pub fn author(&self) -> Option<&ChangeAuthor> {
        self.record.author.as_ref()
    }

    pub(super) fn diverging(self, departure: Divergence) -> Self {
        Self { divergence: Some(departure), ..self }
    }

    /// Returns the same login with the recorded state of `stored`.
    pub(super) fn with_record_of(self, stored: &Self) -> Self {
        Self { record: stored.record.clone(), ..self }
    }

    pub(super) fn with_author(mut self, author: Option<ChangeAuthor>) -> Self {
        self.record.author = author;
        self
    }

    pub(super) fn with_poison(&self, poison: &Poison) -> Self {
        Self { poison: Some(poison.clone()), ..self.clone() }
    }

    /// Whether the token's poison is known to this process only, because it could not be recorded.
    pub(super) fn has_unrecorded_poison(&self, stored: &Self) -> bool {
        self.poison.is_some() && stored.poison.is_none() && self.fingerprint() == stored.fingerprint()
    }

    /// Keeps an unrecorded poison: a read clears it only with another credential.
    pub(super) fn keeping_poison_of(self, old: &Self) -> Self {
        if old.has_unrecorded_poison(&self) { Self { poison: old.poison.clone(), ..self } } else { self }
    }

    /// Returns the position of the read that produced it.
    pub(super) fn read_ticket(&self) -> ReadTicket {
        self.read_ticket
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

    /// Whether it holds a credential of any kind.
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
    pub(super) fn has_same_credential_as(&self, other: &Self) -> bool {
        let token = |snapshot: &Self| snapshot.external_token().map(ExternalToken::fingerprint);
        self.revision() == other.revision() && token(self) == token(other)
    }

    pub(super) fn has_failed_permanently(&self) -> bool {
        self.poison.is_some() || self.refusal.is_some()
    }
}
