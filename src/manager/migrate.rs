//! Moves a login to another store, after recovering from a killed process.

use super::engine::Engine;
use super::error::Error;
use super::recover;
use crate::config::{Environment, StoreKind};
use crate::store::migrate::{self, MigrationReport};
use crate::store::{Lease, Stores};

/// Moves the login to the store `to`; returns `None` if there is none. Requires the lease; takes Codex's commit locks for
/// each change.
///
/// # Errors
/// - As [`migrate::migrate`]: the login was not moved.
/// - [`Error`]: the refresh or logout of a killed process cannot be completed now; nothing was changed.
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
