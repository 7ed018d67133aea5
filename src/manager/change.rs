//! The kind of change between two snapshots.

use std::fmt;

use serde::Serialize;

use super::snapshot::{Divergence, Snapshot};

/// A change of the login, as subscribers and reports name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LoginChange {
    /// Another account is logged in.
    AccountChanged,
    /// A poisoned credential was replaced.
    Healed,
    /// A login was stored.
    Login,
    /// The login was removed.
    Logout,
    /// The refresh token failed permanently.
    Poisoned,
    /// The store can be read again and is unchanged.
    Readable,
    /// The same login has other tokens.
    Refreshed,
    /// The same login moved to another store.
    StoreMoved,
    /// The store cannot be read.
    Unreadable,
    /// The same login has tokens for another workspace.
    WorkspaceChanged,
}

impl LoginChange {
    /// Returns the change from `old` to `new`, or `None` if they hold the same. Of several changes it returns the most
    /// important one.
    #[must_use]
    pub fn between(old: &Snapshot, new: &Snapshot) -> Option<Self> {
        let unreadable =
            |snapshot: &Snapshot| matches!(snapshot.divergence(), Some(Divergence::Unreadable(_)));
        let elsewhere = |snapshot: &Snapshot| match snapshot.divergence() {
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
        if !old.has_same_credential_as(new) {
            let healed = old.has_failed_permanently() && !new.has_failed_permanently();
            return Some(match () {
                () if healed => Self::Healed,
                () if new.has_failed_permanently() => Self::Poisoned,
                () if moved(old, new) => Self::WorkspaceChanged,
                () if is_login(old, new) => Self::Login,
                () => Self::Refreshed,
            });
        }
        match (old.has_failed_permanently(), new.has_failed_permanently()) {
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

/// Whether the tokens of `new` act for another workspace; `false` if either does not say which.
fn moved(old: &Snapshot, new: &Snapshot) -> bool {
    old.workspace().zip(new.workspace()).is_some_and(|(old, new)| old != new)
}

/// Whether a login and not a refresh stored the credential of `new`: the state says so, or there is no refresh token.
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
