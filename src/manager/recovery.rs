//! Recovering from a server that refused a token: look again, then refresh once, then give up. A provider is asked once.

use std::sync::Arc;

use super::error::Error;
use super::wanted::Reason;
use super::{AuthManager, Reload, Snapshot, Token, given};
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
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Ask,
    Look,
    Refresh,
    Done,
}

/// How a step ended.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "every outcome is the caller's to handle")]
pub enum Recovered {
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
            () if manager.0.provider.is_some() => Step::Ask,
            () if snapshot.fingerprint().is_some() => Step::Look,
            () => Step::Done,
        };
        Self { manager, refused, before: Box::new(snapshot.clone()), step }
    }

    /// Takes the next step.
    ///
    /// # Errors
    /// - [`Error::LoggedOut`], [`Error::OtherAccount`]: the login that was refused is not here any more.
    /// - Otherwise as [`AuthManager::refresh`]. A failure that passes does not use the step up.
    pub async fn next(&mut self) -> Result<Recovered, Error> {
        if self.step == Step::Ask {
            return self.ask_provider().await;
        }
        if self.step == Step::Look {
            let found = self.manager.reload().await?;
            self.step = Step::Refresh;
            if let Some(token) = self.other_token(found)? {
                return Ok(Recovered::Reloaded(token));
            }
        }
        let (Step::Refresh, Some(refused)) = (self.step, self.refused) else {
            return Ok(Recovered::Exhausted);
        };
        match self.manager.refresh(Reason::Unauthorized(refused)).await {
            Ok(snapshot) => {
                self.step = Step::Done;
                if !snapshot.is_same_login_as(&self.before) {
                    return Err(Error::OtherAccount);
                }
                Ok(Recovered::Refreshed(given(snapshot)?))
            }
            Err(error) => {
                if error.wants_login() {
                    self.step = Step::Done;
                }
                Err(error)
            }
        }
    }

    /// The one step where tokens come from a provider: another token, which somebody else may have asked for already.
    async fn ask_provider(&mut self) -> Result<Recovered, Error> {
        let differs = |snapshot: &Snapshot, refused| snapshot.bearer().map(Secret::fingerprint) != refused;
        let held = self.manager.current();
        if held.refusal().is_none() && held.bearer().is_some() && differs(&held, self.refused) {
            if !held.is_same_login_as(&self.before) {
                self.step = Step::Done;
                return Err(Error::OtherAccount);
            }
            self.refused = held.bearer().map(Secret::fingerprint);
            return Ok(Recovered::Reloaded(Token(held)));
        }
        let (Some(refused), None) = (self.refused, held.refusal()) else {
            self.step = Step::Done;
            return held
                .refusal()
                .map_or(Ok(Recovered::Exhausted), |refusal| Err(Error::Provider(Arc::clone(refusal))));
        };
        match self.manager.refresh(Reason::Unauthorized(refused)).await {
            Ok(snapshot) => {
                self.step = Step::Done;
                let another = differs(&snapshot, Some(refused));
                Ok(if another { Recovered::Refreshed(Token(snapshot)) } else { Recovered::Exhausted })
            }
            Err(Error::Provider(error)) if matches!(*error, external::Error::NotRefreshable { .. }) => {
                self.step = Step::Done;
                Ok(Recovered::Exhausted)
            }
            Err(error) => {
                if matches!(&error, Error::OtherAccount) || self.manager.current().refusal().is_some() {
                    self.step = Step::Done;
                }
                Err(error)
            }
        }
    }

    fn other_token(&mut self, found: Reload) -> Result<Option<Token>, Error> {
        let snapshot: Arc<Snapshot> = self.manager.current();
        if found == Reload::OtherAccount || !snapshot.is_same_login_as(&self.before) {
            self.step = Step::Done;
            return Err(Error::OtherAccount);
        }
        if snapshot.document().is_none() {
            self.step = Step::Done;
            return Err(Error::LoggedOut);
        }
        let other = snapshot.bearer().is_some_and(|bearer| Some(bearer.fingerprint()) != self.refused);
        Ok((other && snapshot.poison().is_none()).then(|| Token(snapshot)))
    }
}
