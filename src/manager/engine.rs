//! The dependencies of a transaction: home, stores, authority and clock.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::error::Error;
use super::read_order::ReadOrder;
use super::snapshot::{Divergence, Snapshot};
use crate::authority::Authority;
use crate::clock::Clock;
use crate::config::Environment;
use crate::document::Freshness;
use crate::home::Home;
use crate::store::{self, FindReport, HomeState, KeychainClient, StoredDocument, Stores};

/// What a manager does when another account logs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AccountPolicy {
    /// Uses the new account from then on.
    Follow,
    /// Keeps its token until it expires, then fails: work that began as one account does not continue as another.
    #[default]
    Stay,
}

/// The dependencies of a transaction. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    pub(super) home: Home,
    pub(super) environment: Environment,
    pub(super) keychain: KeychainClient,
    pub(super) authority: Authority,
    pub(super) clock: Clock,
    pub(super) policy: AccountPolicy,
    pub(super) read_order: ReadOrder,
}

impl Engine {
    /// Returns an engine with the system's keychain and clock that follows account changes.
    pub(super) fn of_system(home: Home, environment: &Environment) -> Self {
        Self {
            home,
            environment: environment.clone(),
            keychain: KeychainClient::system(),
            authority: Authority::new(environment),
            clock: Clock::system(),
            policy: AccountPolicy::Follow,
            read_order: ReadOrder::default(),
        }
    }

    /// Opens the stores with the current configuration.
    pub(super) fn stores(&self) -> Result<Stores, store::Error> {
        Stores::with_keychain(self.home.clone(), &self.environment, self.keychain.clone())
    }

    /// Reads the stored login and its recorded state.
    pub(super) fn load(&self) -> Result<Snapshot, store::Error> {
        Ok(self.find(&self.stores()?)?.1)
    }

    /// Reads as [`Self::load`] does, and also reports which stores were read.
    pub(super) fn find(&self, stores: &Stores) -> Result<(FindReport, Snapshot), store::Error> {
        // State first: a commit writes the document before the state, so the document is never older than the state.
        let ticket = self.read_order.begin();
        let state = HomeState::read(&self.home);
        let restrictions = &stores.settings().config.restrictions;
        let found = stores.find()?;
        let stored = found.stored.clone();
        let state = match state {
            Ok((state, _)) => state,
            // A login that is never refreshed does not need the state.
            Err(error) if stored.as_ref().is_some_and(|stored| stored.document.fingerprint().is_some()) => {
                return Err(error);
            }
            Err(_) => HomeState::default(),
        };
        // A refresh that was not committed left a usable token in the rescue.
        let now = self.clock.now();
        let is_stale = |stored: &&StoredDocument| {
            stored.document.freshness(now) != Freshness::Fresh && stored.document.fingerprint().is_some()
        };
        if let Some(successor) =
            stored.as_ref().filter(is_stale).and_then(|stored| stores.with_uncommitted_rescue(stored))
        {
            let path = self.home.own_records().rescue();
            let error = Arc::new(store::Error::NotCommitted { path });
            let snapshot = Snapshot::from_read(ticket, Some(successor), state).restricted_by(restrictions);
            return Ok((found, snapshot.diverging(Divergence::Uncommitted(error))));
        }
        Ok((found, Snapshot::from_read(ticket, stored, state).restricted_by(restrictions)))
    }

    /// Applies the restrictions of the configuration to `snapshot`. An unreadable configuration restricts nothing.
    pub(super) fn restricted(&self, snapshot: Snapshot) -> Snapshot {
        match self.stores() {
            Ok(stores) => snapshot.restricted_by(&stores.settings().config.restrictions),
            Err(_) => snapshot,
        }
    }

    pub(super) fn lock_timeout(&self) -> Duration {
        self.environment.lock_timeout
    }
}

/// Blocks this thread until `request` completes on a new runtime.
///
/// Inside a tokio runtime the request runs on a new thread, because tokio panics when one of its threads starts a runtime.
pub(super) fn block_on<T: Send>(request: impl Future<Output = T> + Send) -> Result<T, Error> {
    if Handle::try_current().is_err() {
        return block_this_thread_on(request);
    }
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, || block_this_thread_on(request));
        thread.map_err(|_| Error::Internal)?.join().unwrap_or(Err(Error::Internal))
    })
}

fn block_this_thread_on<T>(request: impl Future<Output = T>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|_| Error::Internal)?;
    let answer = runtime.block_on(request);
    // Do not wait for a DNS lookup that is still running.
    runtime.shutdown_background();
    Ok(answer)
}
