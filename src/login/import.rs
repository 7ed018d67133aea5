//! Imports the login that Codex stores in its own keychain item.

use super::commit::{StoreReport, commit_login};
use crate::config::StoreKind;
use crate::document::AuthDocument;
use crate::store::{self, StoreChoice, Writer};

/// The result of an import.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ImportOutcome {
    /// It was stored here; the caller must refresh it.
    Stored(Box<StoreReport>),
    /// It is stored here already; the caller must refresh it.
    AlreadyStored,
    /// A successor of it is stored here: it was imported before.
    Superseded,
}

/// Stores `document`, which Codex stores in its own keychain item, according to `choice`.
///
/// Both programs then hold the same refresh token, and only one of them can spend it. The caller refreshes at once,
/// after which the login of this home is valid and Codex's is not. The login is in a store at every moment.
///
/// # Errors
/// - [`store::Error::HandedIn`]: Codex's item holds a login without a refresh token.
/// - [`store::Error::Occupied`]: another login is stored here.
/// - As [`commit_login`] and [`Writer::recover`].
pub fn import(
    writer: &mut Writer<'_>,
    choice: &StoreChoice,
    document: &AuthDocument,
) -> Result<ImportOutcome, store::Error> {
    if document.is_handed_in() {
        return Err(store::Error::HandedIn { location: writer.stores().location(StoreKind::Keychain) });
    }
    // An interrupted refresh is completed first, since it decides what is stored.
    let _ = writer.recover()?;
    if let Some(there) = writer.stores().find()?.stored {
        let spent =
            document.fingerprint().is_some_and(|fingerprint| writer.state().spent.contains(&fingerprint));
        return match () {
            () if there.document.revision() == document.revision() => Ok(ImportOutcome::AlreadyStored),
            () if spent && !there.document.identity().contradicts(&document.identity()) => {
                Ok(ImportOutcome::Superseded)
            }
            () => Err(store::Error::Occupied { location: there.location }),
        };
    }
    commit_login(writer, choice, document).map(|report| ImportOutcome::Stored(Box::new(report)))
}
