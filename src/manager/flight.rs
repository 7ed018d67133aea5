//! Singleflight: concurrent callers share one refresh if its outcome covers their requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tokio::sync::{Mutex, OwnedMutexGuard, oneshot, watch};

use super::error::Error;
use super::snapshot::Snapshot;
use crate::secret::wipe_stack;

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
