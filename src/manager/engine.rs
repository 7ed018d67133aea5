//! What a transaction works with: the home, its stores, the authority and the clock.

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
    pub(super) looks: ReadOrder,
}

impl Engine {
    /// For a program that has none yet: over the system's keychain and clock, and following the account.
    pub(super) fn of_system(home: Home, environment: &Environment) -> Self {
        Self {
            home,
            environment: environment.clone(),
            keychain: KeychainClient::system(),
            authority: Authority::new(environment),
            clock: Clock::system(),
            policy: AccountPolicy::Follow,
            looks: ReadOrder::default(),
        }
    }

    /// The stores as the configuration is now.
    pub(super) fn stores(&self) -> Result<Stores, store::Error> {
        Stores::with_keychain(self.home.clone(), &self.environment, self.keychain.clone())
    }

    /// What is stored now, with the poison that is known of it.
    pub(super) fn load(&self) -> Result<Snapshot, store::Error> {
        Ok(self.find(&self.stores()?)?.1)
    }

    /// As [`Self::load`], with where it was looked for.
    pub(super) fn find(&self, stores: &Stores) -> Result<(FindReport, Snapshot), store::Error> {
        // The record first: a commit is written before its own, so that no document is older than what is said of it.
        let look = self.looks.begin();
        let state = HomeState::read(&self.home);
        let restrictions = &stores.settings().config.restrictions;
        let found = stores.find()?;
        let stored = found.stored.clone();
        let state = match state {
            Ok((state, _)) => state,
            // Of a login that is never refreshed the record has nothing to say that matters.
            Err(error) if stored.as_ref().is_some_and(|stored| stored.document.fingerprint().is_some()) => {
                return Err(error);
            }
            Err(_) => HomeState::default(),
        };
        // A refresh that could not be committed has left a good token all the same.
        let now = self.clock.now();
        let is_stale = |stored: &&StoredDocument| {
            stored.document.freshness(now) != Freshness::Fresh && stored.document.fingerprint().is_some()
        };
        if let Some(successor) =
            stored.as_ref().filter(is_stale).and_then(|stored| stores.uncommitted(stored))
        {
            let path = self.home.own_records().rescue();
            let error = Arc::new(store::Error::NotCommitted { path });
            let snapshot = Snapshot::found(look, Some(successor), state).under(restrictions);
            return Ok((found, snapshot.departed(Divergence::Uncommitted(error))));
        }
        Ok((found, Snapshot::found(look, stored, state).under(restrictions)))
    }

    /// The same where the restrictions of the configuration apply; one that cannot be read restricts nothing.
    pub(super) fn restricted(&self, snapshot: Snapshot) -> Snapshot {
        match self.stores() {
            Ok(stores) => snapshot.under(&stores.settings().config.restrictions),
            Err(_) => snapshot,
        }
    }

    pub(super) fn lock_timeout(&self) -> Duration {
        self.environment.lock_timeout
    }
}

/// Runs `request` to its end over a runtime of its own, and blocks this thread until then.
///
/// A caller inside a tokio runtime may do so too: tokio panics where its own threads start a second runtime, so the
/// request then gets a thread.
pub(super) fn block_on<T: Send>(request: impl Future<Output = T> + Send) -> Result<T, Error> {
    if Handle::try_current().is_err() {
        return block_this_thread_on(request);
    }
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, || block_this_thread_on(request));
        thread.map_err(|_| Error::BrokeDown)?.join().unwrap_or(Err(Error::BrokeDown))
    })
}

fn block_this_thread_on<T>(request: impl Future<Output = T>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|_| Error::BrokeDown)?;
    let answer = runtime.block_on(request);
    // A DNS lookup that is still running must not delay the answer.
    runtime.shutdown_background();
    Ok(answer)
}
