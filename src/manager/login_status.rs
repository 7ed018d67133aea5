//! The status of a login, which makes the checks of a refresh and changes nothing.

use std::time::Duration;

use jiff::Timestamp;

use super::engine::{AccountPolicy, Engine};
use super::error::{Error, Unusable, Usability};
use super::renewal::{Renewal, fleet_login_has_ended};
use super::request::{CallerBase, RefreshReason};
use super::snapshot::{Divergence, Snapshot, SnapshotStatus};
use super::transaction::Transaction;
use crate::config::Environment;
use crate::store::{self, FindReport, HomeState, Lease, LockDeadline, Stores};

/// The status of the login of a home. Creates, changes and locks nothing, and sends no request.
#[derive(Debug)]
pub struct LoginStatus {
    engine: Engine,
    find_report: FindReport,
    snapshot: Snapshot,
}

impl LoginStatus {
    /// Reads the login from `stores`.
    ///
    /// # Errors
    /// As [`Stores::find`], or `state.json` cannot be read.
    pub fn read(stores: &Stores, environment: &Environment) -> Result<Self, store::Error> {
        let engine = Engine::new(stores.home().clone(), environment.clone(), AccountPolicy::Follow);
        let (found, snapshot) = engine.find(stores)?;
        Ok(Self { engine, find_report: found, snapshot })
    }

    /// Returns which stores were read, and what they hold.
    #[must_use]
    pub fn find_report(&self) -> &FindReport {
        &self.find_report
    }

    /// Returns the snapshot of the login.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Returns whether a token can be obtained. If the stored one is stale, this checks everything that a refresh
    /// needs.
    #[must_use]
    pub fn usability(&self) -> Usability {
        usability(&self.engine, &self.snapshot)
    }

    /// Returns whether the next use of the login refreshes it: its token is stale and it can be refreshed.
    #[must_use]
    pub fn is_due(&self) -> bool {
        is_due(&self.snapshot, self.engine.clock.now())
    }

    /// Checks whether the login can be refreshed now, also while its token is fresh.
    ///
    /// # Errors
    /// The error with which a forced refresh would fail before it sends a request.
    pub fn check_refresh(&self) -> Result<(), Error> {
        preview(&self.engine, &self.snapshot, RefreshReason::Forced)
    }
}

/// Whether the token of `snapshot` is stale at `now` and can be refreshed.
pub(crate) fn is_due(snapshot: &Snapshot, now: Timestamp) -> bool {
    matches!(snapshot.status(now), SnapshotStatus::Stale | SnapshotStatus::Expired)
        && snapshot.is_refreshable()
}

/// Returns whether a token of `snapshot` can be obtained. Reads files and the keychain only if its token is not fresh.
pub(super) fn usability(engine: &Engine, snapshot: &Snapshot) -> Usability {
    let now = engine.clock.now();
    let usability = snapshot.usability(now);
    let status = snapshot.status(now);
    if usability.reason().is_some() || !is_due(snapshot, now) {
        return usability;
    }
    if snapshot.renewal() == Renewal::Fleet {
        return match fleet_login_has_ended(&engine.home, &engine.environment) {
            true => Usability::Unusable(Unusable::FleetLoginEnded.into()),
            false => usability,
        };
    }
    match preview(engine, snapshot, RefreshReason::Stale) {
        // A token that has not expired is served if its refresh fails, unless only a login helps.
        Err(error) if status == SnapshotStatus::Expired || error.wants_login() => Usability::Unusable(error),
        Ok(()) if status == SnapshotStatus::Expired => {
            store::holder(&engine.home).map_or(Usability::Usable, Usability::Busy)
        }
        _ => Usability::Usable,
    }
}

/// Makes the checks of a refresh up to the request.
fn preview(engine: &Engine, snapshot: &Snapshot, reason: RefreshReason) -> Result<(), Error> {
    if snapshot.renewal() == Renewal::Fleet {
        return Ok(());
    }
    Lease::check(&engine.home)?;
    if matches!(snapshot.divergence(), Some(Divergence::Uncommitted(_))) {
        // Its tokens are in the rescue; committing them needs only the lease.
        return Ok(());
    }
    let (state, _) = HomeState::read(&engine.home)?;
    // `plan` waits for no lock.
    let deadline = LockDeadline::after(Duration::ZERO);
    let transaction = Transaction { engine, reason, base: CallerBase::of(snapshot), deadline };
    transaction.plan(&engine.stores()?, &state).map(drop)
}
