//! Options for opening a manager.

use std::sync::Arc;

use super::auth_manager::AuthManager;
use super::engine::{AccountPolicy, Engine};
use super::error::Error;
use super::provider::Provider;
use super::snapshot::{Divergence, Snapshot};
use crate::authority::{Authority, Deadlines};
use crate::clock::Clock;
use crate::config::{Environment, StoreSelection};
use crate::external::{ExternalAuth, ExternalToken};
use crate::home::Home;
use crate::store::KeychainClient;

/// Options for opening an [`AuthManager`].
#[derive(Clone, Debug)]
pub struct Builder {
    home: Home,
    environment: Environment,
    keychain: KeychainClient,
    clock: Clock,
    policy: AccountPolicy,
    authority: Option<Authority>,
    deadlines: Deadlines,
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

    /// Replaces the client of the authority, which by default has the proxy and certificate settings of the environment.
    #[must_use]
    pub fn authority(mut self, authority: Authority) -> Self {
        self.authority = Some(authority);
        self
    }

    /// Sets the time limits of requests to the authority. A client set by [`Self::authority`] keeps its own.
    #[must_use]
    pub fn deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// Reads the login from this store, whatever `config.toml` says.
    #[must_use]
    pub fn store(mut self, store: StoreSelection) -> Self {
        let overrides = std::mem::take(&mut self.environment.overrides);
        self.environment.overrides = overrides.with_store(store);
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
    /// waits for it does not stop the call. Its token is cached until it is stale. After a transient failure a token
    /// that has not expired is still returned, and the provider is called again after a pause. After a permanent
    /// failure no token is returned, and the provider is not called again until [`AuthManager::reload`].
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
    /// # Blocking
    /// Reads files, and the keychain if the login may be there: for at most the keychain timeout of the environment (5 s).
    /// In an async task, call it from `tokio::task::spawn_blocking`.
    ///
    /// # Panics
    /// Never; a keychain that panics is an error.
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

    /// Opens the manager as [`Self::open`] does, also where the store cannot be read: then the snapshot is empty and
    /// its [`Divergence`] is [`Divergence::Unreadable`]. For processes that [watch](AuthManager::watch) the login.
    ///
    /// # Blocking
    /// As [`Self::open`].
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

    pub(super) fn engine(self) -> Engine {
        let Self { home, environment, keychain, clock, policy, authority, deadlines, .. } = self;
        let authority = authority.unwrap_or_else(|| Authority::with_deadlines(&environment, deadlines));
        Engine { keychain, clock, authority, ..Engine::new(home, environment, policy) }
    }
}

impl AuthManager {
    /// Returns the environment that the login is read with.
    #[cfg(feature = "fleet")]
    pub(crate) fn environment(&self) -> &Environment {
        &self.0.engine.environment
    }

    /// Returns options for the login of `home`, with the system's keychain and clock.
    #[must_use]
    pub fn builder(home: Home, environment: Environment) -> Builder {
        let (keychain, clock) = (KeychainClient::system(), Clock::system());
        let policy = AccountPolicy::default();
        let deadlines = Deadlines::default();
        Builder {
            home,
            environment,
            keychain,
            clock,
            policy,
            authority: None,
            deadlines,
            provider: None,
            provided: None,
        }
    }
}
