//! Recovering from a server that refused a token: look again, then refresh once, then give up. A provider is asked once.

use std::sync::Arc;

use super::error::Error;
use super::request::RefreshReason;
use super::{AuthManager, ReloadOutcome, Snapshot, Token, given};
use crate::external;
use crate::secret::{Fingerprint, Secret};

/// One recovery after a 401. Each call of [`Self::next`] is one step; retry the request after each that succeeds.
///
/// At most one token is spent, it never crosses to another account, and the damper holds across recoveries.
#[derive(Debug)]
pub struct UnauthorizedRecovery {
    manager: AuthManager,
    refused: Option<Fingerprint>,
    /// What was refused.
    before: Box<Snapshot>,
    step: NextStep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NextStep {
    Ask,
    Look,
    Refresh,
    Done,
}

/// How a step ended.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "every outcome is the caller's to handle")]
pub enum RecoveryStep {
    /// The store had another token already: retry with it.
    Reloaded(Token),
    /// A token was refreshed: retry with it.
    Refreshed(Token),
    /// Nothing is left to try; the refusal stands.
    Exhausted,
}

impl UnauthorizedRecovery {
    pub(super) fn new(manager: AuthManager, snapshot: &Snapshot) -> Self {
        let refused = snapshot.bearer().map(Secret::fingerprint);
        let step = match () {
            () if manager.0.provider.is_some() => NextStep::Ask,
            () if snapshot.fingerprint().is_some() => NextStep::Look,
            () => NextStep::Done,
        };
        Self { manager, refused, before: Box::new(snapshot.clone()), step }
    }

    /// Takes the next step.
    ///
    /// # Errors
    /// - [`Error::LoggedOut`], [`Error::OtherAccount`]: the login that was refused is not here any more.
    /// - Otherwise as [`AuthManager::refresh`]. A failure that passes does not use the step up.
    pub async fn next(&mut self) -> Result<RecoveryStep, Error> {
        if self.step == NextStep::Ask {
            return self.ask_provider().await;
        }
        if self.step == NextStep::Look {
            let found = self.manager.reload().await?;
            self.step = NextStep::Refresh;
            if let Some(token) = self.other_token(found)? {
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
                Ok(RecoveryStep::Refreshed(given(snapshot)?))
            }
            Err(error) => {
                if error.wants_login() {
                    self.step = NextStep::Done;
                }
                Err(error)
            }
        }
    }

    /// The one step where tokens come from a provider: another token, which somebody else may have asked for already.
    async fn ask_provider(&mut self) -> Result<RecoveryStep, Error> {
        let differs = |snapshot: &Snapshot, refused| snapshot.bearer().map(Secret::fingerprint) != refused;
        let held = self.manager.current();
        if held.refusal().is_none() && held.bearer().is_some() && differs(&held, self.refused) {
            if !held.is_same_login_as(&self.before) {
                self.step = NextStep::Done;
                return Err(Error::OtherAccount);
            }
            self.refused = held.bearer().map(Secret::fingerprint);
            return Ok(RecoveryStep::Reloaded(Token(held)));
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
                Ok(if another { RecoveryStep::Refreshed(Token(snapshot)) } else { RecoveryStep::Exhausted })
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

    fn other_token(&mut self, found: ReloadOutcome) -> Result<Option<Token>, Error> {
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
        Ok((other && snapshot.poison().is_none()).then(|| Token(snapshot)))
    }
}
