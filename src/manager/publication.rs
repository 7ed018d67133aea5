//! From a look at the store to the snapshot that everybody in this process uses.

use std::sync::Arc;

use super::change::LoginChange;
use super::engine::AccountPolicy;
use super::error::Error;
use super::read_order::ReadTicket;
use super::snapshot::{Divergence, Snapshot};
use super::{AuthManager, ReloadOutcome};
use crate::failpoint;
use crate::store::{self, ChangeAuthor};

impl AuthManager {
    pub(super) fn look_again(&self) -> Result<ReloadOutcome, Error> {
        let (found, looked) = self.load()?;
        failpoint::at("looked");
        let author = store::holder(&self.0.engine.home).map(ChangeAuthor::from);
        let reload = self.apply_read(found, author);
        self.remember(looked);
        Ok(reload)
    }

    /// Compares what a look has found with the snapshot, by identity and lineage, and publishes what differs. A change that
    /// is not recorded yet is `author`'s. What an earlier look found than one that was published is ignored.
    pub(super) fn apply_read(&self, new: Snapshot, author: Option<ChangeAuthor>) -> ReloadOutcome {
        let mut reload = ReloadOutcome::Same;
        if self.0.provider.is_none() {
            self.replace(|old| {
                if !self.0.engine.looks.publish(new.look()) {
                    return None;
                }
                let (found, snapshot) = self.compare(old, new, author);
                reload = found;
                snapshot
            });
        }
        reload
    }

    /// What `new` is after `old`, and the snapshot that takes its place, if one does.
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
                        old.clone().recorded_as(&new).departed(departure)
                    }
                };
                (ReloadOutcome::OtherAccount, Some(snapshot))
            }
            (before, now) => {
                let reload = match (before.is_some(), now.is_some()) {
                    (false, true) => ReloadOutcome::LoggedIn,
                    (true, false) => ReloadOutcome::LoggedOut,
                    (true, true) if old.revision() != new.revision() => ReloadOutcome::Changed,
                    (true, true) if old.poison() != new.poison() && !old.is_sure_of_poison(&new) => {
                        ReloadOutcome::Changed
                    }
                    _ => ReloadOutcome::Same,
                };
                (reload, Some(with_author(old, new, author)))
            }
        }
    }

    /// Keeps the snapshot, and says that the store cannot be read.
    pub(super) fn keep_unreadable(&self, look: ReadTicket, error: store::Error) {
        if self.0.provider.is_none() {
            let departure = Divergence::Unreadable(Arc::new(error));
            self.replace(|old| self.0.engine.looks.publish(look).then(|| old.clone().departed(departure)));
        }
    }

    /// Applies what a failure says about the snapshot: a dead token is handed out no more, and a login that is gone is
    /// looked for once more, because another one may be there by now.
    pub(super) fn learn(&self, error: &Error) {
        match error {
            Error::Poisoned(poison) => self.replace(|old| {
                let same = old.fingerprint() == Some(poison.fingerprint);
                same.then(|| old.poisoned(poison))
            }),
            // A store that cannot be read now held no login a moment ago.
            Error::LoggedOut if self.look_again().is_err() => {
                self.replace(|_| Some(Snapshot::new(None, None)));
            }
            _ => {}
        }
    }

    /// Serves `snapshot`, which a transaction has found or committed, unless a later look was published already. Returns
    /// it in either case. Subscribers are notified only if it says something new.
    pub(super) fn publish(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot);
        self.replace_by(|_| self.0.engine.looks.publish(snapshot.look()).then(|| Arc::clone(&snapshot)));
        snapshot
    }

    /// Serves `snapshot`, which comes from a provider: one question at a time is asked, so its answers are in order.
    pub(super) fn publish_provided(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot);
        self.replace_by(|_| Some(Arc::clone(&snapshot)));
        snapshot
    }

    fn replace(&self, next: impl FnOnce(&Snapshot) -> Option<Snapshot>) {
        self.replace_by(|old| next(old).map(Arc::new));
    }

    /// Has what `next` makes of the snapshot served in its place, and lets nobody come in between.
    fn replace_by(&self, next: impl FnOnce(&Snapshot) -> Option<Arc<Snapshot>>) {
        self.0.snapshot.send_if_modified(|current| {
            let Some(snapshot) = next(current) else { return false };
            let new = LoginChange::between(current, &snapshot).is_some();
            *current = snapshot;
            new
        });
    }
}

/// Names who left the login as it is in `new`. A commit is written before its record, so that whoever holds the lease in
/// between is its author; and one without a record is another program's.
fn with_author(old: &Snapshot, new: Snapshot, author: Option<ChangeAuthor>) -> Snapshot {
    let new = new.keeping_poison_of(old);
    if old.record().generation != new.record().generation {
        return new;
    }
    let author = match LoginChange::between(old, &new) {
        None => old.author().cloned(),
        Some(_) => author,
    };
    new.written_by(author)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;
    use crate::document::AuthDocument;
    use crate::home::Home;
    use crate::manager::read_order::ReadTicket;
    use crate::secret::Secret;
    use crate::store::{DocumentLocation, HomeState, StoredDocument};

    fn manager(folder: &tempfile::TempDir) -> AuthManager {
        let environment = Environment::read(|_| None).unwrap();
        let builder = AuthManager::builder(Home::at(folder.path()).unwrap(), environment);
        AuthManager::over(builder.engine(), None, Snapshot::default())
    }

    /// A login by API key that `look` has found.
    fn login(look: ReadTicket, key: &str) -> Snapshot {
        let document = AuthDocument::with_api_key(&Secret::from(key));
        let location = DocumentLocation::File("auth.json".into());
        Snapshot::found(
            look,
            Some(StoredDocument { document, location, notes: Vec::new() }),
            HomeState::default(),
        )
    }

    fn logout(look: ReadTicket) -> Snapshot {
        Snapshot::found(look, None, HomeState::default())
    }

    fn bearer(manager: &AuthManager) -> Option<String> {
        manager.current().bearer().map(|bearer| bearer.expose().to_owned())
    }

    #[test]
    fn what_an_earlier_look_has_found_never_takes_the_place_of_what_a_later_one_has() {
        let folder = tempfile::tempdir().unwrap();
        let manager = manager(&folder);
        let [before, ended, after] = [(); 3].map(|()| manager.0.engine.looks.begin());
        assert_eq!(manager.apply_read(logout(ended), None), ReloadOutcome::Same);
        assert_eq!(manager.apply_read(login(before, "sk-1"), None), ReloadOutcome::Same);
        assert!(manager.current().document().is_none());
        assert_eq!(manager.apply_read(login(after, "sk-1"), None), ReloadOutcome::LoggedIn);
        assert!(manager.current().document().is_some());
    }

    #[test]
    fn what_a_transaction_publishes_takes_part_in_the_order_both_ways() {
        let folder = tempfile::tempdir().unwrap();
        let manager = manager(&folder);
        let [before, committed, after] = [(); 3].map(|()| manager.0.engine.looks.begin());
        let served = manager.publish(login(committed, "sk-2"));
        manager.apply_read(login(before, "sk-1"), None);
        assert_eq!(bearer(&manager).as_deref(), Some("sk-2"), "a look that began before the commit");
        manager.apply_read(logout(after), None);
        let late = manager.publish(login(committed, "sk-2"));
        assert_eq!(bearer(&manager), None, "a look that began after the commit");
        assert!(late.holds_the_same_as(&served), "its caller gets what it refreshed all the same");
    }
}
