//! A login that was obtained and is not stored yet.

use tokio::sync::oneshot;

use super::{StoreReport, keep};
use crate::document::AuthDocument;
use crate::store::{self, StoreChoice, Stores, Writer};

/// A login that was obtained and is not stored yet. Dropping it revokes the tokens that the authority issued for it.
///
/// The revocation runs on a thread of the library; [`super::PendingExchanges::finish`] waits for it.
#[derive(Debug)]
#[must_use = "a login that is dropped is revoked"]
pub struct PendingLogin {
    document: AuthDocument,
    /// Tells the thread that got the tokens that they are stored; it revokes them if this is dropped instead.
    kept: Option<oneshot::Sender<()>>,
}

impl PendingLogin {
    /// A login with new tokens, and the word that it was stored: an error if it was dropped.
    pub(super) fn issued(document: AuthDocument) -> (Self, oneshot::Receiver<()>) {
        let (tell, kept) = oneshot::channel();
        (Self { document, kept: Some(tell) }, kept)
    }

    /// The document that is to be stored.
    #[must_use]
    pub fn document(&self) -> &AuthDocument {
        &self.document
    }

    /// Stores it as [`keep()`] does. A login that could not be stored is revoked, unless a store has it all the same, or
    /// cannot tell.
    ///
    /// # Errors
    /// As [`keep()`].
    pub fn keep(self, writer: &mut Writer<'_>, choice: &StoreChoice) -> Result<StoreReport, store::Error> {
        let kept = keep(writer, choice, &self.document);
        let is_stored = match &kept {
            Ok(_) => true,
            Err(error) => self.may_be_in(writer.stores(), error),
        };
        if is_stored && let Some(tell) = self.kept {
            // The thread waits for nothing else.
            let _ = tell.send(());
        }
        kept
    }

    /// Whether it may be stored although storing it failed with `error`.
    fn may_be_in(&self, stores: &Stores, error: &store::Error) -> bool {
        match stores.find() {
            Ok(found) => {
                found.stored.is_some_and(|stored| stored.document.revision() == self.document.revision())
            }
            // Then only an error after the write leaves it open.
            Err(_) => error.is_unknown() || matches!(error, store::Error::NotKept { .. }),
        }
    }
}

impl From<AuthDocument> for PendingLogin {
    /// A credential that the user brought along: the authority issued nothing for it, and nothing is revoked.
    fn from(document: AuthDocument) -> Self {
        Self { document, kept: None }
    }
}
