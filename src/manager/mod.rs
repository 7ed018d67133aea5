//! Serves, refreshes, watches and ends one login for one process.
//!
//! [`AuthManager`] holds a [`Snapshot`] of the login of a home. A fresh token is returned without a lock, a file or the
//! network. A stale one is refreshed in a transaction under the home's lease: however many processes of a machine find the
//! token stale at once, one request is sent, and all of them get the new token.
//!
//! The transaction runs on its own thread and runtime. Dropping the future that waits for it does not stop it;
//! [`AuthManager::wait_idle`] waits until it has ended. Call that before the process exits.

mod change;
mod engine;
mod error;
mod flight;
mod follow;
mod helper_job;
mod login_status;
pub mod logout;
mod migrate;
mod provider;
mod publication;
mod read_order;
mod recover;
mod remove_login;
mod remove_unreadable;
mod request;
mod snapshot;
mod spend;
mod stamp_check;
mod transaction;
mod unauthorized;
mod unusable;
mod usability;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::watch;

pub use self::change::LoginChange;
pub use self::engine::AccountPolicy;
use self::engine::Engine;
pub use self::error::Error;
use self::flight::Flights;
pub use self::follow::WatchHandle;
use self::follow::WatchTriggers;
pub use self::helper_job::{Job, JobFailure, JobOutcome};
pub use self::login_status::LoginStatus;
pub use self::migrate::move_login;
use self::provider::{Provider, ProviderRequest};
use self::read_order::ReadOrder;
pub use self::recover::finish_rescue;
pub use self::request::RefreshReason;
use self::request::{CallerBase, RefreshRequest};
pub use self::snapshot::{Divergence, Snapshot, SnapshotStatus};
use self::stamp_check::StampCheck;
use self::transaction::Transaction;
pub use self::unauthorized::{RecoveryStep, UnauthorizedRecovery};
pub use self::unusable::Unusable;
pub use self::usability::Usability;
use crate::authority::Authority;
use crate::clock::Clock;
use crate::config::Environment;
use crate::external::{ExternalAuth, ExternalToken};
use crate::failpoint;
use crate::home::Home;
use crate::secret::Secret;
use crate::store::{KeychainClient, LockDeadline};

/// The login of a home, for one process. Clones share one state.
#[derive(Clone)]
pub struct AuthManager(Arc<ManagerInner>);

struct ManagerInner {
    engine: Engine,
    snapshot: watch::Sender<Arc<Snapshot>>,
    flights: Flights<RefreshRequest>,
    provider_requests: Flights<ProviderRequest>,
    watch_triggers: WatchTriggers,
    last_read: StampCheck,
    provider: Option<Provider>,
}

/// A bearer token and the snapshot that it comes from.
#[derive(Clone, Debug)]
pub struct Token(Arc<Snapshot>);

impl Token {
    /// Returns the bearer token.
    #[must_use]
    pub fn secret(&self) -> Option<&Secret> {
        self.0.bearer()
    }

    /// Returns the snapshot that the token comes from.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.0
    }
}

/// How the stored login differs from the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReloadOutcome {
    /// The same login has another credential.
    Changed,
    /// There is a login where there was none.
    LoggedIn,
    /// The login is gone.
    LoggedOut,
    /// Another account is logged in. [`AccountPolicy`] decides whether it is used.
    OtherAccount,
    /// Nothing changed.
    Same,
}

/// Options for opening an [`AuthManager`].
#[derive(Clone, Debug)]
pub struct Builder {
    home: Home,
    environment: Environment,
    keychain: KeychainClient,
    clock: Clock,
    policy: AccountPolicy,
    provider: Option<Provider>,
    provided: Option<ExternalToken>,
}

impl Builder {
    /// Sets what happens when another account logs in. The default is [`AccountPolicy::Stay`].
    #[must_use]
    pub fn policy(mut self, policy: AccountPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Replaces the system's keychain.
    #[must_use]
    pub fn keychain(mut self, keychain: KeychainClient) -> Self {
        self.keychain = keychain;
        self
    }

    /// Replaces the system's clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Takes tokens from `provider`. The store is neither read nor written.
    ///
    /// The provider is called on its own thread when a token is needed, by one caller at a time; dropping a future that
    /// waits for it does not stop the call. Its token is cached until it is stale. After a transient failure a token that
    /// has not expired is still returned, and the provider is called again after a pause. After a permanent failure no
    /// token is returned, and the provider is not called again until [`AuthManager::reload`].
    #[must_use]
    pub fn provider(mut self, provider: Arc<dyn ExternalAuth>) -> Self {
        self.provider = Some(Provider::new(provider));
        self
    }

    /// Sets a token that the provider has issued already; it is used until it is stale.
    #[must_use]
    pub fn provided(mut self, token: ExternalToken) -> Self {
        self.provided = Some(token);
        self
    }

    /// Opens the manager and reads the store.
    ///
    /// # Errors
    /// [`Error::Store`]: the store cannot be read. This does not mean that the home is logged out.
    pub fn open(self) -> Result<AuthManager, Error> {
        match self.provider.clone() {
            Some(provider) => Ok(self.with_provider(provider)),
            None => {
                let engine = self.engine();
                let snapshot = engine.load()?;
                Ok(AuthManager::with_engine(engine, None, snapshot))
            }
        }
    }

    /// Opens the manager as [`Self::open`] does, also where the store cannot be read: then the snapshot is empty and its
    /// [`Divergence`] is [`Divergence::Unreadable`]. For processes that [watch](AuthManager::watch) the login.
    #[must_use]
    pub fn open_anyway(self) -> AuthManager {
        if let Some(provider) = self.provider.clone() {
            return self.with_provider(provider);
        }
        let engine = self.engine();
        let snapshot = engine.load().unwrap_or_else(|error| {
            Snapshot::new(None, None).diverging(Divergence::Unreadable(Arc::new(error)))
        });
        AuthManager::with_engine(engine, None, snapshot)
    }

    fn with_provider(self, provider: Provider) -> AuthManager {
        let now = self.clock.now();
        let snapshot = self.provided.clone().map(|token| provider.snapshot(token, now));
        AuthManager::with_engine(self.engine(), Some(provider), snapshot.unwrap_or_default())
    }

    fn engine(self) -> Engine {
        let authority = Authority::new(&self.environment);
        let Self { home, environment, keychain, clock, policy, .. } = self;
        Engine { home, environment, keychain, authority, clock, policy, read_order: ReadOrder::default() }
    }
}

impl AuthManager {
    /// Returns options for the login of `home`, with the system's keychain and clock.
    #[must_use]
    pub fn builder(home: Home, environment: Environment) -> Builder {
        let (keychain, clock) = (KeychainClient::system(), Clock::system());
        let policy = AccountPolicy::default();
        Builder { home, environment, keychain, clock, policy, provider: None, provided: None }
    }

    /// Returns the latest snapshot in memory, without reading the store.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.snapshot.borrow())
    }

    /// Returns a token, and refreshes it first if it is stale. If the refresh fails and a new login would not help, a
    /// stale token that has not expired is returned. Dropping the future does not stop the refresh.
    ///
    /// # Errors
    /// [`Error::kind`] says whether to log in again, to try again, or to repair the store.
    pub async fn token(&self) -> Result<Token, Error> {
        let now = self.0.engine.clock.now();
        let snapshot = self.current();
        let standing = snapshot.status(now);
        if let Some(provider) = &self.0.provider
            && standing != SnapshotStatus::Fresh
        {
            return self.provided_token(provider, snapshot, standing).await;
        }
        match standing {
            SnapshotStatus::Fresh => return Ok(Token(snapshot)),
            // There may have been a login since the last read.
            SnapshotStatus::Poisoned | SnapshotStatus::Empty if self.may_have_changed() => {
                self.reload().await?;
            }
            SnapshotStatus::Poisoned
            | SnapshotStatus::Empty
            | SnapshotStatus::Stale
            | SnapshotStatus::Expired => {}
        }
        let snapshot = self.current();
        match snapshot.status(now) {
            SnapshotStatus::Fresh => Ok(Token(snapshot)),
            SnapshotStatus::Poisoned => Err(poisoned(&snapshot)),
            SnapshotStatus::Empty => Err(empty(&snapshot)),
            SnapshotStatus::Stale if snapshot.fingerprint().is_none() => Ok(Token(snapshot)),
            standing => match self.refresh(RefreshReason::Stale).await {
                Ok(snapshot) => usable_token(snapshot),
                Err(error) if standing == SnapshotStatus::Stale && !error.wants_login() => {
                    Ok(Token(snapshot))
                }
                Err(Error::OtherAccount) if standing == SnapshotStatus::Stale => Ok(Token(snapshot)),
                Err(error) => Err(error),
            },
        }
    }

    /// Refreshes the login for `reason`, or adopts what another process has refreshed meanwhile. Concurrent calls share
    /// one refresh if its outcome covers their reasons; otherwise they run in call order. Locks: the lease.
    ///
    /// # Errors
    /// [`Error`]. A transient failure leaves the snapshot unchanged.
    pub async fn refresh(&self, reason: RefreshReason) -> Result<Arc<Snapshot>, Error> {
        if self.0.provider.is_some() {
            return self.refresh_provided(reason).await;
        }
        let wanted = RefreshRequest { reason, base: CallerBase::of(&self.current()) };
        let (manager, request) = (self.clone(), wanted.clone());
        let covers = |flight: &RefreshRequest, wanted: &RefreshRequest, outcome: &flight::FlightResult| {
            wanted.is_covered_by(flight, outcome, self.0.engine.clock.now())
        };
        self.0.flights.join(wanted, covers, move || manager.run_transaction(request)).await
    }

    /// Reads the store again, or calls the provider, also after a permanent failure of it. Takes no lock.
    ///
    /// # Errors
    /// [`Error::Store`]: the store cannot be read; the snapshot is unchanged. [`Error::Provider`].
    pub async fn reload(&self) -> Result<ReloadOutcome, Error> {
        if self.0.provider.is_some() {
            return self.reload_provided().await;
        }
        let manager = self.clone();
        flight::on_thread(move || manager.read_store()).await
    }

    /// Reads the store again if a file of the home has changed since the last read, so that the snapshot shows the effect
    /// of every command that has exited. If the read fails, the snapshot is unchanged.
    pub async fn catch_up(&self) {
        if self.0.provider.is_none() && self.files_have_changed() {
            let _ = self.reload().await;
        }
    }

    /// Checks whether [`Self::token`] is expected to succeed for `snapshot`. If its token is stale, this checks on another
    /// thread everything that a refresh needs; it creates, changes and locks nothing, and sends no request.
    pub async fn usability(&self, snapshot: &Arc<Snapshot>) -> Usability {
        let now = self.0.engine.clock.now();
        // Without another thread no copy of a token remains on its stack.
        if !login_status::is_due(snapshot, now) {
            return snapshot.usability(now);
        }
        let (engine, snapshot) = (self.0.engine.clone(), Arc::clone(snapshot));
        flight::on_thread(move || Ok(login_status::usability(&engine, &snapshot)))
            .await
            .unwrap_or_else(Usability::Unusable)
    }

    /// Starts the recovery from a 401 response to the token of `snapshot`.
    #[must_use]
    pub fn recover(&self, snapshot: &Snapshot) -> UnauthorizedRecovery {
        UnauthorizedRecovery::new(self.clone(), snapshot)
    }

    /// Returns a receiver of new snapshots; a slow receiver sees only the latest.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.snapshot.subscribe()
    }

    /// Publishes a new snapshot for every change that another process makes to the login, until the handle is dropped.
    /// Processes that live longer than one request should use it.
    ///
    /// A logout empties the snapshot; a new login replaces a poisoned one; a store that cannot be read leaves the snapshot
    /// with [`Divergence::Unreadable`]. [`AccountPolicy`] decides whether another account is used. Takes no lock.
    #[must_use = "dropping the handle stops the watch"]
    pub fn watch(&self) -> WatchHandle {
        WatchHandle::start(self.clone())
    }

    /// Waits until no refresh of this manager is running. Call it before the process exits.
    pub async fn wait_idle(&self) {
        tokio::join!(self.0.flights.wait_idle(), self.0.provider_requests.wait_idle());
    }

    fn with_engine(engine: Engine, provider: Option<Provider>, snapshot: Snapshot) -> Self {
        let (snapshot, _) = watch::channel(Arc::new(snapshot));
        let (flights, provider_requests) = (Flights::default(), Flights::default());
        let (watch_triggers, last_read) = (WatchTriggers::default(), StampCheck::default());
        Self(Arc::new(ManagerInner {
            engine,
            snapshot,
            flights,
            provider_requests,
            watch_triggers,
            last_read,
            provider,
        }))
    }

    fn run_transaction(
        &self,
        RefreshRequest { reason, base }: RefreshRequest,
    ) -> Result<Arc<Snapshot>, Error> {
        let engine = &self.0.engine;
        let deadline = LockDeadline::after(engine.lock_timeout());
        let outcome = Transaction { engine, reason, base, deadline }.run(&mut |_| ControlFlow::Continue(()));
        match outcome {
            Ok(snapshot) => {
                failpoint::at("publishing");
                let snapshot = self.publish(self.0.engine.restricted(snapshot));
                // The store may have changed between the commit and this publication.
                self.0.watch_triggers.wake();
                Ok(snapshot)
            }
            Err(error) => {
                self.apply_failure(&error);
                Err(error)
            }
        }
    }
}

impl fmt::Debug for AuthManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthManager")
            .field("engine", &self.0.engine)
            .field("snapshot", &self.current())
            .finish()
    }
}

/// Returns the token of `snapshot`, unless it is empty or its use is forbidden.
fn usable_token(snapshot: Arc<Snapshot>) -> Result<Token, Error> {
    if snapshot.bearer().is_some() { Ok(Token(snapshot)) } else { Err(empty(&snapshot)) }
}

fn poisoned(snapshot: &Snapshot) -> Error {
    snapshot.poison().map_or(Error::LoggedOut, |poison| Error::Poisoned(Box::new(poison.clone())))
}

fn empty(snapshot: &Snapshot) -> Error {
    match snapshot.usability(jiff::Timestamp::MIN) {
        Usability::Unusable(Error::Unusable(Unusable::NotLoggedIn)) => Error::LoggedOut,
        Usability::Unusable(error) => error,
        _ => Error::LoggedOut,
    }
}
