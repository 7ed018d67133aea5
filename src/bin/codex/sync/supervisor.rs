//! Notifications to the service manager, sent on a separate thread so that a slow manager never delays the keeper.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;

/// How long dropping a [`Supervisor`] waits for its last notification.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// A state of the keeper that the service manager is notified of.
#[derive(Clone, Copy, Debug)]
pub(super) enum ServiceState {
    /// Another keeper is active. Reported as ready: a standby has started.
    StandingBy,
    /// This keeper holds the lock.
    Active,
    /// A watchdog ping.
    Alive,
    /// It is stopping.
    Stopping,
}

impl ServiceState {
    fn messages(self) -> &'static [NotifyState<'static>] {
        match self {
            Self::StandingBy => &[NotifyState::Ready, NotifyState::Status("standing by")],
            Self::Active => &[NotifyState::Ready, NotifyState::Status("keeping the login fresh")],
            Self::Alive => &[NotifyState::Watchdog],
            Self::Stopping => &[NotifyState::Stopping],
        }
    }
}

/// Sends notifications to the service manager that started this process, if one did.
///
/// Sending blocks while the manager's queue is full (unix(7)). Dropping waits for pending notifications, for half a
/// second at most.
#[derive(Debug)]
pub(super) struct Supervisor {
    /// `None` if the thread could not be started.
    states: Option<Sender<ServiceState>>,
    /// Whether a watchdog ping is queued; a second one is dropped.
    alive: Arc<AtomicBool>,
    ended: Receiver<Infallible>,
}

impl Supervisor {
    pub(super) fn new() -> Self {
        let (states, queue) = channel::<ServiceState>();
        let (end, ended) = channel();
        let alive = Arc::new(AtomicBool::new(false));
        let queued = Arc::clone(&alive);
        let thread = thread::Builder::new().name("supervisor".to_owned()).spawn(move || {
            let _end = end;
            for state in queue {
                let _ = sd_notify::notify(state.messages());
                if matches!(state, ServiceState::Alive) {
                    queued.store(false, Ordering::Relaxed);
                }
            }
        });
        Self { states: thread.is_ok().then_some(states), alive, ended }
    }

    /// Queues a notification; never blocks.
    pub(super) fn notify(&self, state: ServiceState) {
        if matches!(state, ServiceState::Alive) && self.alive.swap(true, Ordering::Relaxed) {
            return;
        }
        let _ = self.states.as_ref().map(|states| states.send(state));
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.states.take());
        let _ = self.ended.recv_timeout(FLUSH_TIMEOUT);
    }
}

/// The interval of watchdog pings, if the manager wants them: half of what it allows.
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
