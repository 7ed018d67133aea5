//! Taking over a login that Codex keeps for itself, so that the live one is ours.

use crate::document::AuthDocument;
use crate::store::{self, Choice, Lease, Stores};

use super::{Kept, keep};

/// What became of a login that was to be taken over.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TakeOver {
    /// It is kept here from now on, and is to be refreshed.
    Kept(Box<Kept>),
    /// It was here already, and is still to be refreshed.
    Copied,
    /// A successor of it is here: it was taken over before.
    Superseded,
}

/// Keeps `document`, which Codex keeps in an item of its own, in the store of `choice` under `lease`.
///
/// Both programs then have the same refresh token, and only one of them can spend it: the caller refreshes at once, by
/// which the login of this home becomes the live one and that of Codex ends. Until then nothing was spent, and after it
/// the successor is where every refresh puts it; so the login is in a store at every moment.
///
/// # Errors
/// - [`store::Error::Occupied`]: somebody else is logged in here, or the same person with another login.
/// - As [`keep`].
pub fn take_over(
    stores: &Stores,
    lease: &Lease,
    choice: &Choice,
    document: &AuthDocument,
) -> Result<TakeOver, store::Error> {
    let here = stores.under(lease)?;
    // A refresh that was cut off is finished first, since it decides what is stored; how it ended is not for this caller.
    let _ = store::settle(lease, &here)?;
    let (state, _) = store::State::read(lease.home())?;
    if let Some(there) = here.find()?.stored {
        let spent = document.fingerprint().is_some_and(|fingerprint| state.spent.contains(&fingerprint));
        return match there.document.identity().matches(&document.identity()) {
            true if there.document.revision() == document.revision() => Ok(TakeOver::Copied),
            true if spent => Ok(TakeOver::Superseded),
            _ => Err(store::Error::Occupied { location: there.location }),
        };
    }
    keep(stores, lease, choice, document).map(|kept| TakeOver::Kept(Box::new(kept)))
}
