//! Tokens that come from a provider in the place of a store: asked for once, kept while they are good.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::engine::block_on;
use super::error::Error;
use super::flight;
use super::request::RefreshReason;
use super::{AuthManager, ReloadOutcome, Snapshot, SnapshotStatus, Token};
use crate::external::{self, ExternalAuth, ExternalToken, Persistence, ProviderContext};
use crate::secret::{Fingerprint, Secret};

/// A successor is asked for this long before the end, or in the last quarter where that is shorter.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);
/// A provider that gives the same token until it ends is not asked for each request of its last minutes.
const ASKED_AT_MOST_EVERY: SignedDuration = SignedDuration::from_secs(30);
/// How long a provider that failed for the moment is left alone: at first, and at the longest while a token lives; without
/// one, somebody is waiting for it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The provider of a manager, and whether it is left alone at the moment.
#[derive(Clone)]
pub(super) struct Provider {
    source: Arc<dyn ExternalAuth>,
    pause: Arc<Mutex<Option<ProviderPause>>>,
}

/// After a failure that passes.
struct ProviderPause {
    until: Instant,
    length: Duration,
    error: Error,
}

/// What a provider is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProviderRequest {
    /// For another token than the one that is there.
    Another(external::RequestReason),
    /// For the token to use now.
    Current,
}

impl ProviderRequest {
    /// Whether the token that answered `flight` answers this too: any token is a current one, and another one is only what
    /// was asked for as such.
    fn is_covered_by(self, flight: Self) -> bool {
        self == Self::Current || flight != Self::Current
    }
}

impl Provider {
    pub(super) fn new(source: Arc<dyn ExternalAuth>) -> Self {
        Self { source, pause: Arc::default() }
    }

    /// What is served of `token`, which it has given at `now`.
    pub(super) fn snapshot(&self, token: ExternalToken, now: Timestamp) -> Snapshot {
        let stale_at = stale_at(&token, self.source.refresh_interval(), now);
        Snapshot::provided(token, now, stale_at)
    }

    /// The failure for which it is left alone still.
    fn pausing(&self) -> Option<Error> {
        let pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        pause.as_ref().filter(|pause| Instant::now() < pause.until).map(|pause| pause.error.clone())
    }

    /// Leaves it alone for a while, longer each time, but never long where a token is missed.
    fn failed(&self, error: &Error, held: SnapshotStatus) {
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        let length = match (pause.as_ref(), held) {
            (Some(before), SnapshotStatus::Fresh | SnapshotStatus::Stale) => {
                (before.length * 2).min(LONGEST_PAUSE)
            }
            _ => FIRST_PAUSE,
        };
        *pause = Some(ProviderPause { until: Instant::now() + length, length, error: error.clone() });
    }

    fn answered(&self) {
        *self.pause.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Asks, on this thread.
    fn ask(
        &self,
        question: ProviderRequest,
        held: &Snapshot,
        now: Timestamp,
    ) -> Result<ExternalToken, Error> {
        let reason = match question {
            ProviderRequest::Another(reason) => reason,
            ProviderRequest::Current => {
                let token = block_on(self.source.resolve())??;
                if let Some(token) = token.filter(|token| token.lives(now)) {
                    return Ok(token);
                }
                if held.is_login() {
                    external::RequestReason::Expired
                } else {
                    external::RequestReason::Missing
                }
            }
        };
        let context = ProviderContext::new(reason, held.identity().account_id);
        let token = block_on(self.source.refresh(context))??;
        if token.lives(now) {
            return Ok(token);
        }
        Err(external::Error::transient(self.source.name(), "its token has ended already").into())
    }
}

impl AuthManager {
    /// The provider's token, asked for unless there is one that lives and the provider is to be left alone.
    pub(super) async fn provided_token(
        &self,
        provider: &Provider,
        held: Arc<Snapshot>,
        standing: SnapshotStatus,
    ) -> Result<Token, Error> {
        if let Some(refusal) = held.refusal() {
            return Err(Error::Provider(Arc::clone(refusal)));
        }
        let asked = match provider.pausing() {
            Some(error) => Err(error),
            None => self.fly(ProviderRequest::Current).await,
        };
        match asked {
            Ok(snapshot) => Ok(Token(snapshot)),
            // Only what is dead for good is not served any more.
            Err(error) if standing == SnapshotStatus::Stale && self.current().refusal().is_none() => {
                tracing::debug!(%error, "the token that is there is served meanwhile");
                Ok(Token(held))
            }
            Err(error) => Err(error),
        }
    }

    /// Another token than the one that is there, for `reason`.
    pub(super) async fn provided_anew(&self, reason: RefreshReason) -> Result<Arc<Snapshot>, Error> {
        let (reason, refused) = match reason {
            RefreshReason::Unauthorized(refused) => (external::RequestReason::Unauthorized, Some(refused)),
            RefreshReason::Stale => (external::RequestReason::Expired, None),
            _ => (external::RequestReason::Forced, None),
        };
        let landed = self.fly(ProviderRequest::Another(reason)).await?;
        // An answer that others waited for may be the very token that was refused.
        if refused.is_some() && fingerprint(&landed) == refused {
            return self.fly(ProviderRequest::Another(reason)).await;
        }
        Ok(landed)
    }

    /// Asks the provider what it has now, whatever it has said before.
    pub(super) async fn ask_provider_again(&self) -> Result<ReloadOutcome, Error> {
        let before = self.current();
        let after = self.fly(ProviderRequest::Current).await?;
        Ok(match (before.is_login(), before.holds_the_same_as(&after)) {
            (false, _) => ReloadOutcome::LoggedIn,
            (true, true) => ReloadOutcome::Same,
            (true, false) if before.identity().contradicts(&after.identity()) => ReloadOutcome::OtherAccount,
            (true, false) => ReloadOutcome::Changed,
        })
    }

    async fn fly(&self, question: ProviderRequest) -> Result<Arc<Snapshot>, Error> {
        let manager = self.clone();
        let covers = |flight: &ProviderRequest, asked: &ProviderRequest, outcome: &flight::FlightResult| {
            flight == asked || (outcome.is_ok() && asked.is_covered_by(*flight))
        };
        self.0.questions.join(question, covers, move || manager.ask(question)).await
    }

    /// Asks the provider, and makes its answer what is served. Runs on the thread of a flight.
    fn ask(&self, question: ProviderRequest) -> Result<Arc<Snapshot>, Error> {
        let Some(provider) = &self.0.provider else { return Err(Error::LoggedOut) };
        let (held, now) = (self.current(), self.0.engine.clock.now());
        let token = match provider.ask(question, &held, now) {
            Ok(token) => token,
            Err(error) => {
                self.learn_from_provider(provider, &held, &error, now);
                return Err(error);
            }
        };
        provider.answered();
        let crosses = token.identity().contradicts(&held.identity());
        if crosses && question == ProviderRequest::Another(external::RequestReason::Unauthorized) {
            return Err(Error::OtherAccount);
        }
        // What was refused for good is not healed by being repeated.
        if let Some(refusal) = held.refusal()
            && Some(token.fingerprint()) == fingerprint(&held)
        {
            return Err(Error::Provider(Arc::clone(refusal)));
        }
        Ok(self.publish_provided(provider.snapshot(token, now)))
    }

    fn learn_from_provider(&self, provider: &Provider, held: &Snapshot, error: &Error, now: Timestamp) {
        match error {
            // It is as good as it was.
            Error::Provider(refusal) if matches!(**refusal, external::Error::NotRefreshable { .. }) => {}
            Error::Provider(refusal) if refusal.persistence() == Persistence::Permanent => {
                self.publish_provided(held.refused(Arc::clone(refusal)));
            }
            error => provider.failed(error, held.standing(now)),
        }
    }
}

/// When a successor of `token`, received at `now`, is to be asked for.
fn stale_at(token: &ExternalToken, interval: Option<Duration>, now: Timestamp) -> Option<Timestamp> {
    let before_the_end = token.expires_at().map(|end| {
        let margin = MARGIN.min(end.duration_since(now) / 4);
        let stale_at = end.checked_sub(margin).unwrap_or(end);
        stale_at.max(now.checked_add(ASKED_AT_MOST_EVERY).unwrap_or(end)).min(end)
    });
    let interval =
        interval.and_then(|interval| now.checked_add(SignedDuration::try_from(interval).ok()?).ok());
    [before_the_end, interval].into_iter().flatten().min()
}

fn fingerprint(snapshot: &Snapshot) -> Option<Fingerprint> {
    snapshot.bearer().map(Secret::fingerprint)
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Provider").field(&self.source.name()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_current_token_is_no_answer_to_a_question_for_another_one() {
        let questions = [
            ProviderRequest::Current,
            ProviderRequest::Another(external::RequestReason::Forced),
            ProviderRequest::Another(external::RequestReason::Unauthorized),
        ];
        let covered = questions.map(|asked| questions.map(|flight| asked.is_covered_by(flight)));
        assert_eq!(covered, [[true; 3], [false, true, true], [false, true, true]]);
    }
}
