//! Recovery from a 401 response: reload, then refresh once, then give up.

use std::sync::Arc;

use super::auth_manager::{AuthManager, ReloadOutcome};
use super::error::Error;
use super::request::RefreshReason;
use super::snapshot::Snapshot;
use super::token::Token;
use crate::external;
use crate::secret::{Fingerprint, Secret};

/// The recovery from one 401 response. Each call of [`Self::next`] takes one step; retry the request after each
/// success.
///
/// It spends at most one token and never switches to another account. A token received less than a minute ago is not
/// refreshed, also across recoveries.
#[derive(Debug)]
pub struct UnauthorizedRecovery {
    manager: AuthManager,
    refused: Option<Fingerprint>,
    /// The snapshot whose token was refused.
    before: Box<Snapshot>,
    step: NextStep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NextStep {
    AskProvider,
    Reload,
    Refresh,
    Done,
}

/// The outcome of a step.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a caller must handle every outcome")]
pub enum RecoveryStep {
    /// The store already holds another token; retry with it.
    Reloaded(Token),
    /// The token was refreshed; retry with it.
    Refreshed(Token),
    /// There are no more steps; report the 401.
    Exhausted,
}

impl AuthManager {
    /// Starts the recovery from a 401 response to the token of `snapshot`.
    #[must_use]
    pub fn recover(&self, snapshot: &Snapshot) -> UnauthorizedRecovery {
        UnauthorizedRecovery::new(self.clone(), snapshot)
    }
}

impl UnauthorizedRecovery {
    fn new(manager: AuthManager, snapshot: &Snapshot) -> Self {
        let refused = snapshot.bearer().map(Secret::fingerprint);
        let step = match () {
            () if manager.0.provider.is_some() => NextStep::AskProvider,
            () if snapshot.fingerprint().is_some() => NextStep::Reload,
            () => NextStep::Done,
        };
        Self { manager, refused, before: Box::new(snapshot.clone()), step }
    }

    /// Takes the next step.
    ///
    /// # Errors
    /// - [`Error::LoggedOut`], [`Error::OtherAccount`]: the refused login is no longer stored.
    /// - Otherwise as [`AuthManager::refresh`]. After a transient failure the step can be repeated.
    pub async fn next(&mut self) -> Result<RecoveryStep, Error> {
        if self.step == NextStep::AskProvider {
            return self.ask_provider().await;
        }
        if self.step == NextStep::Reload {
            let found = self.manager.reload().await?;
            self.step = NextStep::Refresh;
            if let Some(token) = self.changed_token(found)? {
                return Ok(RecoveryStep::Reloaded(token));
            }
        }
        let (NextStep::Refresh, Some(refused)) = (self.step, self.refused) else {
            return Ok(RecoveryStep::Exhausted);
        };
        match self.manager.refresh(RefreshReason::Unauthorized(refused)).await {
            Ok(snapshot) => {
                self.step = NextStep::Done;
                if !snapshot.is_same_login_as(&self.before) {
                    return Err(Error::OtherAccount);
                }
                Ok(RecoveryStep::Refreshed(self.token(snapshot)?))
            }
            Err(error) => {
                if error.wants_login() {
                    self.step = NextStep::Done;
                }
                Err(error)
            }
        }
    }

    /// Takes the only step for a provider: gets another token, unless another caller has already done so.
    async fn ask_provider(&mut self) -> Result<RecoveryStep, Error> {
        let differs = |snapshot: &Snapshot, refused| snapshot.bearer().map(Secret::fingerprint) != refused;
        let held = self.manager.current();
        if held.refusal().is_none() && held.bearer().is_some() && differs(&held, self.refused) {
            if !held.is_same_login_as(&self.before) {
                self.step = NextStep::Done;
                return Err(Error::OtherAccount);
            }
            self.refused = held.bearer().map(Secret::fingerprint);
            return Ok(RecoveryStep::Reloaded(self.token(held)?));
        }
        let (Some(refused), None) = (self.refused, held.refusal()) else {
            self.step = NextStep::Done;
            return held
                .refusal()
                .map_or(Ok(RecoveryStep::Exhausted), |refusal| Err(Error::Provider(Arc::clone(refusal))));
        };
        match self.manager.refresh(RefreshReason::Unauthorized(refused)).await {
            Ok(snapshot) => {
                self.step = NextStep::Done;
                let another = differs(&snapshot, Some(refused));
                Ok(if another {
                    RecoveryStep::Refreshed(self.token(snapshot)?)
                } else {
                    RecoveryStep::Exhausted
                })
            }
            Err(Error::Provider(error)) if matches!(*error, external::Error::NotRefreshable { .. }) => {
                self.step = NextStep::Done;
                Ok(RecoveryStep::Exhausted)
            }
            Err(error) => {
                if matches!(&error, Error::OtherAccount) || self.manager.current().refusal().is_some() {
                    self.step = NextStep::Done;
                }
                Err(error)
            }
        }
    }

    fn changed_token(&mut self, found: ReloadOutcome) -> Result<Option<Token>, Error> {
        let snapshot: Arc<Snapshot> = self.manager.current();
        if found == ReloadOutcome::OtherAccount || !snapshot.is_same_login_as(&self.before) {
            self.step = NextStep::Done;
            return Err(Error::OtherAccount);
        }
        if snapshot.document().is_none() {
            self.step = NextStep::Done;
            return Err(Error::LoggedOut);
        }
        let other = snapshot.bearer().is_some_and(|bearer| Some(bearer.fingerprint()) != self.refused);
        (other && snapshot.poison().is_none()).then(|| self.token(snapshot)).transpose()
    }

    fn token(&self, snapshot: Arc<Snapshot>) -> Result<Token, Error> {
        Token::of(snapshot, self.manager.0.engine.clock.now())
    }
}
