//! The login of a home in one process: serves its token, refreshes it, and reloads it.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use codex_auth_platform::sync::lock;
use jiff::Timestamp;
use tokio::sync::watch;

use super::engine::Engine;
use super::error::{Error, Usability};
use super::login_status::{self, is_due};
use super::provider::{Provider, ProviderRequest};
use super::read_order::{CheckedStamps, StampCheck};
use super::request::{CallerBase, FlightResult, Flights, RefreshReason, RefreshRequest, on_thread};
use super::snapshot::{Snapshot, SnapshotStatus};
use super::token::Token;
use super::transaction::Transaction;
use crate::external::{self, Persistence};
use crate::failpoint;
use crate::history::History;
use crate::store::{self, LockDeadline};
use crate::watch::WatchTrigger;

/// The login of a home, for one process. Clones share one state.
#[derive(Clone)]
pub struct AuthManager(pub(super) Arc<ManagerInner>);

pub(super) struct ManagerInner {
    pub(super) engine: Engine,
    /// Changes together with `snapshot`. Reading it writes no memory that threads share.
    pub(super) latest: ArcSwap<Snapshot>,
    pub(super) snapshot: watch::Sender<Arc<Snapshot>>,
    pub(super) flights: Flights<RefreshRequest>,
    pub(super) provider_requests: Flights<ProviderRequest>,
    pub(super) watch_triggers: WatchTriggers,
    pub(super) last_read: StampCheck,
    pub(super) provider: Option<Provider>,
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
    /// Another account is logged in. [`AccountPolicy`](super::AccountPolicy) decides whether it is used.
    OtherAccount,
    /// Nothing changed.
    Same,
}

/// Triggers of the watches that read the store again after a transaction of this process. Dropped ones are removed.
#[derive(Debug, Default)]
pub(super) struct WatchTriggers(pub(super) Mutex<Vec<Weak<WatchTrigger>>>);

impl WatchTriggers {
    pub(super) fn add(&self, trigger: &Arc<WatchTrigger>) {
        let mut triggers = lock(&self.0);
        triggers.retain(|trigger| trigger.strong_count() > 0);
        triggers.push(Arc::downgrade(trigger));
    }

    pub(super) fn wake(&self) {
        let triggers = lock(&self.0);
        triggers.iter().filter_map(Weak::upgrade).for_each(|trigger| trigger.wake());
    }
}

impl AuthManager {
    /// Returns the latest snapshot in memory, without reading the store.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.0.latest.load_full()
    }

    /// Returns a token, and refreshes it first if it is stale. If the refresh fails and a new login would not help, a
    /// stale token that has not expired is returned.
    ///
    /// # Cancellation
    /// Dropping the future does not stop the refresh, and loses nothing: the next call gets its result.
    ///
    /// # Errors
    /// [`Error::kind`] says whether to log in again, to try again, or to repair the store.
    pub async fn token(&self) -> Result<Token, Error> {
        let now = self.0.engine.clock.now();
        let snapshot = self.0.latest.load();
        let status = snapshot.status(now);
        if status == SnapshotStatus::Fresh {
            return Token::of(snapshot, now);
        }
        if let Some(provider) = &self.0.provider {
            return self.provided_token(provider, Guard::into_inner(snapshot), status).await;
        }
        let is_unusable = matches!(status, SnapshotStatus::Poisoned | SnapshotStatus::Empty);
        // There may have been a login since the last read.
        if is_unusable && self.may_have_changed(&snapshot) {
            self.reload().await?;
        }
        let snapshot = self.current();
        match snapshot.status(now) {
            SnapshotStatus::Fresh => Token::of(snapshot, now),
            SnapshotStatus::Poisoned => Err(poisoned(&snapshot)),
            SnapshotStatus::Empty => Token::of(snapshot, now),
            SnapshotStatus::Stale if snapshot.fingerprint().is_none() => Token::of(snapshot, now),
            status => match self.refresh(RefreshReason::Stale).await {
                Ok(snapshot) => Token::of(snapshot, now),
                Err(error) if status == SnapshotStatus::Stale && !error.wants_login() => {
                    tracing::debug!(%error, "not refreshed; the stale token is used meanwhile");
                    Token::of(snapshot, now)
                }
                Err(Error::OtherAccount) if status == SnapshotStatus::Stale => Token::of(snapshot, now),
                Err(error) => Err(error),
            },
        }
    }

    /// Returns a token that is valid for at least `min_ttl`, and refreshes it first if it is not. Where the authority
    /// issues no token that lasts so long, the newest is returned, and there is at most one refresh a minute. A provider and a token without a refresh token are
    /// not asked for more than they have.
    ///
    /// # Cancellation
    /// As [`Self::token`].
    ///
    /// # Errors
    /// As [`Self::token`], and those of the refresh: a shorter token is not returned instead.
    pub async fn token_for(&self, min_ttl: Duration) -> Result<Token, Error> {
        let token = self.token().await?;
        if token.lasts(min_ttl) || token.snapshot().fingerprint().is_none() {
            return Ok(token);
        }
        let snapshot = self.refresh(RefreshReason::min_ttl(min_ttl)).await?;
        Token::of(snapshot, self.0.engine.clock.now())
    }

    /// Refreshes the login for `reason`, or adopts what another process has refreshed meanwhile. Concurrent calls share
    /// one refresh if its outcome covers their reasons; otherwise they run in call order. Locks: the lease.
    ///
    /// # Cancellation
    /// As [`Self::token`].
    ///
    /// # Errors
    /// [`Error`]. A transient failure leaves the snapshot unchanged.
    pub async fn refresh(&self, reason: RefreshReason) -> Result<Arc<Snapshot>, Error> {
        if self.0.provider.is_some() {
            return self.refresh_provided(reason).await;
        }
        let request = RefreshRequest { reason, base: CallerBase::of(&self.current()) };
        let (manager, own) = (self.clone(), request.clone());
        let covers = |flight: &RefreshRequest, request: &RefreshRequest, outcome: &FlightResult| {
            request.is_covered_by(flight, outcome, self.0.engine.clock.now())
        };
        self.0.flights.join(request, covers, move || manager.run_transaction(own)).await
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
        on_thread(move || manager.read_store()).await
    }

    /// Reads the store again if a file of the home has changed since the last read, so that the snapshot shows the
    /// effect of every command that has exited. If the read fails, the snapshot is unchanged.
    pub async fn catch_up(&self) {
        if self.0.provider.is_none() && self.0.last_read.files_have_changed(&self.0.engine.home) {
            let _ = self.reload().await;
        }
    }

    /// Checks whether [`Self::token`] is expected to succeed for `snapshot`. If its token is stale, this checks on
    /// another thread everything that a refresh needs; it creates, changes and locks nothing, and sends no request.
    pub async fn usability(&self, snapshot: &Arc<Snapshot>) -> Usability {
        let now = self.0.engine.clock.now();
        // Without another thread no copy of a token remains on its stack.
        if !is_due(snapshot, now) {
            return snapshot.usability(now);
        }
        let (engine, snapshot) = (self.0.engine.clone(), Arc::clone(snapshot));
        on_thread(move || Ok(login_status::usability(&engine, &snapshot)))
            .await
            .unwrap_or_else(Usability::Unusable)
    }

    /// Returns the history of the login. Touches no file of it.
    ///
    /// # Errors
    /// As [`store::DocumentTarget::of`].
    pub fn history(&self) -> Result<History, store::Error> {
        self.0.engine.history()
    }

    /// Records in the history what a watch has noticed: a change by another program, or a store that cannot be read. For a
    /// process that watches the login for others, as the keeper does. What a lease holder is changing is left to it. Reads
    /// the store on another thread; takes no lock but `history.lock`.
    pub async fn record_observations(&self) {
        let engine = self.0.engine.clone();
        let observe = move || {
            engine.record_observations();
            Ok(())
        };
        let _ = on_thread(observe).await;
    }

    /// Returns a receiver of new snapshots; a slow receiver sees only the latest.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.snapshot.subscribe()
    }

    /// Waits until no refresh of this manager is running. Call it before the process exits.
    ///
    /// # Cancellation
    /// Dropping the future ends the wait only.
    pub async fn wait_idle(&self) {
        tokio::join!(self.0.flights.wait_idle(), self.0.provider_requests.wait_idle());
    }

    /// Reads the store, and returns the stamps from just before.
    pub(super) fn load(&self) -> Result<(Snapshot, CheckedStamps), store::Error> {
        let stamps = StampCheck::stat(&self.0.engine.home);
        Ok((self.0.engine.load()?, stamps))
    }

    fn may_have_changed(&self, snapshot: &Snapshot) -> bool {
        self.0.last_read.may_have_changed(&self.0.engine.home, snapshot.location())
    }

    pub(super) fn with_engine(engine: Engine, provider: Option<Provider>, snapshot: Snapshot) -> Self {
        let latest = ArcSwap::from_pointee(snapshot);
        let (snapshot, _) = watch::channel(latest.load_full());
        let (flights, provider_requests) = (Flights::default(), Flights::default());
        let (watch_triggers, last_read) = (WatchTriggers::default(), StampCheck::default());
        Self(Arc::new(ManagerInner {
            engine,
            latest,
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
                tracing::trace!(token = ?snapshot.fingerprint(), "refresh: publishing the snapshot");
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

impl AuthManager {
    /// Returns the provider's token; calls the provider unless a pause is running.
    pub(super) async fn provided_token(
        &self,
        provider: &Provider,
        current: Arc<Snapshot>,
        status: SnapshotStatus,
    ) -> Result<Token, Error> {
        if let Some(refusal) = current.refusal() {
            return Err(Error::Provider(Arc::clone(refusal)));
        }
        let now = self.0.engine.clock.now();
        let outcome = match provider.pause_error() {
            Some(error) => Err(error),
            None => self.join_request(ProviderRequest::Current).await,
        };
        match outcome {
            Ok(snapshot) => Token::of(snapshot, now),
            // A stale token is served until the provider fails permanently.
            Err(error) if status == SnapshotStatus::Stale && self.current().refusal().is_none() => {
                tracing::debug!(%error, "the provider failed; the stale token is used meanwhile");
                Token::of(current, now)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns a token other than the current one, for `reason`.
    pub(super) async fn refresh_provided(&self, reason: RefreshReason) -> Result<Arc<Snapshot>, Error> {
        let (reason, refused) = match reason {
            RefreshReason::Unauthorized(refused) => (external::RequestReason::Unauthorized, Some(refused)),
            RefreshReason::Stale => (external::RequestReason::Expired, None),
            _ => (external::RequestReason::Forced, None),
        };
        let snapshot = self.join_request(ProviderRequest::Another(reason)).await?;
        // A shared flight may have returned the very token that was refused.
        if refused.is_some() && snapshot.bearer_fingerprint() == refused {
            return self.join_request(ProviderRequest::Another(reason)).await;
        }
        Ok(snapshot)
    }

    /// Calls the provider for its current token, also after a permanent failure.
    pub(super) async fn reload_provided(&self) -> Result<ReloadOutcome, Error> {
        let before = self.current();
        let after = self.join_request(ProviderRequest::Current).await?;
        Ok(match (before.is_login(), before.has_same_credential_as(&after)) {
            (false, _) => ReloadOutcome::LoggedIn,
            (true, true) => ReloadOutcome::Same,
            (true, false) if before.identity().contradicts(&after.identity()) => ReloadOutcome::OtherAccount,
            (true, false) => ReloadOutcome::Changed,
        })
    }

    async fn join_request(&self, request: ProviderRequest) -> Result<Arc<Snapshot>, Error> {
        let manager = self.clone();
        let covers = |flight: &ProviderRequest, request: &ProviderRequest, outcome: &FlightResult| {
            flight == request || (outcome.is_ok() && request.is_covered_by(*flight))
        };
        self.0.provider_requests.join(request, covers, move || manager.call_provider(request)).await
    }

    /// Calls the provider and publishes its token. Runs on the thread of a flight.
    fn call_provider(&self, request: ProviderRequest) -> Result<Arc<Snapshot>, Error> {
        let Some(provider) = &self.0.provider else { return Err(Error::LoggedOut) };
        let (current, now) = (self.current(), self.0.engine.clock.now());
        let token = match provider.call(request, &current, now) {
            Ok(token) => token,
            Err(error) => {
                self.apply_provider_failure(provider, &current, &error, now);
                return Err(error);
            }
        };
        provider.end_pause();
        let is_other_account = token.identity().contradicts(&current.identity());
        if is_other_account && request == ProviderRequest::Another(external::RequestReason::Unauthorized) {
            return Err(Error::OtherAccount);
        }
        // The same token does not end a permanent failure.
        if let Some(refusal) = current.refusal()
            && Some(token.fingerprint()) == current.bearer_fingerprint()
        {
            return Err(Error::Provider(Arc::clone(refusal)));
        }
        Ok(self.publish_provided(provider.snapshot(token, now)))
    }

    fn apply_provider_failure(&self, provider: &Provider, current: &Snapshot, error: &Error, now: Timestamp) {
        match error {
            // The token remains valid.
            Error::Provider(refusal) if matches!(**refusal, external::Error::NotRefreshable { .. }) => {}
            Error::Provider(refusal) if refusal.persistence() == Persistence::Permanent => {
                self.publish_provided(current.with_refusal(Arc::clone(refusal)));
            }
            error => provider.start_pause(error, current.status(now)),
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

fn poisoned(snapshot: &Snapshot) -> Error {
    snapshot.poison().map_or(Error::LoggedOut, |poison| Error::Poisoned(Box::new(poison.clone())))
}
