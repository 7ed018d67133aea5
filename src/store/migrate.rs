//! Moving the login to another store: copy, read back, compare, and only then remove the old copy.

use codex_auth_platform::private_file::Removal;

use super::preference::is_copy;
use super::{
    Commit, Deleted, Error, Intent, Lease, Location, Note, Saved, Seen, Settled, State, Stored, Stores,
    delete, save, settle,
};
use crate::config::StoreKind;

/// Where a login can be moved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// `auth.json`.
    File,
    /// The system's keychain.
    Keychain,
}

impl Target {
    /// The store.
    #[must_use]
    pub fn kind(self) -> StoreKind {
        match self {
            Self::File => StoreKind::File,
            Self::Keychain => StoreKind::Keychain,
        }
    }
}

/// What a migration will do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The login to move.
    pub stored: Stored,
    /// Where to.
    pub target: Target,
    /// What is to be done about the document.
    pub action: Move,
    /// What a person should hear.
    pub notes: Vec<Note>,
}

/// What is to be done about the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Move {
    /// Copy it, then remove the old copy.
    Copy,
    /// It is there already; only what lies beside it is put in order.
    Stay,
}

/// What a migration did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Migrated {
    /// Where the login is now.
    pub location: Location,
    /// Whether the document moved.
    pub action: Move,
    /// Where copies were removed.
    pub removed: Vec<Location>,
    /// Copies that could not be removed, and why. The login has moved all the same.
    pub left: Vec<(StoreKind, String)>,
    /// What a person should hear.
    pub notes: Vec<Note>,
}

/// Looks where the login is and what moving it to `target` takes; `None` when nobody is logged in. Nothing is changed.
///
/// # Errors
/// As [`Stores::find`]; and [`Error::Keychain`] if the keychain is the target and cannot be used.
pub fn plan(stores: &Stores, target: Target) -> Result<Option<Plan>, Error> {
    let found = stores.find()?;
    let Some(stored) = found.stored else { return Ok(None) };
    if target == Target::Keychain {
        stores.keychain().check(stores.deadline())?;
    }
    let action = if stored.location.kind() == target.kind() { Move::Stay } else { Move::Copy };
    if (action, target) == (Move::Copy, Target::File) {
        stores.file().prove_replaceable()?;
    }
    if action == Move::Copy
        && let Ok(Some(there)) = stores.store(target.kind(), None).load(stores.deadline())
        && !is_copy(&there.document, &stored.document)
    {
        return Err(Error::Occupied { location: there.location });
    }
    Ok(Some(Plan { stored, target, action, notes: found.notes }))
}

/// Moves the login to `target` under `lease`; `None` when nobody is logged in.
///
/// The order is: copy, read back and compare, configuration, `state.json`, then remove the old copy. Whatever fails or
/// dies in between leaves a whole copy where a reader looks for it.
///
/// # Errors
/// - As [`plan`].
/// - [`Error::NotKept`]: what was read back is not the login; the old copy is untouched.
/// - [`Error::Contended`]: another program changed the login meanwhile; nothing was removed.
pub fn migrate(stores: &Stores, lease: &Lease, target: Target) -> Result<Option<Migrated>, Error> {
    let mut stores = stores.under(lease)?;
    // An orphan is for the caller, who can ask the authority to take it back, or for the next refresh.
    let settled = settle(lease, &stores)?;
    let Some(plan) = plan(&stores, target)? else { return Ok(None) };
    let Plan { stored, action, mut notes, .. } = plan;
    if matches!(settled, Settled::Lost) {
        notes.push(Note::TokensLost);
    }
    if target == Target::Keychain && stored.document.fingerprint().is_some() {
        stores.keychain().make_sealing_key(lease, stores.deadline())?;
    }
    let destination = stores.store(target.kind(), None);
    let mut done =
        Migrated { location: stored.location.clone(), action, removed: Vec::new(), left: Vec::new(), notes };
    let revision = stored.document.revision();
    if action == Move::Copy {
        let (seen, _) = Seen::in_store(&*destination, stores.deadline())?;
        match save(lease, &*destination, Intent::Keep, seen, &stored.document)? {
            Saved::Written(written) => {
                done.location = written.location;
                done.notes.extend(written.notes);
            }
            Saved::Moved(_) => return Err(Error::Contended),
        }
        let kept = destination.load(stores.deadline())?;
        if kept.is_none_or(|kept| kept.document.revision() != revision) {
            return Err(Error::NotKept { location: done.location });
        }
    }
    stores.settle(lease, target.kind())?;
    let (mut state, _) = State::read(lease.home())?;
    state.store = Some(target.kind());
    state.write(lease)?;

    let other = match target {
        Target::File => StoreKind::Keychain,
        Target::Keychain => StoreKind::File,
    };
    let old = stores.store(other, None);
    match old.load(stores.deadline()) {
        Ok(Some(copy)) if !is_copy(&copy.document, &stored.document) => {
            done.left
                .push((other, "it is another login; log out of it first if it is not wanted".to_owned()));
        }
        Ok(Some(copy)) => match delete(lease, &*old, Seen::Credential(copy.document.revision())) {
            Ok(Deleted::Gone(Removal::Removed)) => done.removed.push(copy.location),
            Ok(Deleted::Gone(_)) => {}
            Ok(Deleted::Moved(_)) => done.left.push((other, Error::Contended.to_string())),
            Err(error) => done.left.push((other, error.to_string())),
        },
        Ok(None) => {}
        // Where the login never was there is nothing to complain about.
        Err(_) if action == Move::Stay && target == Target::File => {}
        Err(error) => done.left.push((other, error.to_string())),
    }
    if target == Target::Keychain {
        let commit = Commit::begin(lease, Intent::Keep)?;
        if stores.keychain().remove_duplicates(&commit)? > 0 {
            done.removed.push(done.location.clone());
        }
    }
    Ok(Some(done))
}
