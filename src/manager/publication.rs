//! From a look at the store to the snapshot that everybody in this process uses.

use std::sync::Arc;

use super::change::Change;
use super::engine::AccountPolicy;
use super::error::Error;
use super::refresh::Base;
use super::snapshot::{Departure, Snapshot};
use super::{AuthManager, Reload};
use crate::store::{self, Author};

impl AuthManager {
    pub(super) fn look_again(&self) -> Result<Reload, Error> {
        let found = self.load()?;
        let author = store::holder(&self.0.engine.place).map(Author::from);
        Ok(self.take_over(found, author))
    }

    /// Compares what is stored with the snapshot, by identity and lineage, and publishes what differs. A change that is not
    /// recorded yet is `author`'s.
    pub(super) fn take_over(&self, new: Snapshot, author: Option<Author>) -> Reload {
        if self.0.provider.is_some() {
            return Reload::Same;
        }
        let old = self.current();
        match (old.document(), new.document()) {
            (Some(_), Some(_)) if !old.identity().matches(&new.identity()) => {
                let new = with_author(&old, new, author);
                self.publish(match self.0.engine.policy {
                    AccountPolicy::Follow => new,
                    AccountPolicy::Stay => {
                        let departure = Departure::OtherAccount(new.identity());
                        Snapshot::clone(&old).recorded_as(&new).departed(departure)
                    }
                });
                Reload::OtherAccount
            }
            // A copy that somebody put back: this process knows better.
            (Some(_), Some(document)) if Base::of(&old).is_newer_than(document) => Reload::Same,
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
                self.publish(with_author(&old, new, author));
                reload
            }
        }
    }

    /// Keeps the snapshot, and says that the store cannot be read.
    pub(super) fn keep_unreadable(&self, error: store::Error) {
        if self.0.provider.is_some() {
            return;
        }
        let old = self.current();
        self.publish(Snapshot::clone(&old).departed(Departure::Unreadable(Arc::new(error))));
    }

    /// What a failure teaches about the snapshot: a dead token gives out nothing any more, here and at once.
    pub(super) fn learn(&self, error: &Error) {
        match error {
            Error::Poisoned(poison) => {
                let old = self.current();
                if old.fingerprint() == Some(poison.fingerprint) {
                    self.publish(old.poisoned(poison));
                }
            }
            Error::LoggedOut => {
                self.publish(Snapshot::new(None, None));
            }
            _ => {}
        }
    }

    /// Makes `snapshot` the one that is served. Subscribers hear of it only if it says something new.
    pub(super) fn publish(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot);
        self.0.snapshot.send_if_modified(|current| {
            let new = Change::between(current, &snapshot).is_some();
            *current = Arc::clone(&snapshot);
            new
        });
        snapshot
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
