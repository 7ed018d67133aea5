//! From a look at the store to the snapshot that everybody in this process uses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::change::Change;
use super::engine::AccountPolicy;
use super::error::Error;
use super::refresh::Base;
use super::snapshot::{Departure, Snapshot};
use super::{AuthManager, Reload};
use crate::store::{self, Author};

impl AuthManager {
    pub(super) fn look_again(&self) -> Result<Reload, Error> {
        let look = self.0.looks.begin();
        let (found, looked) = self.load()?;
        let author = store::holder(&self.0.engine.home).map(Author::from);
        let reload = self.take_over(look, found, author);
        self.remember(looked);
        Ok(reload)
    }

    /// Compares what a look has found with the snapshot, by identity and lineage, and publishes what differs. A change that
    /// is not recorded yet is `author`'s. What was found before another look began that is published already counts for
    /// nothing.
    pub(super) fn take_over(&self, look: Look, new: Snapshot, author: Option<Author>) -> Reload {
        let mut reload = Reload::Same;
        if self.0.provider.is_none() {
            self.replace(|old| {
                if !self.0.looks.is_latest(look) {
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
    fn compare(&self, old: &Snapshot, new: Snapshot, author: Option<Author>) -> (Reload, Option<Snapshot>) {
        match (old.document(), new.document()) {
            (Some(_), Some(_)) if !new.is_same_login_as(old) => {
                let new = with_author(old, new, author);
                let snapshot = match self.0.engine.policy {
                    AccountPolicy::Follow => new,
                    AccountPolicy::Stay => {
                        let departure = Departure::OtherAccount(new.identity());
                        old.clone().recorded_as(&new).departed(departure)
                    }
                };
                (Reload::OtherAccount, Some(snapshot))
            }
            // A copy that somebody put back: this process knows better.
            (Some(_), Some(document)) if Base::of(old).is_newer_than(document) => (Reload::Same, None),
            (before, now) => {
                let reload = match (before.is_some(), now.is_some()) {
                    (false, true) => Reload::LoggedIn,
                    (true, false) => Reload::LoggedOut,
                    (true, true) if old.revision() != new.revision() => Reload::Changed,
                    (true, true) if old.poison() != new.poison() && !old.is_sure_of_poison(&new) => {
                        Reload::Changed
                    }
                    _ => Reload::Same,
                };
                (reload, Some(with_author(old, new, author)))
            }
        }
    }

    /// Keeps the snapshot, and says that the store cannot be read.
    pub(super) fn keep_unreadable(&self, look: Look, error: store::Error) {
        if self.0.provider.is_none() {
            let departure = Departure::Unreadable(Arc::new(error));
            self.replace(|old| self.0.looks.is_latest(look).then(|| old.clone().departed(departure)));
        }
    }

    /// What a failure teaches about the snapshot: a dead token gives out nothing any more, here and at once.
    pub(super) fn learn(&self, error: &Error) {
        self.replace(|old| match error {
            Error::Poisoned(poison) if old.fingerprint() == Some(poison.fingerprint) => {
                Some(old.poisoned(poison))
            }
            Error::LoggedOut => Some(Snapshot::new(None, None)),
            _ => None,
        });
    }

    /// Makes `snapshot` the one that is served. Subscribers hear of it only if it says something new.
    pub(super) fn publish(&self, snapshot: Snapshot) -> Arc<Snapshot> {
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
            let new = Change::between(current, &snapshot).is_some();
            *current = snapshot;
            new
        });
    }
}

/// The order of the looks at the store: what an earlier one has found never takes the place of what a later one has.
#[derive(Debug, Default)]
pub(super) struct Looks {
    begun: AtomicU64,
    latest: AtomicU64,
}

/// A look, by its place in that order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look(u64);

impl Looks {
    /// To be called before the store is looked at.
    pub(super) fn begin(&self) -> Look {
        Look(self.begun.fetch_add(1, Ordering::SeqCst))
    }

    /// Whether none that began later was the latest already; then this one is.
    fn is_latest(&self, look: Look) -> bool {
        self.latest.fetch_max(look.0, Ordering::SeqCst) <= look.0
    }
}

/// Names who left the login as it is in `new`. A commit is written before its record, so that whoever holds the lease in
/// between is its author; and one without a record is another program's.
fn with_author(old: &Snapshot, new: Snapshot, author: Option<Author>) -> Snapshot {
    let new = new.keeping_poison_of(old);
    if old.record().generation != new.record().generation {
        return new;
    }
    let author = match Change::between(old, &new) {
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
    use crate::secret::Secret;

    #[test]
    fn what_an_earlier_look_has_found_never_takes_the_place_of_what_a_later_one_has() {
        let folder = tempfile::tempdir().unwrap();
        let builder =
            AuthManager::builder(Home::at(folder.path()).unwrap(), Environment::read(|_| None).unwrap());
        let manager = AuthManager::over(builder.engine(), None, Snapshot::default());
        let login = || Snapshot::of(AuthDocument::with_api_key(&Secret::from("sk-1")));
        let [before, logout, after] = [(); 3].map(|()| manager.0.looks.begin());
        assert_eq!(manager.take_over(logout, Snapshot::default(), None), Reload::Same);
        assert_eq!(manager.take_over(before, login(), None), Reload::Same);
        assert!(manager.current().document().is_none());
        assert_eq!(manager.take_over(after, login(), None), Reload::LoggedIn);
        assert!(manager.current().document().is_some());
    }
}
