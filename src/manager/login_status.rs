//! Whether a stored login yields a token, by the checks that a refresh would make, without changing anything.

use std::time::Duration;

use jiff::Timestamp;

use super::engine::Engine;
use super::error::Error;
use super::request::{CallerBase, RefreshReason};
use super::snapshot::{Divergence, Snapshot, SnapshotStatus};
use super::transaction::Transaction;
use super::usability::Usability;
use crate::config::Environment;
use crate::store::{self, FindReport, HomeState, Lease, LockDeadline, Stores};

/// How the login of a home stands, by one look at it. Nothing is created, changed or locked, and no request is sent.
#[derive(Debug)]
pub struct LoginStatus {
    engine: Engine,
    found: FindReport,
    snapshot: Snapshot,
}

impl LoginStatus {
    /// Reads the login from `stores`.
    ///
    /// # Errors
    /// As [`Stores::find`]; the shared record cannot be read.
    pub fn read(stores: &Stores, environment: &Environment) -> Result<Self, store::Error> {
        let engine = Engine::of_system(stores.home().clone(), environment);
        let (found, snapshot) = engine.find(stores)?;
        Ok(Self { engine, found, snapshot })
    }

    /// Where the login was looked for, and what was there.
    #[must_use]
    pub fn found(&self) -> &FindReport {
        &self.found
    }

    /// The login.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Whether a token can be had. Where the stored one has expired, everything is looked at that a refresh needs.
    #[must_use]
    pub fn usability(&self) -> Usability {
        usability(&self.engine, &self.snapshot)
    }

    /// Checks whether the login could be refreshed now, also while its token is fresh.
    ///
    /// # Errors
    /// The error that a forced refresh would end with before it asks the authority.
    pub fn check_refresh(&self) -> Result<(), Error> {
        preview(&self.engine, &self.snapshot, RefreshReason::Forced)
    }
}

/// Whether the token of `snapshot` is to be refreshed at `now`, and can be as far as is known.
pub(super) fn is_due(snapshot: &Snapshot, now: Timestamp) -> bool {
    matches!(snapshot.standing(now), SnapshotStatus::Stale | SnapshotStatus::Expired)
        && snapshot.fingerprint().is_some()
}

/// Whether a token of `snapshot` can be had. Reads files, and the keychain, only where its token is not fresh.
pub(super) fn usability(engine: &Engine, snapshot: &Snapshot) -> Usability {
    let now = engine.clock.now();
    let usability = snapshot.usability(now);
    let standing = snapshot.standing(now);
    if usability.reason().is_some() || !is_due(snapshot, now) {
        return usability;
    }
    match preview(engine, snapshot, RefreshReason::Stale) {
        // A token that lives is served although it could not be refreshed, unless only a login helps.
        Err(error) if standing == SnapshotStatus::Expired || error.wants_login() => {
            Usability::Unusable(error)
        }
        Ok(()) if standing == SnapshotStatus::Expired => {
            store::holder(&engine.home).map_or(Usability::Usable, Usability::Busy)
        }
        _ => Usability::Usable,
    }
}

/// What a refresh would fail with before it asks the authority, by the very checks that it makes.
fn preview(engine: &Engine, snapshot: &Snapshot, reason: RefreshReason) -> Result<(), Error> {
    Lease::check(&engine.home)?;
    if matches!(snapshot.departure(), Some(Divergence::Uncommitted(_))) {
        // What it would go by is not in the store yet; to get there it needs no more than the lease.
        return Ok(());
    }
    let (state, _) = HomeState::read(&engine.home)?;
    // Planning waits for no lock.
    let deadline = LockDeadline::after(Duration::ZERO);
    let transaction = Transaction { engine, reason, base: CallerBase::of(snapshot), deadline };
    transaction.plan(&engine.stores()?, &state).map(drop)
}
