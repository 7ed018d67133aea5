//! Ending a login on this machine: every copy is removed, and whatever could not be is reported.

use crate::config::{LegacyToken, StoreKind};
use crate::store::{self, Deleted, Lease, Location, Note, Removal, Seen, State, Stores, delete};

/// How often a copy that another program replaces meanwhile is gone for again.
const TRIES: usize = 2;

/// What a local logout did.
#[derive(Debug)]
#[non_exhaustive]
pub struct LoggedOut {
    /// Where copies were removed.
    pub removed: Vec<Location>,
    /// Stores that hold or may hold a copy still, and why.
    pub failed: Vec<(StoreKind, store::Error)>,
    /// Whether an `auth_token` of old builds was removed from `config.toml`.
    pub legacy_token: LegacyToken,
    /// What a person should hear.
    pub notes: Vec<Note>,
}

/// Removes every copy of the login of a place under `lease`, in all stores, without telling the authority. A store that
/// fails does not keep the others from being tried.
///
/// A keychain that cannot be looked into counts as failed only where the configuration or our record says that it was
/// used; elsewhere it gets a note.
///
/// # Errors
/// The configuration or our record cannot be read or written.
pub fn local(stores: &Stores, lease: &Lease) -> Result<LoggedOut, store::Error> {
    let mut stores = stores.under(lease)?;
    let (state, note) = State::read(lease.place())?;
    let mut done = LoggedOut {
        removed: Vec::new(),
        failed: Vec::new(),
        legacy_token: LegacyToken::Absent,
        notes: note.into_iter().collect(),
    };
    let uses_keychain = state.store == Some(StoreKind::Keychain)
        || matches!(stores.settings().config.store, Some(StoreKind::Keychain | StoreKind::Auto));
    for kind in [StoreKind::File, StoreKind::Keychain] {
        match remove(&stores, lease, kind) {
            Ok(location) => done.removed.extend(location),
            Err(error) if kind == StoreKind::Keychain && !uses_keychain => {
                if error.hides_a_login() {
                    done.notes.push(Note::KeychainPassedOver { reason: error.to_string() });
                }
            }
            Err(error) => done.failed.push((kind, error)),
        }
    }
    if done.failed.is_empty() {
        State::default().write(lease)?;
    }
    done.legacy_token = stores.remove_legacy_token(lease)?;
    Ok(done)
}

fn remove(stores: &Stores, lease: &Lease, kind: StoreKind) -> Result<Option<Location>, store::Error> {
    let store = stores.store(kind, None);
    for _ in 0..TRIES {
        let (seen, copy) = Seen::in_store(&*store, stores.deadline())?;
        if seen == Seen::Nothing {
            return Ok(None);
        }
        match delete(lease, &*store, seen)? {
            Deleted::Gone(Removal::Absent) => return Ok(None),
            Deleted::Gone(_) => {
                let named = copy.map(|copy| copy.location);
                return Ok(Some(named.unwrap_or_else(|| stores.location(kind))));
            }
            Deleted::Moved(_) => {}
        }
    }
    Err(store::Error::Contended)
}
