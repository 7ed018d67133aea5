//! Finishing what a holder of the lease left behind, and taking back what belongs to nobody here.

use super::engine::{AccountPolicy, Engine, block_on};
use super::error::Error;
use crate::authority::{Authority, Endpoint, Revocation, client_id};
use crate::clock::Clock;
use crate::config::Environment;
use crate::store::rescue::{self, Rescue};
use crate::store::{KeychainClient, Lease, Settled, Stores, settle};

/// Clears the rescue of the lease's place, if there is one.
///
/// # Errors
/// It cannot be cleared now; nothing may be spent.
pub(super) fn finish(engine: &Engine, lease: &Lease, stores: &Stores) -> Result<(), Error> {
    match settle(lease, stores)? {
        Settled::Clear | Settled::Lost => Ok(()),
        Settled::Orphan(rescue) => {
            take_back(engine, &rescue);
            Ok(rescue::clear(lease)?)
        }
    }
}

/// As every transaction begins: finishes what another holder of the lease left behind, and asks the authority to take
/// back what belongs to nobody here. For a program that has written a login itself, with [`crate::login::keep`] or
/// [`crate::store::migrate`]. Locks: the lease, which is the caller's, and Codex's commit locks if there is something to
/// commit.
///
/// # Errors
/// [`Error::Store`]: it cannot be done now; the next transaction tries again.
pub fn finish_rescue(lease: &Lease, environment: &Environment) -> Result<(), Error> {
    let engine = Engine {
        home: lease.home().clone(),
        environment: environment.clone(),
        keychain: KeychainClient::system(),
        authority: Authority::new(environment),
        clock: Clock::system(),
        policy: AccountPolicy::Follow,
    };
    finish(&engine, lease, &engine.stores()?)
}

/// Tells the authority that the tokens of `rescue` will not be used. Best effort: they may be dead already.
pub(super) fn take_back(engine: &Engine, rescue: &Rescue) {
    let Some(token) = rescue.tokens.refresh_token.clone().filter(|_| rescue.child() != Some(rescue.parent))
    else {
        return;
    };
    if let Ok(endpoint) = Endpoint::revoke(&engine.environment, &rescue.provenance) {
        let client_id = client_id(&rescue.provenance).to_owned();
        let _ = block_on(engine.authority.revoke(&Revocation::of_refresh_token(endpoint, client_id, token)));
    }
}
