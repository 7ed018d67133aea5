//! Requests for a refresh, and the flights by which concurrent requests share one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot, watch};

use super::error::Error;
use super::snapshot::{Divergence, Snapshot, SnapshotStatus};
use crate::document::{AuthDocument, Freshness, Identity};
use crate::secret::{Fingerprint, wipe_stack};

/// The reason for a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RefreshReason {
    /// A user or caller asked for it explicitly.
    Forced,
    /// The keeper refreshes ahead of time.
    Keeper,
    /// The token must last at least this long, in seconds.
    MinTtl(u64),
    /// The token is stale.
    Stale,
    /// A server refused the access token of this fingerprint.
    Unauthorized(Fingerprint),
}

impl RefreshReason {
    /// Returns the reason of a caller whose token must last `min_ttl`; a fraction of a second counts as a whole one.
    pub(super) fn min_ttl(min_ttl: Duration) -> Self {
        Self::MinTtl(min_ttl.as_secs().saturating_add(u64::from(min_ttl.subsec_nanos() > 0)))
    }

    /// Whether `document` satisfies this reason without a refresh. `changed` says that it is not the caller's document.
    pub(crate) fn is_served_by(self, document: &AuthDocument, changed: bool, now: Timestamp) -> bool {
        if document.bearer().is_none() || has_expired(document, now) {
            return false;
        }
        let fresh = document.freshness(now) == Freshness::Fresh;
        match self {
            Self::Forced => changed,
            // The keeper asks before a token is stale, so it needs a new one.
            Self::Keeper => changed && fresh,
            Self::MinTtl(seconds) => {
                let lasts = document.expires_at(now).is_none_or(|end| {
                    end.duration_since(now).as_secs() >= i64::try_from(seconds).unwrap_or(i64::MAX)
                });
                lasts || (changed && fresh)
            }
            Self::Stale => fresh,
            Self::Unauthorized(refused) => {
                document.bearer().is_some_and(|bearer| bearer.fingerprint() != refused)
            }
        }
    }

    pub(super) fn is_recovery(self) -> bool {
        matches!(self, Self::Unauthorized(_))
    }
}

/// The token that a caller demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenDemand {
    /// One that is not stale.
    Fresh,
    /// One that is not stale and lasts at least this long.
    Lasting(Duration),
    /// Another one than this, which the caller got before.
    NewerThan(Option<Fingerprint>),
    /// Another one than this, which a server refused.
    OtherThan(Fingerprint),
}

impl Snapshot {
    /// Returns the reason for which a caller refreshes to get the token that it demands, or `None` if this one serves or
    /// none can be obtained. New tokens that could not be stored before are a reason too.
    #[must_use]
    pub fn refresh_reason(&self, demand: TokenDemand, now: Timestamp) -> Option<RefreshReason> {
        let is_refreshable = self.is_refreshable();
        let lasts = |min: Duration| {
            let min = SignedDuration::try_from(min).unwrap_or(SignedDuration::MAX);
            self.expires_at(now).is_none_or(|end| end.duration_since(now) >= min)
        };
        match (self.status(now), demand) {
            (
                SnapshotStatus::Fresh | SnapshotStatus::Stale | SnapshotStatus::Expired,
                TokenDemand::NewerThan(known),
            ) if is_refreshable && self.bearer_fingerprint() == known => Some(RefreshReason::Forced),
            (
                SnapshotStatus::Fresh | SnapshotStatus::Stale | SnapshotStatus::Expired,
                TokenDemand::OtherThan(refused),
            ) if is_refreshable && self.bearer_fingerprint() == Some(refused) => {
                Some(RefreshReason::Unauthorized(refused))
            }
            (SnapshotStatus::Fresh, TokenDemand::Lasting(min)) if is_refreshable && !lasts(min) => {
                Some(RefreshReason::min_ttl(min))
            }
            (SnapshotStatus::Stale | SnapshotStatus::Expired, _) if is_refreshable => {
                Some(RefreshReason::Stale)
            }
            _ if matches!(self.divergence(), Some(Divergence::Uncommitted(_))) => Some(RefreshReason::Stale),
            _ => None,
        }
    }
}

/// The login that the caller had when it asked; the stored document is compared with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CallerBase {
    /// That of the access token.
    #[serde(default)]
    pub(crate) bearer: Option<Fingerprint>,
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) account_id: Option<String>,
    pub(super) user_id: Option<String>,
}

impl CallerBase {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let Identity { account_id, user_id, .. } = snapshot.identity();
        let (bearer, fingerprint) = (snapshot.bearer_fingerprint(), snapshot.fingerprint());
        Self { bearer, fingerprint, account_id, user_id }
    }

    /// Whether `document` is the caller's login. Without ids it is if the caller's refresh token is in `spent`, the
    /// tokens that were spent to obtain the document.
    pub(super) fn is_login_of(&self, document: &AuthDocument, spent: &[Fingerprint]) -> bool {
        let ours = Identity::new(self.account_id.clone(), self.user_id.clone());
        let theirs = document.identity();
        if document.tokens().is_none() || (self.fingerprint.is_none() && ours == Identity::default()) {
            return !ours.contradicts(&theirs);
        }
        let (one_token, descends) = self
            .fingerprint
            .map_or((false, false), |name| (document.fingerprint() == Some(name), spent.contains(&name)));
        (one_token && !ours.is_different_user(&theirs))
            || (descends && !ours.contradicts(&theirs))
            || ours.is_same_login_as(&theirs)
    }
}

/// A request for a refresh.
#[derive(Clone, Debug)]
pub(super) struct RefreshRequest {
    pub(super) reason: RefreshReason,
    pub(super) base: CallerBase,
}

impl RefreshRequest {
    /// Whether the outcome of `flight` serves this request too. With the same reason any outcome does; with another
    /// reason only a token that satisfies it, because a back-off or the damper need not apply to both.
    pub(super) fn is_covered_by(
        &self,
        flight: &Self,
        outcome: &Result<Arc<Snapshot>, Error>,
        now: Timestamp,
    ) -> bool {
        if self.base != flight.base {
            return false;
        }
        if self.reason == flight.reason {
            return true;
        }
        let Ok(snapshot) = outcome else { return false };
        let Some(document) = snapshot.document() else { return false };
        let ours = self.base.is_login_of(document, &snapshot.record().ancestors);
        let changed = !ours || document.fingerprint() != self.base.fingerprint;
        (ours || !self.reason.is_recovery()) && self.reason.is_served_by(document, changed, now)
    }
}

/// Whether the access token of `document` has expired.
pub(super) fn has_expired(document: &AuthDocument, now: Timestamp) -> bool {
    document.expires_at(now).is_some_and(|end| end <= now)
}

pub(super) type FlightResult = Result<Arc<Snapshot>, Error>;

/// Runs one flight at a time. `R` is the type of a caller's request.
#[derive(Debug)]
pub(super) struct Flights<R> {
    /// Locked by the running flight; callers wait for it in call order. Holds the latest result.
    latest: Arc<Mutex<Option<FinishedFlight<R>>>>,
    finished: Arc<AtomicU64>,
    running: watch::Sender<usize>,
}

/// The latest flight that has finished.
#[derive(Debug)]
struct FinishedFlight<R> {
    number: u64,
    request: R,
    outcome: FlightResult,
}

impl<R> Default for Flights<R> {
    fn default() -> Self {
        Self { latest: Arc::default(), finished: Arc::default(), running: watch::Sender::new(0) }
    }
}

impl<R: Send + 'static> Flights<R> {
    /// Waits for the running flight and returns its outcome if that covers `request`. Otherwise runs `work` on a new
    /// thread, after earlier callers, and returns its outcome. Dropping the future stops no flight.
    ///
    /// `covers` gets the request and the outcome of the other flight.
    pub(super) async fn join(
        &self,
        request: R,
        covers: impl Fn(&R, &R, &FlightResult) -> bool,
        work: impl FnOnce() -> FlightResult + Send + 'static,
    ) -> FlightResult {
        // A flight that finished before this call covers nothing.
        let before = self.finished.load(Ordering::SeqCst);
        let latest = Arc::clone(&self.latest).lock_owned().await;
        if let Some(other) = latest.as_ref()
            && other.number > before
            && covers(&other.request, &request, &other.outcome)
        {
            return other.outcome.clone();
        }
        let flight = Flight {
            latest,
            finished: Arc::clone(&self.finished),
            _running: FlightCount::new(self.running.clone()),
        };
        on_named_thread("codex-auth refresh", move || {
            let outcome = work();
            wipe_stack();
            flight.finish(request, outcome.clone());
            outcome
        })
        .await
    }

    /// Waits until no flight is running.
    pub(super) async fn wait_idle(&self) {
        // The sender lives as long as `self`.
        let _ = self.running.subscribe().wait_for(|running| *running == 0).await;
    }
}

/// A running flight. If its work panics, it leaves no outcome.
struct Flight<R> {
    latest: OwnedMutexGuard<Option<FinishedFlight<R>>>,
    finished: Arc<AtomicU64>,
    _running: FlightCount,
}

impl<R> Flight<R> {
    fn finish(mut self, request: R, outcome: FlightResult) {
        let number = self.finished.fetch_add(1, Ordering::SeqCst) + 1;
        *self.latest = Some(FinishedFlight { number, request, outcome });
    }
}

/// Counts one running flight until it is dropped, also by a panic.
#[derive(Debug)]
struct FlightCount(watch::Sender<usize>);

impl FlightCount {
    fn new(count: watch::Sender<usize>) -> Self {
        count.send_modify(|running| *running += 1);
        Self(count)
    }
}

impl Drop for FlightCount {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

/// Runs blocking `work` on a new thread, and wipes its stack afterwards.
pub(super) async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    on_named_thread("codex-auth read", || {
        let result = work();
        wipe_stack();
        result
    })
    .await
}

async fn on_named_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (sender, result) = oneshot::channel();
    // The caller may have stopped waiting.
    let started = thread::Builder::new().name(name.to_owned()).spawn(move || sender.send(work()));
    match started {
        Ok(_) => result.await.unwrap_or(Err(Error::Internal)),
        Err(_) => Err(Error::Internal),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as Log;
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::secret::Secret;

    const NOW: i64 = 1_800_000_000;

    /// A login whose access token was issued at `NOW` and is valid for `lifetime` seconds.
    fn login(account: &str, refresh_token: &str, lifetime: i64) -> Snapshot {
        use base64::Engine as _;
        let part = |value: &serde_json::Value| {
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string())
        };
        let owner = serde_json::json!({"chatgpt_user_id": "user-1"});
        let claims = serde_json::json!({
            "iat": NOW, "exp": NOW + lifetime, "of": refresh_token, "https://api.openai.com/auth": owner,
        });
        let token = format!("{}.{}.sig", part(&serde_json::json!({"alg": "none"})), part(&claims));
        let document = serde_json::json!({"tokens": {
            "id_token": token, "access_token": token, "refresh_token": refresh_token, "account_id": account,
        }});
        Snapshot::of(AuthDocument::parse(document.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn a_failure_covers_the_same_reason_and_a_token_every_reason_that_it_satisfies() {
        let held = login("acct-1", "rt-1", 3_600);
        let refused = held.bearer_fingerprint().unwrap();
        let another = Secret::from("another token").fingerprint();
        let reasons = [
            RefreshReason::Forced,
            RefreshReason::Keeper,
            RefreshReason::MinTtl(60),
            RefreshReason::MinTtl(7_200),
            RefreshReason::Stale,
            RefreshReason::Unauthorized(refused),
            RefreshReason::Unauthorized(another),
        ];
        let failed = || Err(Error::JustReceived);
        let unspent = || Ok(login("acct-1", "rt-1", 3_600));
        let fresh = || Ok(login("acct-1", "rt-2", 3_600));
        let short = || Ok(login("acct-1", "rt-2", -1));
        let elsewhere = || Ok(login("acct-2", "rt-3", 3_600));
        type Row<'a> = (&'a str, &'a dyn Fn() -> Result<Snapshot, Error>, [bool; 7]);
        let table: [Row<'_>; 5] = [
            // Whether it covers: forced, keeper, min 60, min 7200, stale, refused, another refused.
            ("a failure", &failed, [false; 7]),
            ("the callers' own token", &unspent, [false, false, true, false, true, false, true]),
            ("a new token", &fresh, [true; 7]),
            ("a new token that has expired", &short, [false; 7]),
            ("the token of another account", &elsewhere, [true, true, true, true, true, false, false]),
        ];
        let base = CallerBase::of(&held);
        let now = Timestamp::from_second(NOW).unwrap();
        for (what, outcome, expected) in table {
            for flight in reasons {
                let flight = RefreshRequest { reason: flight, base: base.clone() };
                for (reason, expected) in reasons.into_iter().zip(expected) {
                    let wanted = RefreshRequest { reason, base: base.clone() };
                    let covered = wanted.is_covered_by(&flight, &outcome().map(Arc::new), now);
                    let expected = expected || reason == flight.reason;
                    assert_eq!(covered, expected, "{what}, from {:?} to {reason:?}", flight.reason);
                }
            }
        }
    }

    #[test]
    fn a_caller_with_a_newer_token_is_not_covered() {
        let (old, new) = (login("acct-1", "rt-1", 3_600), login("acct-1", "rt-2", 3_600));
        let now = Timestamp::from_second(NOW).unwrap();
        let flight = RefreshRequest { reason: RefreshReason::Forced, base: CallerBase::of(&old) };
        let wanted = RefreshRequest { reason: RefreshReason::Forced, base: CallerBase::of(&new) };
        assert!(!wanted.is_covered_by(&flight, &Ok(Arc::new(new)), now));
    }

    /// 200 callers of two kinds; a flight covers only callers of its own kind.
    #[test]
    fn flights_never_overlap_and_every_caller_gets_an_outcome_that_covers_it() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
        let flights = Arc::new(Flights::<usize>::default());
        let (running, kinds) = (Arc::new(AtomicUsize::new(0)), Arc::new(Log::new(Vec::new())));
        let call = |kind: usize| {
            let (flights, running, kinds) = (Arc::clone(&flights), Arc::clone(&running), Arc::clone(&kinds));
            async move {
                let work = move || {
                    assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                    thread::yield_now();
                    running.fetch_sub(1, Ordering::SeqCst);
                    kinds.lock().unwrap().push(kind);
                    Err(if kind == 0 { Error::LoggedOut } else { Error::OtherAccount })
                };
                let outcome = flights.join(kind, |flight, request, _| flight == request, work).await;
                let expected = if kind == 0 {
                    matches!(outcome, Err(Error::LoggedOut))
                } else {
                    matches!(outcome, Err(Error::OtherAccount))
                };
                assert!(expected, "{kind}: {outcome:?}");
            }
        };
        runtime.block_on(async {
            let callers: Vec<_> = (0..200).map(|number| tokio::spawn(call(number % 2))).collect();
            for caller in callers {
                caller.await.unwrap();
            }
            flights.wait_idle().await;
        });
        let kinds = kinds.lock().unwrap();
        assert!(kinds.contains(&0) && kinds.contains(&1), "{kinds:?}");
    }

    #[test]
    fn callers_that_are_not_covered_run_in_call_order() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let flights = Arc::new(Flights::<&'static str>::default());
        let kinds = Arc::new(Log::new(Vec::new()));
        let call = |kind: &'static str, before: Box<dyn FnOnce() + Send>| {
            let (flights, kinds) = (Arc::clone(&flights), Arc::clone(&kinds));
            async move {
                let work = move || {
                    before();
                    kinds.lock().unwrap().push(kind);
                    Err(Error::LoggedOut)
                };
                flights.join(kind, |flight, request, _| flight == request, work).await.map(drop)
            }
        };
        runtime.block_on(async {
            let (release, released) = std::sync::mpsc::channel::<()>();
            let first = tokio::spawn(call("keeper", Box::new(move || released.recv().unwrap())));
            tokio::task::yield_now().await;
            let forced = tokio::spawn(call("forced", Box::new(|| {})));
            tokio::task::yield_now().await;
            let later: Vec<_> = (0..3).map(|_| tokio::spawn(call("keeper", Box::new(|| {})))).collect();
            tokio::task::yield_now().await;
            release.send(()).unwrap();
            for caller in [first, forced].into_iter().chain(later) {
                assert!(caller.await.unwrap().is_err());
            }
        });
        assert_eq!(*kinds.lock().unwrap(), ["keeper", "forced", "keeper"]);
    }
}
