//! One flight per process: a caller that wants a refresh while one is under way waits for it, and shares its outcome if
//! that covers what the caller wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tokio::sync::{Mutex, OwnedMutexGuard, oneshot, watch};

use super::error::Error;
use super::snapshot::Snapshot;
use crate::secret::wipe_stack;

pub(super) type FlightResult = Result<Arc<Snapshot>, Error>;

/// The flights of a manager. `W` is what a caller wants of one.
#[derive(Debug)]
pub(super) struct Flights<W> {
    /// Held by the flight under way. Callers wait for it in the order in which they came.
    runway: Arc<Mutex<Option<FinishedFlight<W>>>>,
    landings: Arc<AtomicU64>,
    aloft: watch::Sender<usize>,
}

/// The latest flight that has landed.
#[derive(Debug)]
struct FinishedFlight<W> {
    number: u64,
    wanted: W,
    outcome: FlightResult,
}

impl<W> Default for Flights<W> {
    fn default() -> Self {
        Self { runway: Arc::default(), landings: Arc::default(), aloft: watch::Sender::new(0) }
    }
}

impl<W: Send + 'static> Flights<W> {
    /// Waits for the flight under way and returns its outcome if it `covers` what is wanted. Otherwise runs `journey` on
    /// a thread, after those that were called for before, and returns its outcome. Dropping the future stops no flight.
    ///
    /// `covers` gets what the other flight was for, and its outcome.
    pub(super) async fn join(
        &self,
        wanted: W,
        covers: impl Fn(&W, &W, &FlightResult) -> bool,
        journey: impl FnOnce() -> FlightResult + Send + 'static,
    ) -> FlightResult {
        // What landed before this call says nothing about the time since.
        let before = self.landings.load(Ordering::SeqCst);
        let runway = Arc::clone(&self.runway).lock_owned().await;
        if let Some(landed) = runway.as_ref()
            && landed.number > before
            && covers(&landed.wanted, &wanted, &landed.outcome)
        {
            return landed.outcome.clone();
        }
        let flight = Flight {
            runway,
            landings: Arc::clone(&self.landings),
            _aloft: FlightCount::new(self.aloft.clone()),
        };
        let (tell, told) = oneshot::channel();
        let started = thread::Builder::new().name("codex-auth refresh".to_owned()).spawn(move || {
            let outcome = journey();
            wipe_stack();
            flight.land(wanted, outcome.clone());
            // The caller may have stopped waiting.
            let _ = tell.send(outcome);
        });
        match started {
            Ok(_) => told.await.unwrap_or(Err(Error::BrokeDown)),
            Err(_) => Err(Error::BrokeDown),
        }
    }

    /// Waits until every flight has landed.
    pub(super) async fn set_result(&self) {
        // The sender lives as long as `self`.
        let _ = self.aloft.subscribe().wait_for(|aloft| *aloft == 0).await;
    }
}

/// A flight under way; dropped by a panic, it has no outcome to share.
struct Flight<W> {
    runway: OwnedMutexGuard<Option<FinishedFlight<W>>>,
    landings: Arc<AtomicU64>,
    _aloft: FlightCount,
}

impl<W> Flight<W> {
    fn land(mut self, wanted: W, outcome: FlightResult) {
        let number = self.landings.fetch_add(1, Ordering::SeqCst) + 1;
        *self.runway = Some(FinishedFlight { number, wanted, outcome });
    }
}

/// Counts one flight until it is dropped, also by a panic.
#[derive(Debug)]
struct FlightCount(watch::Sender<usize>);

impl FlightCount {
    fn new(count: watch::Sender<usize>) -> Self {
        count.send_modify(|aloft| *aloft += 1);
        Self(count)
    }
}

impl Drop for FlightCount {
    fn drop(&mut self) {
        self.0.send_modify(|aloft| *aloft -= 1);
    }
}

/// Runs `work`, which blocks, on a thread of its own.
pub(super) async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (tell, told) = oneshot::channel();
    let started = thread::Builder::new().name("codex-auth look".to_owned()).spawn(move || {
        let done = work();
        wipe_stack();
        tell.send(done)
    });
    match started {
        Ok(_) => told.await.unwrap_or(Err(Error::BrokeDown)),
        Err(_) => Err(Error::BrokeDown),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as Log;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Two hundred callers of two kinds, each kind covered by itself alone, while one of them flies again and again.
    #[test]
    fn flights_never_overlap_and_every_caller_gets_an_outcome_that_covers_it() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
        let flights = Arc::new(Flights::<usize>::default());
        let (aloft, flown) = (Arc::new(AtomicUsize::new(0)), Arc::new(Log::new(Vec::new())));
        let call = |kind: usize| {
            let (flights, aloft, flown) = (Arc::clone(&flights), Arc::clone(&aloft), Arc::clone(&flown));
            async move {
                let journey = move || {
                    assert_eq!(aloft.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                    thread::yield_now();
                    aloft.fetch_sub(1, Ordering::SeqCst);
                    flown.lock().unwrap().push(kind);
                    Err(if kind == 0 { Error::LoggedOut } else { Error::OtherAccount })
                };
                let outcome = flights.join(kind, |flight, wanted, _| flight == wanted, journey).await;
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
            flights.set_result().await;
        });
        let flown = flown.lock().unwrap();
        assert!(flown.contains(&0) && flown.contains(&1), "{flown:?}");
    }

    #[test]
    fn a_caller_that_is_not_covered_flies_before_those_that_came_after_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let flights = Arc::new(Flights::<&'static str>::default());
        let flown = Arc::new(Log::new(Vec::new()));
        let call = |kind: &'static str, journey: Box<dyn FnOnce() + Send>| {
            let (flights, flown) = (Arc::clone(&flights), Arc::clone(&flown));
            async move {
                let journey = move || {
                    journey();
                    flown.lock().unwrap().push(kind);
                    Err(Error::LoggedOut)
                };
                flights.join(kind, |flight, wanted, _| flight == wanted, journey).await.map(drop)
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
        assert_eq!(*flown.lock().unwrap(), ["keeper", "forced", "keeper"]);
    }
}
