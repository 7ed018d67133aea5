//! What a transaction works with: the home, its stores, the authority and the clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::snapshot::Snapshot;
use crate::authority::Authority;
use crate::clock::Clock;
use crate::config::Environment;
use crate::home::Home;
use crate::store::{self, KeychainClient, State, Stores};

/// Whether to go along when somebody else logs in as another account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AccountPolicy {
    /// Use the new account from then on.
    Follow,
    /// Keep the live token, then fail: work that was begun as one account is not finished as another.
    #[default]
    Stay,
}

/// Everything that a transaction needs; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    pub(super) home: Home,
    pub(super) environment: Environment,
    pub(super) keychain: KeychainClient,
    pub(super) authority: Authority,
    pub(super) clock: Clock,
    pub(super) policy: AccountPolicy,
}

impl Engine {
    /// The stores as the configuration is now.
    pub(super) fn stores(&self) -> Result<Stores, store::Error> {
        Stores::with_keychain(self.home.clone(), &self.environment, self.keychain.clone())
    }

    /// What is stored now, with the poison that is known of it.
    pub(super) fn load(&self) -> Result<Snapshot, store::Error> {
        // The record first: a commit is written before its own, so that no document is older than what is said of it.
        let state = State::read(&self.home);
        let stored = self.stores()?.find()?.stored;
        let state = match state {
            Ok((state, _)) => state,
            // Of a login that is never refreshed the record has nothing to say that matters.
            Err(error) if stored.as_ref().is_some_and(|stored| stored.document.fingerprint().is_some()) => {
                return Err(error);
            }
            Err(_) => State::default(),
        };
        Ok(Snapshot::found(stored, state))
    }

    pub(super) fn lock_timeout(&self) -> Duration {
        self.environment.lock_timeout
    }
}

/// Runs `request` to its end on this thread, over a runtime that lives as long as it does.
pub(super) fn block_on<T>(request: impl Future<Output = T>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|_| Error::BrokeDown)?;
    let answer = runtime.block_on(request);
    // A name that is still being looked up is nobody's business any more.
    runtime.shutdown_background();
    Ok(answer)
}
