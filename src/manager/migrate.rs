//! Moves a login to another store, after completing what a killed process left behind.

use super::engine::Engine;
use super::error::Error;
use super::recover;
use crate::config::{Environment, StoreKind};
use crate::store::migrate::{self, MigrationReport};
use crate::store::{Lease, Stores};

/// Moves the login to the store `to`; `None` without a login. Locks: the lease, which is the caller's, and Codex's commit
/// locks for each change.
///
/// # Errors
/// - As [`migrate::migrate`]: the login is where it was.
/// - [`Error`]: what another process left behind cannot be completed now; nothing was changed.
pub fn move_login(
    stores: &Stores,
    lease: &Lease,
    environment: &Environment,
    to: StoreKind,
) -> Result<Option<MigrationReport>, Error> {
    let engine = Engine::of_system(lease.home().clone(), environment);
    let mut writer = stores.writer(lease)?;
    recover::recover(&engine, &mut writer)?;
    Ok(migrate::migrate(&mut writer, to)?)
}
