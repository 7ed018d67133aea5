//! What has happened between two snapshots, in one word.

use std::fmt;

use serde::Serialize;

use super::snapshot::{Divergence, Snapshot};

/// A change of a login, as others are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LoginChange {
    /// The login of another account is there.
    AccountChanged,
    /// A credential that was known to be dead has been replaced.
    Healed,
    /// Somebody has logged in.
    Login,
    /// Nobody is logged in any more.
    Logout,
    /// The refresh token is known to be dead.
    Poisoned,
    /// The store can be read again, and holds what it held.
    Readable,
    /// The same login has other tokens.
    Refreshed,
    /// The same login is in another store.
    StoreMoved,
    /// The store cannot be read.
    Unreadable,
    /// The same login has tokens for another workspace.
    WorkspaceChanged,
}

impl LoginChange {
    /// What makes `new` another snapshot than `old`; nothing, where both hold the same. Of several changes at once it is
    /// the one that a person would tell first.
    #[must_use]
    pub fn between(old: &Snapshot, new: &Snapshot) -> Option<Self> {
        let unreadable =
            |snapshot: &Snapshot| matches!(snapshot.departure(), Some(Divergence::Unreadable(_)));
        let elsewhere = |snapshot: &Snapshot| match snapshot.departure() {
            Some(Divergence::OtherAccount(identity)) => Some(identity.clone()),
            _ => None,
        };
        match (old.is_login(), new.is_login()) {
            (false, true) => return Some(Self::Login),
            (true, false) => return Some(Self::Logout),
            _ => {}
        }
        let other_account = !new.is_same_login_as(old);
        if other_account || (elsewhere(new).is_some() && elsewhere(new) != elsewhere(old)) {
            return Some(Self::AccountChanged);
        }
        if !old.holds_the_same_as(new) {
            let healed = old.is_dead() && !new.is_dead();
            return Some(match () {
                () if healed => Self::Healed,
                () if new.is_dead() => Self::Poisoned,
                () if moved(old, new) => Self::WorkspaceChanged,
                () if is_login(old, new) => Self::Login,
                () => Self::Refreshed,
            });
        }
        match (old.is_dead(), new.is_dead()) {
            (false, true) => return Some(Self::Poisoned),
            (true, false) => return Some(Self::Healed),
            _ => {}
        }
        if old.location() != new.location() {
            return Some(Self::StoreMoved);
        }
        match (unreadable(old), unreadable(new)) {
            (false, true) => Some(Self::Unreadable),
            (true, false) => Some(Self::Readable),
            _ => None,
        }
    }
}

/// Whether the tokens of `new` act for another workspace, as far as both tell.
fn moved(old: &Snapshot, new: &Snapshot) -> bool {
    old.workspace().zip(new.workspace()).is_some_and(|(old, new)| old != new)
}

/// Whether a login, and not a refresh, has put the credential of `new` there: by our own record, or because such a
/// credential has nothing to be refreshed with.
fn is_login(old: &Snapshot, new: &Snapshot) -> bool {
    if new.external_token().is_some() {
        return false;
    }
    let recorded = old.record().generation != new.record().generation;
    new.fingerprint().is_none() || (recorded && new.record().spent.is_none())
}

impl fmt::Display for LoginChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AccountChanged => "account changed",
            Self::Healed => "healed",
            Self::Login => "login",
            Self::Logout => "logout",
            Self::Poisoned => "poisoned",
            Self::Readable => "readable",
            Self::Refreshed => "refreshed",
            Self::StoreMoved => "store moved",
            Self::Unreadable => "unreadable",
            Self::WorkspaceChanged => "other workspace",
        })
    }
}
