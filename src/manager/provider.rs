//! Tokens from an external provider instead of a store: requested once, cached until stale.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use codex_auth_platform::sync::lock;
use jiff::{SignedDuration, Timestamp};

use super::engine::block_on;
use super::error::Error;
use super::snapshot::{Snapshot, SnapshotStatus};
use crate::external::{self, ExternalAuth, ExternalToken, ProviderContext};

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
    /// Whether the token that `flight` obtained serves this request: any token is current, but only a request for
    /// another token returns another one.
    pub(super) fn is_covered_by(self, flight: Self) -> bool {
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
    pub(super) fn pause_error(&self) -> Option<Error> {
        let pause = lock(&self.pause);
        pause.as_ref().filter(|pause| Instant::now() < pause.until).map(|pause| pause.error.clone())
    }

    /// Starts a pause after a failure. It doubles each time while a token is valid, and stays short otherwise.
    pub(super) fn start_pause(&self, error: &Error, current: SnapshotStatus) {
        let mut pause = lock(&self.pause);
        let length = match (pause.as_ref(), current) {
            (Some(before), SnapshotStatus::Fresh | SnapshotStatus::Stale) => {
                (before.length * 2).min(LONGEST_PAUSE)
            }
            _ => FIRST_PAUSE,
        };
        *pause = Some(ProviderPause { until: Instant::now() + length, length, error: error.clone() });
    }

    pub(super) fn end_pause(&self) {
        *lock(&self.pause) = None;
    }

    /// Calls the provider on this thread.
    pub(super) fn call(
        &self,
        request: ProviderRequest,
        current: &Snapshot,
        now: Timestamp,
    ) -> Result<ExternalToken, Error> {
        let reason = match request {
            ProviderRequest::Another(reason) => reason,
            ProviderRequest::Current => {
                let token = block_on(self.source.resolve())??;
                if let Some(token) = token.filter(|token| token.is_valid_at(now)) {
                    return Ok(token);
                }
                if current.is_login() {
                    external::RequestReason::Expired
                } else {
                    external::RequestReason::Missing
                }
            }
        };
        let context = ProviderContext::new(reason, current.identity().account_id);
        let token = block_on(self.source.refresh(context))??;
        if token.is_valid_at(now) {
            return Ok(token);
        }
        Err(external::Error::transient(self.source.name(), "its token has already expired").into())
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
