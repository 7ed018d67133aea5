//! Logins that were obtained and are neither stored nor revoked yet.

use std::fmt;
use std::sync::{Arc, Mutex};

use codex_auth_platform::sync::lock;
use tokio::sync::{oneshot, watch};

use super::commit::{StoreReport, commit_login};
use crate::authority;
use crate::document::AuthDocument;
use crate::store::{self, StoreChoice, Stores, Writer};

/// A login that was obtained and is not stored yet. Dropping it revokes the tokens that the authority issued for it.
///
/// The revocation runs on a thread of the library; [`PendingExchanges::finish`] waits for it.
#[derive(Debug)]
#[must_use = "a login that is dropped is revoked"]
pub struct PendingLogin {
    document: AuthDocument,
    /// Notifies the thread that got the tokens that they are stored; if this is dropped, that thread revokes them.
    committed: Option<oneshot::Sender<()>>,
}

impl PendingLogin {
    /// Creates a login with new tokens. The receiver gets a value once it is stored, and an error if it is dropped.
    pub(super) fn from_authority(document: AuthDocument) -> (Self, oneshot::Receiver<()>) {
        let (sender, committed) = oneshot::channel();
        (Self { document, committed: Some(sender) }, committed)
    }

    /// Returns the document to store.
    #[must_use]
    pub fn document(&self) -> &AuthDocument {
        &self.document
    }

    /// Stores it as [`commit_login`] does. If that fails, its tokens are revoked, unless it is in a store all the same
    /// or that cannot be found out.
    ///
    /// # Errors
    /// As [`commit_login()`].
    pub(super) fn commit(
        self,
        writer: &mut Writer<'_>,
        choice: &StoreChoice,
    ) -> Result<StoreReport, store::Error> {
        let report = commit_login(writer, choice, &self.document);
        let is_stored = match &report {
            Ok(_) => true,
            Err(error) => self.may_be_stored(writer.stores(), error),
        };
        if is_stored && let Some(sender) = self.committed {
            // The receiver may be gone only if its thread is.
            let _ = sender.send(());
        }
        report
    }

    /// Whether it may be stored although storing it failed with `error`.
    fn may_be_stored(&self, stores: &Stores, error: &store::Error) -> bool {
        match stores.find_readable() {
            Ok(found) => {
                found.stored.is_some_and(|stored| stored.document.revision() == self.document.revision())
            }
            // The store cannot be read: only errors after the write leave it open.
            Err(_) => error.is_unknown() || matches!(error, store::Error::WriteLost { .. }),
        }
    }
}

impl From<AuthDocument> for PendingLogin {
    /// Wraps a credential that the user supplied: the authority issued nothing for it, and nothing is revoked.
    fn from(document: AuthDocument) -> Self {
        Self { document, committed: None }
    }
}

/// The logins whose tokens may exist at the authority and are neither stored nor revoked yet. Clones share one list.
///
/// Await [`Self::finish`] before the program exits.
#[derive(Clone, Default)]
pub struct PendingExchanges(Arc<ExchangeList>);

#[derive(Default)]
struct ExchangeList {
    open: watch::Sender<usize>,
    failure: Mutex<Option<authority::Error>>,
}

impl PendingExchanges {
    /// Waits until the tokens of every login are stored or revoked. That takes at most the timeouts of a token exchange
    /// and a revocation, unless the caller itself still holds a [`PendingLogin`].
    ///
    /// # Errors
    /// A revocation failed since the last call: the tokens may stay valid until they expire.
    pub async fn finish(&self) -> Result<(), authority::Error> {
        // The sender lives in `self`, so this cannot fail.
        let _ = self.0.open.subscribe().wait_for(|open| *open == 0).await;
        let failure = lock(&self.0.failure).take();
        failure.map_or(Ok(()), Err)
    }

    pub(super) fn open(&self) -> OpenExchange {
        self.0.open.send_modify(|open| *open += 1);
        OpenExchange(self.clone())
    }
}

impl fmt::Debug for PendingExchanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchanges").field("open", &*self.0.open.borrow()).finish_non_exhaustive()
    }
}

/// One entry of [`PendingExchanges`], removed on drop.
pub(super) struct OpenExchange(PendingExchanges);

impl OpenExchange {
    pub(super) fn record_failure(&self, error: authority::Error) {
        lock(&self.0.0.failure).get_or_insert(error);
    }
}

impl Drop for OpenExchange {
    fn drop(&mut self) {
        self.0.0.open.send_modify(|open| *open -= 1);
    }
}
