//! Keeping a login that was just obtained: nothing old is touched until the new one is safe.

use crate::config::StoreKind;
use crate::document::AuthDocument;
use crate::store::{
    self, Because, Choice, Deleted, Intent, Lease, Location, Note, Removal, Saved, Seen, Settled, State,
    Store, Stores, Written,
};

/// How often a store that moves under our hands is looked at again.
const TRIES: usize = 5;

/// What keeping a login did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Kept {
    /// Where the login is now.
    pub location: Location,
    /// Why there.
    pub because: Because,
    /// The login that it took the place of, if that could be read.
    pub superseded: Option<AuthDocument>,
    /// Where other copies were removed.
    pub removed: Vec<Location>,
    /// What a person should hear.
    pub notes: Vec<Note>,
}

/// Puts `document` into the store of `choice` under `lease`, replacing the login that is there.
///
/// The order is: write, read back and compare, configuration, `state.json`, then remove copies of the old login
/// elsewhere. A failure before the configuration leaves the old login as it was; one after it leaves the new one whole.
/// When two logins meet, the last to commit wins.
///
/// # Errors
/// As [`store::save`]; [`store::Error::NotKept`]; [`store::Error::Contended`].
pub fn keep(
    stores: &Stores,
    lease: &Lease,
    choice: &Choice,
    document: &AuthDocument,
) -> Result<Kept, store::Error> {
    let mut stores = stores.under(lease)?;
    let mut notes = Vec::new();
    // What cannot be finished, or belongs to nobody, is for the caller, who can ask the authority to take it back, or for
    // the next refresh.
    if matches!(store::settle(lease, &stores), Ok(Settled::Lost)) {
        notes.push(Note::TokensLost);
    }
    // An old login that cannot be read is no reason to refuse a new one.
    let old = stores.find().ok().and_then(|found| found.stored);
    let (mut state, note) = State::read(lease.home())?;
    notes.extend(note);

    let (kind, note) = match choice.kind {
        StoreKind::Auto => stores.automatic(),
        kind => (kind, None),
    };
    notes.extend(note);
    if kind == StoreKind::Keychain && document.fingerprint().is_some() {
        stores.keychain().make_sealing_key(lease, stores.deadline())?;
    }
    let store = stores.store(kind, None);
    let written = write(&stores, lease, &*store, document)?;
    notes.extend(written.notes);
    let now_in = written.location.kind();

    let in_keychain_before = state.store == Some(StoreKind::Keychain)
        || matches!(stores.settings().config.store, Some(StoreKind::Keychain | StoreKind::Auto))
        || old.as_ref().is_some_and(|old| old.location.kind() == StoreKind::Keychain);
    stores.settle(lease, choice.kind)?;
    // Another account's token is alive still, and its document may come back.
    let same = old.as_ref().filter(|old| old.document.identity().matches(&document.identity()));
    let replaced = same.and_then(|old| old.document.fingerprint());
    if let Some(fingerprint) = replaced.filter(|replaced| Some(*replaced) != document.fingerprint()) {
        state.spend(fingerprint);
    }
    // What was known of the token before is no news of this one.
    (state.poison, state.outcome, state.received_at) = (None, None, None);
    state.store = Some(now_in);
    state.write(lease)?;

    let other = match now_in {
        StoreKind::File => in_keychain_before.then_some(StoreKind::Keychain),
        _ => Some(StoreKind::File),
    };
    let mut removed = Vec::new();
    if let Some(other) = other {
        match clear(&stores, lease, &*stores.store(other, None)) {
            Ok(location) => removed.extend(location),
            Err(error) => notes.push(Note::NotRemoved { kind: other, reason: error.to_string() }),
        }
    }
    Ok(Kept {
        location: written.location,
        because: choice.because.clone(),
        superseded: old.map(|old| old.document),
        removed,
        notes,
    })
}

fn write(
    stores: &Stores,
    lease: &Lease,
    store: &dyn Store,
    document: &AuthDocument,
) -> Result<Written, store::Error> {
    for _ in 0..TRIES {
        let (seen, _) = Seen::in_store(store, stores.deadline())?;
        match store::save(lease, store, Intent::Login, seen, document) {
            Ok(Saved::Written(written)) => {
                return read_back(stores, store, seen, document, written);
            }
            Ok(Saved::Moved(_)) => {}
            // It may have arrived all the same: only the store itself can tell.
            Err(error) if error.is_unknown() => {
                return match store.load(stores.deadline()) {
                    Ok(Some(stored)) if stored.document.revision() == document.revision() => {
                        Ok(Written { location: stored.location, notes: Vec::new() })
                    }
                    _ => Err(error),
                };
            }
            Err(error) => return Err(error),
        }
    }
    Err(store::Error::Contended)
}

/// Whether what was written is there. When two logins meet, the last to commit wins, and the first was kept all the same.
fn read_back(
    stores: &Stores,
    store: &dyn Store,
    seen: Seen,
    document: &AuthDocument,
    mut written: Written,
) -> Result<Written, store::Error> {
    let (now, _) = Seen::in_store(store, stores.deadline())?;
    if now == Seen::Credential(document.revision()) {
        return Ok(written);
    }
    if now == seen || now == Seen::Nothing {
        return Err(store::Error::NotKept { location: written.location });
    }
    written.notes.push(Note::Overtaken { location: written.location.clone() });
    Ok(written)
}

/// Removes the copy in `store`, if there is one, and says where it was.
fn clear(stores: &Stores, lease: &Lease, store: &dyn Store) -> Result<Option<Location>, store::Error> {
    for _ in 0..TRIES {
        let (seen, copy) = Seen::in_store(store, stores.deadline())?;
        if seen == Seen::Nothing {
            return Ok(None);
        }
        match store::delete(lease, store, seen)? {
            Deleted::Gone(Removal::Absent) => return Ok(None),
            Deleted::Gone(_) => return Ok(copy.map(|copy| copy.location)),
            Deleted::Moved(_) => {}
        }
    }
    Err(store::Error::Contended)
}
