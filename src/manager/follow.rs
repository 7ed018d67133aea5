//! Watches the stored login and publishes a new snapshot after every change.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch::{self as latest, Receiver, Sender};

use super::auth_manager::AuthManager;
use super::snapshot::Snapshot;
use crate::home::Home;
use crate::store::{self, DocumentLocation, Holder, HomeState, KeychainChanges, LastModified, Stores};
use crate::watch::{COALESCE_WINDOW, FALLBACK_POLL_INTERVAL, WaitOutcome, Watch, WatchMethod, WatchTrigger};

/// How long an unparsable document is assumed to be in the middle of a write.
const PARTIAL_WRITE: Duration = Duration::from_secs(1);
/// How often it is read meanwhile if no event arrives.
const PARTIAL_WRITE_INTERVAL: Duration = Duration::from_millis(50);
/// How long to wait for the state that follows a commit: it distinguishes a login from a refresh, and names the author.
const STATE_WAIT: Duration = Duration::from_millis(500);
/// How often the keychain is asked when its item was modified. A slow service is asked less often, so that calls take
/// at most a twentieth of the time; a call usually takes 0.2 ms.
const KEYCHAIN_POLL: Duration = Duration::from_secs(2);
const KEYCHAIN_POLL_COST: u32 = 20;

/// A handle on the thread that watches the login. Dropping it stops the watch.
#[derive(Debug)]
#[must_use = "dropping the handle stops the watch"]
pub struct WatchHandle {
    stopped: Arc<AtomicBool>,
    /// The manager holds a weak reference to it.
    trigger: Arc<WatchTrigger>,
    method: Receiver<WatchMethod>,
    reads: Receiver<u64>,
}

impl AuthManager {
    /// Publishes a new snapshot for every change that another process makes to the login, until the handle is dropped.
    /// Processes that live longer than one request should use it.
    ///
    /// A logout empties the snapshot; a new login replaces a poisoned one; a store that cannot be read leaves the
    /// snapshot with [`Divergence::Unreadable`](super::Divergence::Unreadable). [`AccountPolicy`](super::AccountPolicy)
    /// decides whether another account is used. Takes no lock.
    #[must_use = "dropping the handle stops the watch"]
    pub fn watch(&self) -> WatchHandle {
        WatchHandle::start(self.clone())
    }
}

impl WatchHandle {
    fn start(manager: AuthManager) -> Self {
        let watch = Watch::new(watched(&manager.0.engine.home));
        let trigger = Arc::new(watch.trigger());
        manager.0.watch_triggers.add(&trigger);
        let stopped = Arc::new(AtomicBool::new(false));
        let (method_sender, method) = latest::channel(watch.method().clone());
        let (count, reads) = latest::channel(0);
        log_method(watch.method());
        let follower = LoginFollower {
            keychain: KeychainPoll::new(WatchTrigger::clone(&trigger)),
            stopped: Arc::clone(&stopped),
            method: method_sender,
            reads: count,
            manager,
            watch,
        };
        let started =
            thread::Builder::new().name("codex-auth watch".to_owned()).spawn(move || follower.run());
        if let Err(error) = started {
            tracing::error!(%error, "the login is not watched: cannot start a thread");
        }
        Self { stopped, trigger, method, reads }
    }

    /// Returns a receiver of how changes are detected.
    #[must_use]
    pub fn method(&self) -> Receiver<WatchMethod> {
        self.method.clone()
    }

    /// Returns a receiver of the number of reads of the store; it changes after a read was published. There is a read
    /// at least every 30 s. The channel closes when the watch thread has ended.
    #[must_use]
    pub fn reads(&self) -> Receiver<u64> {
        self.reads.clone()
    }

    /// Returns a trigger that makes the watch read the store now.
    #[must_use]
    pub fn trigger(&self) -> WatchTrigger {
        WatchTrigger::clone(&self.trigger)
    }
}

impl Drop for WatchHandle {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.trigger.wake();
    }
}

struct LoginFollower {
    manager: AuthManager,
    watch: Watch,
    keychain: KeychainPoll,
    stopped: Arc<AtomicBool>,
    method: Sender<WatchMethod>,
    reads: Sender<u64>,
}

impl LoginFollower {
    fn run(mut self) {
        while !self.is_stopped() {
            let outcome = self.watch.wait(self.keychain.due_in());
            if self.is_stopped() {
                return;
            }
            let due = self.keychain.due_in().is_zero();
            let polled = if due { self.keychain.poll(&self.manager) } else { WaitOutcome::TimedOut };
            if [outcome, polled].contains(&WaitOutcome::MaybeChanged) {
                self.read();
            }
        }
    }

    /// Reads the store and publishes a change. Waits for a document that is being rewritten in place; a document counts
    /// as removed only if two reads in a row find none.
    fn read(&mut self) {
        let began = Instant::now();
        let mut was_missing = false;
        while !self.is_stopped() {
            let ticket = self.manager.0.engine.read_order.begin();
            match self.manager.load() {
                Ok((found, _)) if found.document().is_none() && !was_missing && self.had_a_login() => {
                    was_missing = true;
                    let _ = self.watch.wait(COALESCE_WINDOW);
                }
                Ok((found, stamps)) => {
                    let author = match self.record_source(&found) {
                        RecordSource::WithRead => None,
                        RecordSource::AfterRead => continue,
                        RecordSource::Pending(_) if began.elapsed() < STATE_WAIT => {
                            let _ = self.watch.wait(STATE_WAIT.saturating_sub(began.elapsed()));
                            continue;
                        }
                        RecordSource::Pending(holder) => Some(holder.into()),
                    };
                    let outcome = self.manager.apply_read(found, author);
                    self.manager.0.last_read.record(stamps);
                    tracing::trace!(?outcome, "read the store");
                    break;
                }
                Err(store::Error::Document { .. }) if began.elapsed() < PARTIAL_WRITE => {
                    let _ = self.watch.wait(PARTIAL_WRITE_INTERVAL);
                }
                Err(error) => {
                    tracing::debug!(%error, "the store cannot be read");
                    self.manager.mark_unreadable(ticket, error);
                    break;
                }
            }
        }
        let home = &self.manager.0.engine.home;
        self.watch.update(watched(home));
        let in_keychain =
            matches!(self.manager.current().location(), Some(DocumentLocation::Keychain { .. }));
        let configured = || self.manager.0.engine.stores().is_ok_and(|stores| stores.uses_keychain());
        self.keychain.attend(in_keychain || configured());
        self.method.send_if_modified(|sent| {
            let changed = sent != self.watch.method();
            if changed {
                log_method(self.watch.method());
                sent.clone_from(self.watch.method());
            }
            changed
        });
        self.reads.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Determines whether the state for a change was read with it; each commit of this library writes one.
    fn record_source(&self, found: &Snapshot) -> RecordSource {
        let known = self.manager.current();
        let generation = &found.record().generation;
        if known.revision() == found.revision() || known.record().generation != *generation {
            return RecordSource::WithRead;
        }
        let home = &self.manager.0.engine.home;
        // The holder first: a holder that releases the lease in between has written its state.
        match store::holder(home) {
            Some(holder) => RecordSource::Pending(holder),
            None if HomeState::read(home).is_ok_and(|(state, _)| state.generation != *generation) => {
                RecordSource::AfterRead
            }
            None => RecordSource::WithRead,
        }
    }

    fn had_a_login(&self) -> bool {
        self.manager.current().document().is_some()
    }
}

/// When the state of a change is written.
enum RecordSource {
    /// It was read with the document, or there is none because another program made the change.
    WithRead,
    /// It was written after the read.
    AfterRead,
    /// The lease holder will write it.
    Pending(Holder),
}

/// Polls the keychain, because a service may send no signal when an item is updated in place; gnome-keyring 42 does
/// not.
struct KeychainPoll {
    trigger: WatchTrigger,
    due: Instant,
    seen: Option<PollResult>,
    changes: Option<KeychainChanges>,
    usage: KeychainUse,
}

/// Whether the keychain is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeychainUse {
    Unused,
    Polled,
}

/// The result of a poll. Modification times are whole seconds, so a change is followed by one more read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PollResult {
    Changed(LastModified),
    Unchanged(LastModified),
    Failed,
}

impl KeychainPoll {
    fn new(trigger: WatchTrigger) -> Self {
        Self { trigger, due: Instant::now(), seen: None, changes: None, usage: KeychainUse::Unused }
    }

    fn due_in(&self) -> Duration {
        match self.usage {
            KeychainUse::Unused => FALLBACK_POLL_INTERVAL,
            KeychainUse::Polled => self.due.saturating_duration_since(Instant::now()),
        }
    }

    /// Starts or stops polling.
    fn attend(&mut self, uses_keychain: bool) {
        match (uses_keychain, self.usage) {
            (true, KeychainUse::Unused) => {
                let trigger = self.trigger.clone();
                self.changes = Some(KeychainChanges::listen(move || trigger.wake()));
                (self.usage, self.due) = (KeychainUse::Polled, Instant::now() + KEYCHAIN_POLL);
            }
            (false, KeychainUse::Polled) => {
                (self.usage, self.changes, self.seen) = (KeychainUse::Unused, None, None);
            }
            _ => {}
        }
    }

    fn poll(&mut self, manager: &AuthManager) -> WaitOutcome {
        let before = Instant::now();
        let modified = manager.0.engine.stores().and_then(|stores: Stores| stores.keychain_modified());
        self.due = Instant::now()
            + KEYCHAIN_POLL.max(before.elapsed() * KEYCHAIN_POLL_COST).min(FALLBACK_POLL_INTERVAL);
        let (now, outcome) = match (modified, self.seen.take()) {
            (Err(_), Some(PollResult::Failed)) => (PollResult::Failed, WaitOutcome::TimedOut),
            (Err(_), _) => (PollResult::Failed, WaitOutcome::MaybeChanged),
            (Ok(now), Some(PollResult::Unchanged(before))) if before == now => {
                (PollResult::Unchanged(now), WaitOutcome::TimedOut)
            }
            (Ok(now), Some(PollResult::Changed(before))) if before == now => {
                (PollResult::Unchanged(now), WaitOutcome::MaybeChanged)
            }
            (Ok(now), _) => (PollResult::Changed(now), WaitOutcome::MaybeChanged),
        };
        self.seen = Some(now);
        outcome
    }
}

/// Returns the files of `home` and the symlinks that lead to it.
fn watched(home: &Home) -> Vec<PathBuf> {
    let mut files = store::watched_files(home);
    files.extend(store::links_to(home));
    files
}

fn log_method(method: &WatchMethod) {
    if let WatchMethod::Polling { .. } = method {
        tracing::warn!("file events are unavailable: {method}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    #[test]
    fn the_trigger_of_a_dropped_watch_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let environment = Environment::read(|_| None).unwrap();
        let manager = AuthManager::builder(Home::at(folder.path()).unwrap(), environment).open_anyway();
        let stays = manager.watch();
        for _ in 0..20 {
            drop(manager.watch());
        }
        let last = manager.watch();
        assert_eq!(manager.0.watch_triggers.0.lock().unwrap().len(), 2);
        drop((stays, last));
    }
}
