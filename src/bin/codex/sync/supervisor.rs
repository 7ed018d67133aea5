//! What the service manager is told of a keeper, by a thread of its own: a manager that does not listen holds up nobody.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;

/// How long the last word may take to be heard.
const PATIENCE: Duration = Duration::from_millis(500);

/// What there is to tell.
#[derive(Clone, Copy, Debug)]
pub(super) enum ServiceState {
    /// Another keeper is at work. To a manager one who stands by has started: it is ready to take over.
    StandingBy,
    /// This one is at work.
    AtWork,
    /// It goes on.
    Alive,
    /// It will have ended soon.
    Ending,
}

impl ServiceState {
    fn states(self) -> &'static [NotifyState<'static>] {
        match self {
            Self::StandingBy => &[NotifyState::Ready, NotifyState::Status("standing by")],
            Self::AtWork => &[NotifyState::Ready, NotifyState::Status("keeping the login fresh")],
            Self::Alive => &[NotifyState::Watchdog],
            Self::Ending => &[NotifyState::Stopping],
        }
    }
}

/// The service manager that started this process, if one did; it is only informed.
///
/// Sending waits for as long as the manager's queue is full (unix(7)), so it is not done by who has a login to keep.
/// Dropping it waits until what was told is sent, half a second at most.
#[derive(Debug)]
pub(super) struct Supervisor {
    /// None where no thread could be had.
    tell: Option<Sender<ServiceState>>,
    /// Whether a sign of life is on its way still; a second one would say nothing more.
    alive: Arc<AtomicBool>,
    ended: Receiver<Infallible>,
}

impl Supervisor {
    pub(super) fn new() -> Self {
        let (tell, told) = channel::<ServiceState>();
        let (end, ended) = channel();
        let alive = Arc::new(AtomicBool::new(false));
        let on_its_way = Arc::clone(&alive);
        let thread = thread::Builder::new().name("supervisor".to_owned()).spawn(move || {
            let _end = end;
            for news in told {
                let _ = sd_notify::notify(news.states());
                if matches!(news, ServiceState::Alive) {
                    on_its_way.store(false, Ordering::Relaxed);
                }
            }
        });
        Self { tell: thread.is_ok().then_some(tell), alive, ended }
    }

    pub(super) fn tell(&self, news: ServiceState) {
        if matches!(news, ServiceState::Alive) && self.alive.swap(true, Ordering::Relaxed) {
            return;
        }
        let _ = self.tell.as_ref().map(|tell| tell.send(news));
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.tell.take());
        let _ = self.ended.recv_timeout(PATIENCE);
    }
}

/// When the manager wants a sign of life, if it does: twice as often as it asks.
#[derive(Debug)]
pub(super) struct Watchdog(Option<tokio::time::Interval>);

impl Watchdog {
    pub(super) fn new() -> Self {
        Self(sd_notify::watchdog_enabled().map(|limit| {
            let period = limit / 2;
            tokio::time::interval_at(Instant::now() + period, period)
        }))
    }

    pub(super) async fn is_due(&mut self) {
        match &mut self.0 {
            Some(interval) => drop(interval.tick().await),
            None => std::future::pending().await,
        }
    }
}
