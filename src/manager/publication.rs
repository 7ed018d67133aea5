//! The change between two snapshots, and the publication of what was read or committed.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::auth_manager::{AuthManager, ReloadOutcome};
use super::engine::AccountPolicy;
use super::error::Error;
use super::read_order::ReadTicket;
use super::snapshot::{Divergence, Snapshot};
use crate::failpoint;
use crate::store::{self, ChangeAuthor};

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
                () if is_other_workspace(old, new) => Self::WorkspaceChanged,
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
fn is_other_workspace(old: &Snapshot, new: &Snapshot) -> bool {
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

impl AuthManager {
    pub(super) fn read_store(&self) -> Result<ReloadOutcome, Error> {
        let (snapshot, stamps) = self.load()?;
        failpoint::at("store read");
        let author = store::holder(&self.0.engine.home).map(ChangeAuthor::from);
        let outcome = self.apply_read(snapshot, author);
        self.0.last_read.record(stamps);
        Ok(outcome)
    }

    /// Compares a read snapshot with the current one, by identity and spent tokens, and publishes it if it differs. A
    /// change without recorded state is attributed to `author`. A read older than a published one is ignored.
    pub(super) fn apply_read(&self, new: Snapshot, author: Option<ChangeAuthor>) -> ReloadOutcome {
        let mut outcome = ReloadOutcome::Same;
        if self.0.provider.is_none() {
            self.replace(|old| {
                if !self.0.engine.read_order.publish(new.read_ticket()) {
                    return None;
                }
                let (found, snapshot) = self.compare(old, new, author);
                outcome = found;
                snapshot
            });
        }
        outcome
    }

    /// Returns how `new` differs from `old`, and the snapshot to publish.
    fn compare(
        &self,
        old: &Snapshot,
        new: Snapshot,
        author: Option<ChangeAuthor>,
    ) -> (ReloadOutcome, Option<Snapshot>) {
        match (old.document(), new.document()) {
            (Some(_), Some(_)) if !new.is_same_login_as(old) => {
                let new = with_author(old, new, author);
                let snapshot = match self.0.engine.policy {
                    AccountPolicy::Follow => new,
                    AccountPolicy::Stay => {
                        let departure = Divergence::OtherAccount(new.identity());
                        old.clone().with_record_of(&new).diverging(departure)
                    }
                };
                (ReloadOutcome::OtherAccount, Some(snapshot))
            }
            (before, now) => {
                let outcome = match (before.is_some(), now.is_some()) {
                    (false, true) => ReloadOutcome::LoggedIn,
                    (true, false) => ReloadOutcome::LoggedOut,
                    (true, true) if old.revision() != new.revision() => ReloadOutcome::Changed,
                    (true, true) if old.poison() != new.poison() && !old.has_unrecorded_poison(&new) => {
                        ReloadOutcome::Changed
                    }
                    _ => ReloadOutcome::Same,
                };
                (outcome, Some(with_author(old, new, author)))
            }
        }
    }

    /// Keeps the credential of the snapshot and marks the store as unreadable.
    pub(super) fn mark_unreadable(&self, ticket: ReadTicket, error: store::Error) {
        if self.0.provider.is_none() {
            let departure = Divergence::Unreadable(Arc::new(error));
            self.replace(|old| {
                self.0.engine.read_order.publish(ticket).then(|| old.clone().diverging(departure))
            });
        }
    }

    /// Updates the snapshot after a failed refresh: a poisoned token is no longer served, and after a logout the store
    /// is read again, because there may be a new login.
    pub(super) fn apply_failure(&self, error: &Error) {
        match error {
            Error::Poisoned(poison) => self.replace(|old| {
                let same = old.fingerprint() == Some(poison.fingerprint);
                same.then(|| old.with_poison(poison))
            }),
            // The store held no login a moment ago.
            Error::LoggedOut if self.read_store().is_err() => {
                self.replace(|_| Some(Snapshot::new(None, None)));
            }
            _ => {}
        }
    }

    /// Publishes `snapshot`, which a transaction has read or committed, unless a later read was published already.
    /// Returns it in either case. Subscribers are notified only of a change.
    pub(super) fn publish(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot);
        self.replace_by(|_| {
            self.0.engine.read_order.publish(snapshot.read_ticket()).then(|| Arc::clone(&snapshot))
        });
        snapshot
    }

    /// Publishes `snapshot` of a provider. Provider calls do not overlap, so they are in order.
    pub(super) fn publish_provided(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot);
        self.replace_by(|_| Some(Arc::clone(&snapshot)));
        snapshot
    }

    fn replace(&self, next: impl FnOnce(&Snapshot) -> Option<Snapshot>) {
        self.replace_by(|old| next(old).map(Arc::new));
    }

    /// Atomically replaces the snapshot by the result of `next`.
    fn replace_by(&self, next: impl FnOnce(&Snapshot) -> Option<Arc<Snapshot>>) {
        self.0.snapshot.send_if_modified(|current| {
            let Some(snapshot) = next(current) else { return false };
            let new = LoginChange::between(current, &snapshot).is_some();
            *current = snapshot;
            self.0.latest.store(Arc::clone(current));
            new
        });
    }
}

/// Sets the author of the change in `new`. A commit is written before its state, so until then the lease holder is the
/// author.
fn with_author(old: &Snapshot, new: Snapshot, author: Option<ChangeAuthor>) -> Snapshot {
    let new = new.keeping_poison_of(old);
    if old.record().generation != new.record().generation {
        return new;
    }
    let author = match LoginChange::between(old, &new) {
        None => old.author().cloned(),
        Some(_) => author,
    };
    new.with_author(author)
}

#[cfg(test)]
mod tests {
    use super::super::read_order::ReadTicket;
    use super::*;
    use crate::config::Environment;
    use crate::document::AuthDocument;
    use crate::home::Home;
    use crate::secret::Secret;
    use crate::store::{DocumentLocation, HomeState, StoredDocument};

    fn manager(folder: &tempfile::TempDir) -> AuthManager {
        let environment = Environment::read(|_| None).unwrap();
        let builder = AuthManager::builder(Home::at(folder.path()).unwrap(), environment);
        AuthManager::with_engine(builder.engine(), None, Snapshot::default())
    }

    /// An API key login.
    fn login(ticket: ReadTicket, key: &str) -> Snapshot {
        let document = AuthDocument::with_api_key(&Secret::from(key));
        let location = DocumentLocation::File("auth.json".into());
        Snapshot::from_read(
            ticket,
            Some(StoredDocument { document, location, notes: Vec::new() }),
            HomeState::default(),
        )
    }

    fn logout(ticket: ReadTicket) -> Snapshot {
        Snapshot::from_read(ticket, None, HomeState::default())
    }

    fn bearer(manager: &AuthManager) -> Option<String> {
        manager.current().bearer().map(|bearer| bearer.expose().to_owned())
    }

    #[test]
    fn an_earlier_read_never_replaces_a_later_one() {
        let folder = tempfile::tempdir().unwrap();
        let manager = manager(&folder);
        let [before, ended, after] = [(); 3].map(|()| manager.0.engine.read_order.begin());
        assert_eq!(manager.apply_read(logout(ended), None), ReloadOutcome::Same);
        assert_eq!(manager.apply_read(login(before, "sk-1"), None), ReloadOutcome::Same);
        assert!(manager.current().document().is_none());
        assert_eq!(manager.apply_read(login(after, "sk-1"), None), ReloadOutcome::LoggedIn);
        assert!(manager.current().document().is_some());
    }

    #[test]
    fn a_committed_snapshot_is_ordered_with_the_reads_before_and_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let manager = manager(&folder);
        let [before, committed, after] = [(); 3].map(|()| manager.0.engine.read_order.begin());
        let served = manager.publish(login(committed, "sk-2"));
        manager.apply_read(login(before, "sk-1"), None);
        assert_eq!(bearer(&manager).as_deref(), Some("sk-2"), "a read that began before the commit");
        manager.apply_read(logout(after), None);
        let late = manager.publish(login(committed, "sk-2"));
        assert_eq!(bearer(&manager), None, "a read that began after the commit");
        assert!(late.has_same_credential_as(&served), "the caller still gets its refreshed token");
    }
}
