//! Imports the login that Codex stores in its own keychain item.

use std::time::Duration;

use super::commit::{StoreReport, commit_login};
use crate::config::{StoreKind, StoreSelection};
use crate::document::AuthDocument;
use crate::store::{
    self, DocumentLocation, Lease, LockDeadline, PromptPolicy, StoreChoice, StoredDocument, Stores, Waiting,
    Writer,
};

/// The import of the login that Codex stores in its own keychain item.
#[derive(Clone, Debug)]
pub struct CodexImport {
    stores: Stores,
    choice: StoreChoice,
}

/// Where Codex stores its login.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a caller must handle every case")]
pub enum ImportSource {
    /// In the item at this location, which this library uses too: nothing is to import.
    Shared(DocumentLocation),
    /// In an item of its own.
    Separate(Box<CodexImport>),
}

/// The result of an import.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ImportOutcome {
    /// It was stored here.
    Stored(Box<StoreReport>),
    /// It is stored here already.
    AlreadyStored(DocumentLocation),
    /// A successor of it is stored here: it was imported before.
    Superseded(DocumentLocation),
}

impl ImportOutcome {
    /// Returns where the login is stored.
    #[must_use]
    pub fn location(&self) -> &DocumentLocation {
        match self {
            Self::Stored(report) => &report.location,
            Self::AlreadyStored(location) | Self::Superseded(location) => location,
        }
    }

    /// Returns whether Codex and this home hold the same refresh token, which only one of them can spend. The caller
    /// refreshes at once, after which the login of this home is valid and Codex's is not.
    #[must_use]
    pub fn needs_refresh(&self, document: &AuthDocument) -> bool {
        !matches!(self, Self::Superseded(_)) && document.fingerprint().is_some()
    }
}

impl CodexImport {
    /// Checks that a login can be stored in the store `to`, or in the one that is chosen without it. Reads nothing of
    /// Codex's.
    ///
    /// # Errors
    /// As [`Stores::choose`] and [`Stores::check`].
    pub fn begin(stores: &Stores, to: Option<StoreKind>) -> Result<ImportSource, store::Error> {
        let keychain = stores.keychain();
        if keychain.shares_codex_item() {
            return Ok(ImportSource::Shared(keychain.location()));
        }
        let choice = stores.choose(to.map(StoreSelection::from))?;
        stores.check(&choice)?;
        Ok(ImportSource::Separate(Box::new(Self { stores: stores.clone(), choice })))
    }

    /// Reads the login of Codex, if there is one. With [`PromptPolicy::Allowed`] the system may ask the user, who has
    /// `within` to answer.
    ///
    /// # Errors
    /// [`store::Error::Keychain`], [`store::Error::Document`].
    pub fn read(
        &self,
        prompts: PromptPolicy,
        within: Duration,
    ) -> Result<Option<StoredDocument>, store::Error> {
        self.stores.keychain().read_codex_item(prompts, within)
    }

    /// Stores `document`, the login of Codex, here. It is in a store at every moment. Calls `on_wait` while another
    /// process holds the lease.
    ///
    /// # Errors
    /// - [`store::Error::HandedIn`]: Codex's item holds a login without a refresh token.
    /// - [`store::Error::Occupied`]: another login is stored here.
    /// - As [`Lease::acquire`], [`commit_login`] and [`Writer::recover`].
    pub fn commit(
        &self,
        document: &AuthDocument,
        limit: impl Into<LockDeadline>,
        on_wait: impl FnMut(&Waiting<'_>),
    ) -> Result<ImportOutcome, store::Error> {
        if document.is_handed_in() {
            return Err(store::Error::HandedIn { location: self.stores.location(StoreKind::Keychain) });
        }
        let lease = Lease::acquire(self.stores.home(), limit, on_wait)?;
        let mut writer = self.stores.writer(&lease)?;
        // An interrupted refresh is completed first, since it decides what is stored.
        let _ = writer.recover()?;
        match writer.stores().find()?.stored {
            Some(there) => compare(&writer, there, document),
            None => commit_login(&mut writer, &self.choice, document)
                .map(|report| ImportOutcome::Stored(Box::new(report))),
        }
    }
}

/// Compares `document` with the login that is stored here.
fn compare(
    writer: &Writer<'_>,
    there: StoredDocument,
    document: &AuthDocument,
) -> Result<ImportOutcome, store::Error> {
    let spent = document.fingerprint().is_some_and(|fingerprint| writer.state().spent.contains(&fingerprint));
    match () {
        () if there.document.revision() == document.revision() => {
            Ok(ImportOutcome::AlreadyStored(there.location))
        }
        () if spent && !there.document.identity().contradicts(&document.identity()) => {
            Ok(ImportOutcome::Superseded(there.location))
        }
        () => Err(store::Error::Occupied { location: there.location }),
    }
}
