//! Importing a login that Codex keeps for itself, so that the live one is ours.

use crate::document::AuthDocument;
use crate::store::{self, StoreChoice, Writer};

use super::{StoreReport, keep};

/// What became of a login that was to be imported.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ImportOutcome {
    /// It is stored here from now on, and is to be refreshed.
    Kept(Box<StoreReport>),
    /// It was here already, and is still to be refreshed.
    Copied,
    /// A successor of it is here: it was imported before.
    Superseded,
}

/// Stores `document`, which Codex keeps in an item of its own, by `choice`.
///
/// Both programs then have the same refresh token, and only one of them can spend it: the caller refreshes at once, by
/// which the login of this home becomes the live one and that of Codex ends. Until then nothing was spent, and after it
/// the successor is where every refresh puts it; so the login is in a store at every moment.
///
/// # Errors
/// - [`store::Error::Occupied`]: somebody else is logged in here, or the same person with another login.
/// - As [`keep`] and [`Writer::recover`].
pub fn import(
    writer: &mut Writer<'_>,
    choice: &StoreChoice,
    document: &AuthDocument,
) -> Result<ImportOutcome, store::Error> {
    // A refresh that was cut off is completed first, since it decides what is stored.
    let _ = writer.recover()?;
    if let Some(there) = writer.stores().find()?.stored {
        let spent =
            document.fingerprint().is_some_and(|fingerprint| writer.state().spent.contains(&fingerprint));
        return match () {
            () if there.document.revision() == document.revision() => Ok(ImportOutcome::Copied),
            () if spent && !there.document.identity().contradicts(&document.identity()) => {
                Ok(ImportOutcome::Superseded)
            }
            () => Err(store::Error::Occupied { location: there.location }),
        };
    }
    keep(writer, choice, document).map(|kept| ImportOutcome::Kept(Box::new(kept)))
}
