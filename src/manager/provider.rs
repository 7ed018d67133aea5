//! Tokens from an external provider instead of a store: requested once, cached until stale.

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

/// A token is stale this long before it expires, or in the last quarter of its lifetime if that is shorter.
const STALE_MARGIN: SignedDuration = SignedDuration::from_mins(5);
/// Minimum interval between calls of a provider that returns the same token until it expires.
const MIN_CALL_INTERVAL: SignedDuration = SignedDuration::from_secs(30);
/// The pause after a transient failure of the provider: the first one, and the longest one while a token is valid.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The provider of a manager, and the pause after its last failure.
#[derive(Clone)]
pub(super) struct Provider {
    source: Arc<dyn ExternalAuth>,
    pause: Arc<Mutex<Option<ProviderPause>>>,
}

/// The pause after a transient failure.
struct ProviderPause {
    until: Instant,
    length: Duration,
    error: Error,
}

/// What is requested from a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProviderRequest {
    /// A token other than the current one.
    Another(external::RequestReason),
    /// The current token.
    Current,
}

impl ProviderRequest {
    /// Whether the token that `flight` obtained serves this request: any token is current, but only a request for another
    /// token returns another one.
    fn is_covered_by(self, flight: Self) -> bool {
        self == Self::Current || flight != Self::Current
    }
}

impl Provider {
    pub(super) fn new(source: Arc<dyn ExternalAuth>) -> Self {
        Self { source, pause: Arc::default() }
    }

    /// Returns the snapshot of `token`, which the provider issued at `now`.
    pub(super) fn snapshot(&self, token: ExternalToken, now: Timestamp) -> Snapshot {
        let stale_at = stale_at(&token, self.source.refresh_interval(), now);
        Snapshot::provided(token, now, stale_at)
    }

    /// Returns the failure whose pause has not ended.
    fn pause_error(&self) -> Option<Error> {
        let pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        pause.as_ref().filter(|pause| Instant::now() < pause.until).map(|pause| pause.error.clone())
    }

    /// Starts a pause after a failure. It doubles each time while a token is valid, and stays short otherwise.
    fn start_pause(&self, error: &Error, held: SnapshotStatus) {
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        let length = match (pause.as_ref(), held) {
            (Some(before), SnapshotStatus::Fresh | SnapshotStatus::Stale) => {
                (before.length * 2).min(LONGEST_PAUSE)
            }
            _ => FIRST_PAUSE,
        };
        *pause = Some(ProviderPause { until: Instant::now() + length, length, error: error.clone() });
    }

    fn end_pause(&self) {
        *self.pause.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Calls the provider on this thread.
    fn ask(&self, request: ProviderRequest, held: &Snapshot, now: Timestamp) -> Result<ExternalToken, Error> {
        let reason = match request {
            ProviderRequest::Another(reason) => reason,
            ProviderRequest::Current => {
                let token = block_on(self.source.resolve())??;
                if let Some(token) = token.filter(|token| token.is_valid_at(now)) {
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
        if token.is_valid_at(now) {
            return Ok(token);
        }
        Err(external::Error::transient(self.source.name(), "its token has already expired").into())
    }
}

impl AuthManager {
    /// Returns the provider's token; calls the provider unless a pause is running.
    pub(super) async fn provided_token(
        &self,
        provider: &Provider,
        held: Arc<Snapshot>,
        standing: SnapshotStatus,
    ) -> Result<Token, Error> {
        if let Some(refusal) = held.refusal() {
            return Err(Error::Provider(Arc::clone(refusal)));
        }
        let request = match provider.pause_error() {
            Some(error) => Err(error),
            None => self.join_request(ProviderRequest::Current).await,
        };
        match request {
            Ok(snapshot) => Ok(Token(snapshot)),
            // A stale token is served until the provider fails permanently.
            Err(error) if standing == SnapshotStatus::Stale && self.current().refusal().is_none() => {
                tracing::debug!(%error, "the provider failed; the stale token is used meanwhile");
                Ok(Token(held))
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
        if refused.is_some() && fingerprint(&snapshot) == refused {
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
        let covers = |flight: &ProviderRequest, request: &ProviderRequest, outcome: &flight::FlightResult| {
            flight == request || (outcome.is_ok() && request.is_covered_by(*flight))
        };
        self.0.provider_requests.join(request, covers, move || manager.ask(request)).await
    }

    /// Calls the provider and publishes its token. Runs on the thread of a flight.
    fn ask(&self, request: ProviderRequest) -> Result<Arc<Snapshot>, Error> {
        let Some(provider) = &self.0.provider else { return Err(Error::LoggedOut) };
        let (held, now) = (self.current(), self.0.engine.clock.now());
        let token = match provider.ask(request, &held, now) {
            Ok(token) => token,
            Err(error) => {
                self.apply_provider_failure(provider, &held, &error, now);
                return Err(error);
            }
        };
        provider.end_pause();
        let crosses = token.identity().contradicts(&held.identity());
        if crosses && request == ProviderRequest::Another(external::RequestReason::Unauthorized) {
            return Err(Error::OtherAccount);
        }
        // The same token does not end a permanent failure.
        if let Some(refusal) = held.refusal()
            && Some(token.fingerprint()) == fingerprint(&held)
        {
            return Err(Error::Provider(Arc::clone(refusal)));
        }
        Ok(self.publish_provided(provider.snapshot(token, now)))
    }

    fn apply_provider_failure(&self, provider: &Provider, held: &Snapshot, error: &Error, now: Timestamp) {
        match error {
            // The token remains valid.
            Error::Provider(refusal) if matches!(**refusal, external::Error::NotRefreshable { .. }) => {}
            Error::Provider(refusal) if refusal.persistence() == Persistence::Permanent => {
                self.publish_provided(held.with_refusal(Arc::clone(refusal)));
            }
            error => provider.start_pause(error, held.status(now)),
        }
    }
}

/// Returns when `token`, received at `now`, becomes stale.
fn stale_at(token: &ExternalToken, interval: Option<Duration>, now: Timestamp) -> Option<Timestamp> {
    let before_the_end = token.expires_at().map(|end| {
        let margin = STALE_MARGIN.min(end.duration_since(now) / 4);
        let stale_at = end.checked_sub(margin).unwrap_or(end);
        stale_at.max(now.checked_add(MIN_CALL_INTERVAL).unwrap_or(end)).min(end)
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
    fn a_request_for_the_current_token_does_not_cover_a_request_for_another_one() {
        let requests = [
            ProviderRequest::Current,
            ProviderRequest::Another(external::RequestReason::Forced),
            ProviderRequest::Another(external::RequestReason::Unauthorized),
        ];
        let covered = requests.map(|request| requests.map(|flight| request.is_covered_by(flight)));
        assert_eq!(covered, [[true; 3], [false, true, true], [false, true, true]]);
    }
}
