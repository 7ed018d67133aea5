//! Decides when the requests of one client refresh the stored login.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use codex_auth_platform::sync::lock;

use super::auth_manager::AuthManager;
use super::engine::AccountPolicy;
use super::error::JobFailure;
use super::job::{Job, JobOutcome};
use super::owner::OwnerLookup;
use super::request::{RefreshReason, TokenDemand};
use super::snapshot::{Snapshot, SnapshotStatus};
use crate::authority::WorkspaceError;
use crate::document::AuthDocument;
use crate::secret::Fingerprint;

/// Pause after a failed refresh; the shared state of the home may ask for a longer one.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// How long the check of a token may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// The refreshes of a server with one client, which runs them as [`Job`]s.
///
/// As Codex's app-server does, it remembers which token the client knows: a request for a newer token gets the stored one
/// without a refresh if the client does not know that one yet.
#[derive(Debug)]
pub struct ClientRefresh {
    manager: AuthManager,
    known: Mutex<KnownToken>,
    pause: Mutex<Option<(Option<Fingerprint>, Instant)>>,
}

/// The fingerprint of the token that the client knows.
pub type KnownToken = Option<Fingerprint>;

/// Whether a response contains a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there are only two cases")]
pub enum TokenInclusion {
    /// It does.
    Token,
    /// It does not.
    Nothing,
}

impl ClientRefresh {
    /// Returns the refreshes of a client of the login of `manager`. The client counts as knowing the current token.
    #[must_use]
    pub fn new(manager: AuthManager) -> Self {
        let known = manager.current().bearer_fingerprint();
        Self { manager, known: Mutex::new(known), pause: Mutex::default() }
    }

    /// Returns the token that the client knows.
    #[must_use]
    pub fn known(&self) -> KnownToken {
        *lock(&self.known)
    }

    /// Records the current token as known to the client, if the response to `demand` contains it or the request demanded
    /// a newer one.
    pub fn record_known(&self, demand: TokenDemand, inclusion: TokenInclusion) {
        if matches!(demand, TokenDemand::NewerThan(_)) || inclusion == TokenInclusion::Token {
            *lock(&self.known) = self.manager.current().bearer_fingerprint();
        }
    }

    /// Reads the store again and, where `demand` asks for it, refreshes with `run`. An error is logged only: the caller
    /// reads the resulting snapshot.
    ///
    /// # Cancellation
    /// As that of the future of `run`.
    pub async fn refresh<F>(&self, demand: TokenDemand, run: impl FnOnce(Job) -> F)
    where
        F: Future<Output = Result<JobOutcome, JobFailure>>,
    {
        match demand {
            TokenDemand::NewerThan(_) | TokenDemand::OtherThan(_) => drop(self.manager.reload().await),
            _ => self.manager.catch_up().await,
        }
        let snapshot = self.manager.current();
        let now = self.manager.0.engine.clock.now();
        let Some(reason) = snapshot.refresh_reason(demand, now) else { return };
        if reason == RefreshReason::Stale && self.is_paused(&snapshot) {
            return;
        }
        let job = Job::refresh(reason, &snapshot, AccountPolicy::Follow);
        let refreshed = run(job).await.and_then(JobOutcome::into_refreshed);
        if let Err(failure) = &refreshed {
            tracing::warn!(causes = ?failure.causes, "not refreshed: {}", failure.message);
        }
        let pause = refreshed.is_err().then(|| (fingerprint(&snapshot), Instant::now() + RETRY_PAUSE));
        *lock(&self.pause) = pause;
        let _ = self.manager.reload().await;
    }

    /// Refreshes the stored login with `run` if the service of `owners` refuses its token, so that other processes that
    /// use this token find its successor in the store and need not refresh it all at once. Takes no more than
    /// three seconds if the token is accepted or the service does not respond.
    ///
    /// # Cancellation
    /// As that of the future of `run`.
    pub async fn refresh_if_refused<F>(&self, owners: &OwnerLookup, run: impl FnOnce(Job) -> F)
    where
        F: Future<Output = Result<JobOutcome, JobFailure>>,
    {
        let snapshot = self.manager.current();
        if snapshot.status(self.manager.0.engine.clock.now()) != SnapshotStatus::Fresh {
            return;
        }
        let Some(tokens) = snapshot.document().filter(|_| snapshot.is_refreshable()) else { return };
        let (Some(token), Some(tokens)) = (tokens.bearer(), tokens.tokens()) else { return };
        let Some(account_id) = &tokens.account_id else { return };
        let checked = tokio::time::timeout(CHECK_TIMEOUT, owners.check(token, account_id)).await;
        if matches!(checked, Ok(Err(WorkspaceError::Unauthorized))) {
            tracing::info!("the service refuses the access token; refreshing it");
            self.refresh(TokenDemand::OtherThan(token.fingerprint()), run).await;
        }
    }

    fn is_paused(&self, snapshot: &Snapshot) -> bool {
        let pause = lock(&self.pause);
        pause.is_some_and(|(token, until)| token == fingerprint(snapshot) && Instant::now() < until)
    }
}

fn fingerprint(snapshot: &Snapshot) -> Option<Fingerprint> {
    snapshot.document().and_then(AuthDocument::fingerprint)
}
