//! From the rescue into the store: the commit of what was bought, and the finishing of what another holder left.

use super::rescue::{self, Left, Purpose, Rescue};
use super::{Advanced, Error, Lease, Outcome, State, Stored, Stores, advance};
use crate::document::AuthDocument;
use crate::secret::Secret;

/// How the merging of a rescue into the store ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it may not have been done"]
#[expect(clippy::exhaustive_enums, reason = "every outcome is the caller's to handle")]
pub enum Committed {
    /// The store no longer held what was spent, so nothing was written.
    Moved,
    /// It was stored, and somebody has replaced it since; its tokens may have been spent for what is there now.
    Overtaken,
    /// It is stored, and was read back.
    Stored,
}

/// Merges `rescue` into the store that `stored` was read from, and reads it back.
///
/// # Errors
/// The store cannot be used; the rescue must stay.
pub fn commit(lease: &Lease, stores: &Stores, stored: &Stored, rescue: &Rescue) -> Result<Committed, Error> {
    let store = stores.store(stored.location.kind(), None);
    let (state, _) = State::read(lease.home())?;
    let merge = |document: &AuthDocument| document.with_successor(&rescue.tokens, rescue.received_at);
    let revision = match advance(lease, &*store, |document| descends(document, rescue, &state), merge)? {
        Advanced::Written(document, _) => document.revision(),
        Advanced::Moved(_) => return Ok(Committed::Moved),
    };
    match store.load(stores.deadline())? {
        Some(stored) if stored.document.revision() == revision => Ok(Committed::Stored),
        Some(_) | None => Ok(Committed::Overtaken),
    }
}

/// Notes in `state` that a token was spent for what is in `rescue`.
pub fn record(state: &mut State, rescue: &Rescue) {
    if rescue.child().is_some_and(|child| child != rescue.parent) {
        state.spend(rescue.parent);
    }
    state.received_at = Some(rescue.received_at);
    state.poison = None;
    state.outcome = Some(Outcome::committed(rescue.parent, rescue.received_at));
}

/// What became of the rescue of a home.
#[derive(Debug)]
#[must_use = "an orphan has to be taken back"]
#[expect(clippy::exhaustive_enums, reason = "every outcome is the caller's to handle")]
pub enum Settled {
    /// There is none any more.
    Clear,
    /// There was one that nobody can read any more; it has been removed, and its tokens are lost.
    Lost,
    /// It belongs to nothing that is stored, and is recorded as spent. It stays until somebody who can has asked the
    /// authority to take it back and called [`rescue::clear`].
    Orphan(Box<Rescue>),
}

/// Finishes what another holder of the lease left behind; whoever takes the lease does this before anything else.
///
/// A rescue is merged if the store still holds what was spent for it, and dropped if the store holds it already.
///
/// # Errors
/// The store or the rescue cannot be read, or the merged document cannot be stored. The rescue stays, and nothing may be
/// spent. [`Error::NoSealingKey`]: it is sealed, and neither its key nor a login is to be found.
pub fn settle(lease: &Lease, stores: &Stores) -> Result<Settled, Error> {
    if !rescue::is_there(lease)? {
        return Ok(Settled::Clear);
    }
    let rescue = match rescue::read(lease, &stores.keychain(), stores.deadline())? {
        None => return Ok(Settled::Clear),
        // Without a login in sight this may be another keychain than the one it was sealed for.
        Some(Left::Sealed) if stores.find()?.stored.is_none() => return Err(Error::NoSealingKey),
        // Nobody was told of these tokens, and nobody can have them back.
        Some(Left::Sealed | Left::Unreadable) => {
            rescue::clear(lease)?;
            return Ok(Settled::Lost);
        }
        Some(Left::Rescue(rescue)) => rescue,
    };
    let stored = stores.find()?.stored;
    let held = stored.as_ref().is_some_and(|stored| holds(&stored.document, &rescue));
    let merged = match stored {
        Some(stored) if !held && rescue.purpose == Purpose::Commit => {
            commit(lease, stores, &stored, &rescue)? != Committed::Moved
        }
        _ => held,
    };
    // The holder may have died between the commit and the record of it; and whatever was spent must be known as spent
    // before the last trace of it goes, or a copy that is put back would be sent again.
    let (mut state, _) = State::read(lease.home())?;
    if merged {
        record(&mut state, &rescue);
    } else {
        state.spend(rescue.parent);
    }
    state.write(lease)?;
    let foreign = rescue.is_foreign_to(stores.find()?.stored.as_ref().map(|stored| &stored.document));
    if !merged && (foreign || rescue.purpose == Purpose::Refused) {
        return Ok(Settled::Orphan(rescue));
    }
    rescue::clear(lease)?;
    Ok(Settled::Clear)
}

/// Whether every token of `rescue` is in `document`.
fn holds(document: &AuthDocument, rescue: &Rescue) -> bool {
    let Some(tokens) = document.tokens() else { return false };
    let same = |given: &Option<Secret>, stored: &Option<Secret>| given.is_none() || given == stored;
    same(&rescue.tokens.access_token, &tokens.access_token)
        && same(&rescue.tokens.refresh_token, &tokens.refresh_token)
}

/// Whether `document` holds what was spent for `rescue`, or an older state of that login that was put back.
fn descends(document: &AuthDocument, rescue: &Rescue, state: &State) -> bool {
    let Some(fingerprint) = document.fingerprint() else { return false };
    let old = fingerprint == rescue.parent || state.spent.contains(&fingerprint);
    old && !rescue.is_foreign_to(Some(document))
}
