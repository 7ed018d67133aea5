//! One flight per process: whoever wants a refresh while one is under way waits for that one.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::{oneshot, watch};

use super::error::Error;
use super::snapshot::Snapshot;

type Landed = Result<Arc<Snapshot>, Error>;

/// The flight that is under way, and how many have not come down yet.
#[derive(Debug)]
pub(super) struct Flights {
    current: Arc<Mutex<Option<watch::Receiver<Option<Landed>>>>>,
    aloft: watch::Sender<usize>,
}

impl Default for Flights {
    fn default() -> Self {
        Self { current: Arc::default(), aloft: watch::Sender::new(0) }
    }
}

impl Flights {
    /// Waits for the flight under way, or starts `journey` on a thread of its own and waits for that. A caller that
    /// stops waiting changes nothing for the others, nor for the flight.
    pub(super) async fn join(&self, journey: impl FnOnce() -> Landed + Send + 'static) -> Landed {
        let mut landing = self.board(journey);
        match landing.wait_for(Option::is_some).await {
            Ok(landed) => landed.clone().unwrap_or(Err(Error::BrokeDown)),
            // The thread is gone without a word: it panicked.
            Err(_) => Err(Error::BrokeDown),
        }
    }

    /// Waits until every flight has come down.
    pub(super) async fn settle(&self) {
        // The sender lives as long as `self`.
        let _ = self.aloft.subscribe().wait_for(|aloft| *aloft == 0).await;
    }

    fn board(&self, journey: impl FnOnce() -> Landed + Send + 'static) -> watch::Receiver<Option<Landed>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(landing) = current.as_ref()
            && landing.borrow().is_none()
            && landing.has_changed().is_ok()
        {
            return landing.clone();
        }
        let (tell, landing) = watch::channel(None);
        *current = Some(landing.clone());
        drop(current);
        let aloft = Aloft::new(self.aloft.clone());
        let started = thread::Builder::new().name("codex-auth refresh".to_owned()).spawn(move || {
            let landed = journey();
            tell.send_replace(Some(landed));
            drop(aloft);
        });
        if started.is_err() {
            // No thread could be had: the sender is dropped, and everybody hears of a breakdown.
            *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        landing
    }
}

/// Counts one flight until it is dropped, also by a panic.
struct Aloft(watch::Sender<usize>);

impl Aloft {
    fn new(count: watch::Sender<usize>) -> Self {
        count.send_modify(|aloft| *aloft += 1);
        Self(count)
    }
}

impl Drop for Aloft {
    fn drop(&mut self) {
        self.0.send_modify(|aloft| *aloft -= 1);
    }
}

/// Runs `work`, which blocks, on a thread of its own.
pub(super) async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (tell, told) = oneshot::channel();
    let started = thread::Builder::new().name("codex-auth look".to_owned()).spawn(move || tell.send(work()));
    match started {
        Ok(_) => told.await.unwrap_or(Err(Error::BrokeDown)),
        Err(_) => Err(Error::BrokeDown),
    }
}
