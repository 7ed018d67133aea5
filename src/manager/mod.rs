//! The manager: one login in the memory of a process, kept fresh, and ended.
//!
//! [`AuthManager`] holds a [`Snapshot`] of the login of a home. A fresh one is served without a lock, a file or the
//! network. A stale one is refreshed by the transaction of DESIGN section 5, which all processes of a machine agree on:
//! however many find the token stale at once, one request is sent, and every one of them gets the new token.
//!
//! The transaction has a thread and a runtime of its own. Dropping the future that waits for it changes nothing: it
//! runs to its end, and [`AuthManager::wait_idle`] waits for that. A host calls it last, before it exits.

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
pub use self::helper_job::{Job, JobFailure, RefreshOutcome};
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

/// The login of a home, for one process. Clones are handles on the same one.
#[derive(Clone)]
pub struct AuthManager(Arc<ManagerInner>);

struct ManagerInner {
    engine: Engine,
    snapshot: watch::Sender<Arc<Snapshot>>,
    flights: Flights<RefreshRequest>,
    questions: Flights<ProviderRequest>,
    bells: WatchTriggers,
    looked: StampCheck,
    provider: Option<Provider>,
}

/// A token to send with a request. It keeps its snapshot alive and nothing else.
#[derive(Clone, Debug)]
pub struct Token(Arc<Snapshot>);

impl Token {
    /// The bearer token.
    #[must_use]
    pub fn secret(&self) -> Option<&Secret> {
        self.0.bearer()
    }

    /// The login that it belongs to.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.0
    }
}

/// What a look at the store has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReloadOutcome {
    /// Another credential of the same login.
    Changed,
    /// A login where there was none.
    LoggedIn,
    /// No login any more.
    LoggedOut,
    /// The login of another account. Whether it is used is a matter of [`AccountPolicy`].
    OtherAccount,
    /// What was known.
    Same,
}

/// How to open a manager.
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
    /// What to do when another account logs in here; [`AccountPolicy::Stay`] if nothing is said.
    #[must_use]
    pub fn policy(mut self, policy: AccountPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Another keychain than the system's.
    #[must_use]
    pub fn keychain(mut self, keychain: KeychainClient) -> Self {
        self.keychain = keychain;
        self
    }

    /// Another clock than the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Has tokens come from `provider`, in the place of what is stored: the store is neither read nor written.
    ///
    /// The provider is asked when a token is wanted and none is at hand, never twice at once in one process, and on a
    /// thread of its own; dropping a future that waits for it changes nothing. Its answer is kept until it wants a
    /// successor. When the provider fails for the moment, a token that lives is served meanwhile, and it is asked again
    /// after a pause; when it fails for good no token is given out any more, and it is left alone until
    /// [`AuthManager::reload`].
    #[must_use]
    pub fn provider(mut self, provider: Arc<dyn ExternalAuth>) -> Self {
        self.provider = Some(Provider::new(provider));
        self
    }

    /// What the provider has given already, used until it wants a successor.
    #[must_use]
    pub fn provided(mut self, token: ExternalToken) -> Self {
        self.provided = Some(token);
        self
    }

    /// Opens the manager and takes its first look at the store.
    ///
    /// # Errors
    /// [`Error::Store`]: the store cannot be looked into, which never means that nobody is logged in.
    pub fn open(self) -> Result<AuthManager, Error> {
        match self.provider.clone() {
            Some(provider) => Ok(self.over_provider(provider)),
            None => {
                let engine = self.engine();
                let snapshot = engine.load()?;
                Ok(AuthManager::over(engine, None, snapshot))
            }
        }
    }

    /// As [`Self::open`], for who means to [watch](AuthManager::watch) and can wait: where the store cannot be looked
    /// into, the snapshot is empty and says so ([`Divergence::Unreadable`]).
    #[must_use]
    pub fn open_anyway(self) -> AuthManager {
        if let Some(provider) = self.provider.clone() {
            return self.over_provider(provider);
        }
        let engine = self.engine();
        let snapshot = engine.load().unwrap_or_else(|error| {
            Snapshot::new(None, None).departed(Divergence::Unreadable(Arc::new(error)))
        });
        AuthManager::over(engine, None, snapshot)
    }

    fn over_provider(self, provider: Provider) -> AuthManager {
        let now = self.clock.now();
        let snapshot = self.provided.clone().map(|token| provider.snapshot(token, now));
        AuthManager::over(self.engine(), Some(provider), snapshot.unwrap_or_default())
    }

    fn engine(self) -> Engine {
        let authority = Authority::new(&self.environment);
        let Self { home, environment, keychain, clock, policy, .. } = self;
        Engine { home, environment, keychain, authority, clock, policy, looks: ReadOrder::default() }
    }
}

impl AuthManager {
    /// A manager of the login of `home`, over the system's keychain and clock.
    #[must_use]
    pub fn builder(home: Home, environment: Environment) -> Builder {
        let (keychain, clock) = (KeychainClient::system(), Clock::system());
        let policy = AccountPolicy::default();
        Builder { home, environment, keychain, clock, policy, provider: None, provided: None }
    }

    /// What this process knows of the login, without looking again.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.snapshot.borrow())
    }

    /// A token that is good for a while, refreshed first if it must be. A stale one that lives is served all the same when
    /// the authority cannot be reached. Dropping the future does not stop a refresh that it waits for.
    ///
    /// # Errors
    /// [`Error`] says whether to log in again, to try again, or to mend the store.
    pub async fn token(&self) -> Result<Token, Error> {
        let now = self.0.engine.clock.now();
        let snapshot = self.current();
        let standing = snapshot.standing(now);
        if let Some(provider) = &self.0.provider
            && standing != SnapshotStatus::Fresh
        {
            return self.provided_token(provider, snapshot, standing).await;
        }
        match standing {
            SnapshotStatus::Fresh => return Ok(Token(snapshot)),
            // Somebody may have logged in since: then the store holds something else.
            SnapshotStatus::Poisoned | SnapshotStatus::Empty if self.may_have_changed() => {
                self.reload().await?;
            }
            SnapshotStatus::Poisoned
            | SnapshotStatus::Empty
            | SnapshotStatus::Stale
            | SnapshotStatus::Expired => {}
        }
        let snapshot = self.current();
        match snapshot.standing(now) {
            SnapshotStatus::Fresh => Ok(Token(snapshot)),
            SnapshotStatus::Poisoned => Err(poisoned(&snapshot)),
            SnapshotStatus::Empty => Err(empty(&snapshot)),
            SnapshotStatus::Stale if snapshot.fingerprint().is_none() => Ok(Token(snapshot)),
            standing => match self.refresh(RefreshReason::Stale).await {
                Ok(snapshot) => given(snapshot),
                Err(error) if standing == SnapshotStatus::Stale && !error.wants_login() => {
                    Ok(Token(snapshot))
                }
                Err(Error::OtherAccount) if standing == SnapshotStatus::Stale => Ok(Token(snapshot)),
                Err(error) => Err(error),
            },
        }
    }

    /// Refreshes the login for `reason`, or takes over what another process has refreshed meanwhile. Calls at the same
    /// time share one flight if its outcome covers their reasons, else they are served in their order. Locks: the lease.
    ///
    /// # Errors
    /// [`Error`]; a failure that passes leaves the snapshot as it was.
    pub async fn refresh(&self, reason: RefreshReason) -> Result<Arc<Snapshot>, Error> {
        if self.0.provider.is_some() {
            return self.provided_anew(reason).await;
        }
        let wanted = RefreshRequest { reason, base: CallerBase::of(&self.current()) };
        let (manager, errand) = (self.clone(), wanted.clone());
        let covers = |flight: &RefreshRequest, wanted: &RefreshRequest, outcome: &flight::FlightResult| {
            wanted.is_covered_by(flight, outcome, self.0.engine.clock.now())
        };
        self.0.flights.join(wanted, covers, move || manager.transact(errand)).await
    }

    /// Looks at the store again, or asks the provider, also one that had refused. Takes no lock.
    ///
    /// # Errors
    /// [`Error::Store`]: the store cannot be looked into; the snapshot stays as it was. [`Error::Provider`].
    pub async fn reload(&self) -> Result<ReloadOutcome, Error> {
        if self.0.provider.is_some() {
            return self.ask_provider_again().await;
        }
        let manager = self.clone();
        flight::on_thread(move || manager.look_again()).await
    }

    /// Looks at the store again if a file of the home has changed since the last look, so that the effect of every command
    /// that has ended is seen. What cannot be read leaves the snapshot as it was.
    pub async fn catch_up(&self) {
        if self.0.provider.is_none() && self.files_have_changed() {
            let _ = self.reload().await;
        }
    }

    /// Whether a token of `snapshot` can be had now. Where its token has expired, everything is looked at that a refresh
    /// needs, on a thread of its own; nothing is created, changed or locked, and no request is sent.
    pub async fn usability(&self, snapshot: &Arc<Snapshot>) -> Usability {
        let now = self.0.engine.clock.now();
        // An answer from memory leaves no trace of a token on the stack of another thread.
        if !login_status::is_due(snapshot, now) {
            return snapshot.usability(now);
        }
        let (engine, snapshot) = (self.0.engine.clone(), Arc::clone(snapshot));
        flight::on_thread(move || Ok(login_status::usability(&engine, &snapshot)))
            .await
            .unwrap_or_else(Usability::Unusable)
    }

    /// Begins to recover from a server that refused the token of `snapshot` with a 401.
    #[must_use]
    pub fn recover(&self, snapshot: &Snapshot) -> UnauthorizedRecovery {
        UnauthorizedRecovery::new(self.clone(), snapshot)
    }

    /// Every new snapshot from now on; a slow receiver gets the latest.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.snapshot.subscribe()
    }

    /// Follows what other processes do to the login, for as long as the answer lives: every change of it becomes a new
    /// snapshot, and a mere event does not. An embedder that lives longer than one request wants this.
    ///
    /// A logout elsewhere empties the snapshot; a new login heals a poisoned one; a store that cannot be read leaves it as
    /// it is ([`Divergence::Unreadable`]). Another account's login is followed or stated by [`AccountPolicy`]. Locks nothing.
    #[must_use = "it follows for as long as it lives"]
    pub fn watch(&self) -> WatchHandle {
        WatchHandle::start(self.clone())
    }

    /// Waits until no transaction of this manager runs: the last call of a host before it exits.
    pub async fn wait_idle(&self) {
        tokio::join!(self.0.flights.set_result(), self.0.questions.set_result());
    }

    fn over(engine: Engine, provider: Option<Provider>, snapshot: Snapshot) -> Self {
        let (snapshot, _) = watch::channel(Arc::new(snapshot));
        let (flights, questions) = (Flights::default(), Flights::default());
        let (bells, looked) = (WatchTriggers::default(), StampCheck::default());
        Self(Arc::new(ManagerInner { engine, snapshot, flights, questions, bells, looked, provider }))
    }

    fn transact(&self, RefreshRequest { reason, base }: RefreshRequest) -> Result<Arc<Snapshot>, Error> {
        let engine = &self.0.engine;
        let deadline = LockDeadline::after(engine.lock_timeout());
        let outcome = Transaction { engine, reason, base, deadline }.run(&mut |_| ControlFlow::Continue(()));
        match outcome {
            Ok(snapshot) => {
                failpoint::at("publishing");
                let snapshot = self.publish(self.0.engine.restricted(snapshot));
                // What was seen meanwhile may be newer than what this has just published.
                self.0.bells.ring();
                Ok(snapshot)
            }
            Err(error) => {
                self.learn(&error);
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

/// The token of `snapshot`, unless it is withheld.
fn given(snapshot: Arc<Snapshot>) -> Result<Token, Error> {
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
