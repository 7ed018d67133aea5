//! Recovering from a server that refused a token: look again, then refresh once, then give up.

use std::sync::Arc;

use super::error::Error;
use super::refresh::Reason;
use super::{AuthManager, Reload, Snapshot, Token};
use crate::document::Identity;
use crate::secret::{Fingerprint, Secret};

/// One recovery after a 401. Each call of [`Self::next`] is one step; retry the request after each that succeeds.
///
/// At most one token is spent, it never crosses to another account, and the damper holds across recoveries.
#[derive(Debug)]
pub struct UnauthorizedRecovery {
    manager: AuthManager,
    refused: Option<Fingerprint>,
    identity: Identity,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
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
        let step = if snapshot.fingerprint().is_some() { Step::Look } else { Step::Done };
        Self { manager, refused, identity: snapshot.identity(), step }
    }

    /// Takes the next step.
    ///
    /// # Errors
    /// - [`Error::LoggedOut`], [`Error::OtherAccount`]: the login that was refused is not here any more.
    /// - Otherwise as [`AuthManager::refresh`]. A failure that passes does not use the step up.
    pub async fn next(&mut self) -> Result<Recovered, Error> {
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
                if !snapshot.identity().matches(&self.identity) {
                    return Err(Error::OtherAccount);
                }
                Ok(Recovered::Refreshed(Token(snapshot)))
            }
            Err(error) => {
                if error.wants_login() {
                    self.step = Step::Done;
                }
                Err(error)
            }
        }
    }

    fn other_token(&mut self, found: Reload) -> Result<Option<Token>, Error> {
        let snapshot: Arc<Snapshot> = self.manager.current();
        if found == Reload::OtherAccount || !snapshot.identity().matches(&self.identity) {
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
