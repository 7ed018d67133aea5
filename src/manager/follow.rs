//! Watches the stored login and publishes a new snapshot after every change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch::{self as latest, Receiver, Sender};

use super::auth_manager::AuthManager;
use super::snapshot::Snapshot;
use crate::home::Home;
use crate::store::{self, DocumentLocation, Holder, HomeState, KeychainChanges, LastModified, Stores};
use crate::watch::{
    COALESCE_WINDOW, FALLBACK_POLL_INTERVAL, WaitOutcome, WatchAnswer, WatchMember, WatchMethod,
    WatchRegistration, WatchThread, WatchTrigger, WatchWake, WatchedFiles,
};

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

/// The name of the thread.
const THREAD: &str = "codex-auth watch";

/// A handle on the watch of a login. Dropping it stops the watch.
#[derive(Debug)]
#[must_use = "dropping the handle stops the watch"]
pub struct WatchHandle {
    _registration: WatchRegistration,
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
        self.watch_on(&WatchThread::start(THREAD, watched(&self.0.engine.home)))
    }

    /// As [`Self::watch`], on a thread that watches several logins.
    #[must_use = "dropping the handle stops the watch"]
    pub fn watch_on(&self, thread: &WatchThread) -> WatchHandle {
        let (count, reads) = latest::channel(0);
        let registration = thread.add(|trigger| {
            Box::new(LoginFollower {
                manager: self.clone(),
                keychain: KeychainPoll::new(trigger),
                pending: None,
                last: LastRead::Failed,
                reads: count,
            })
        });
        let trigger = Arc::new(registration.trigger().clone());
        self.0.watch_triggers.add(&trigger);
        WatchHandle { _registration: registration, trigger, method: thread.method(), reads }
    }
}

impl WatchHandle {
    /// Returns a receiver of how changes are detected.
    #[must_use]
    pub fn method(&self) -> Receiver<WatchMethod> {
        self.method.clone()
    }

    /// Returns a receiver of the number of reads of the store; it changes after a read was published. There is a read,
    /// or a check that none is needed, at least every 30 s. The channel closes when the watch thread has ended.
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

struct LoginFollower {
    manager: AuthManager,
    keychain: KeychainPoll,
    pending: Option<PendingRead>,
    last: LastRead,
    reads: Sender<u64>,
}

/// A read that is tried again because the store was in the middle of a change.
#[derive(Clone, Copy, Debug)]
struct PendingRead {
    began: Instant,
    was_missing: bool,
    again: Instant,
}

/// The outcome of the last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastRead {
    Succeeded,
    Failed,
}

impl WatchMember for LoginFollower {
    fn files(&self) -> Vec<PathBuf> {
        watched(&self.manager.0.engine.home)
    }

    fn wake(&mut self, reason: WatchWake) -> WatchAnswer {
        let is_due = self.keychain.due().is_some_and(|due| due <= Instant::now());
        let polled = if is_due { self.keychain.poll(&self.manager) } else { WaitOutcome::TimedOut };
        let is_needed = match reason {
            WatchWake::Changed => true,
            WatchWake::Round | WatchWake::Unknown => self.needs_read(),
            WatchWake::Due => false,
        };
        let mut files = WatchedFiles::Same;
        if is_needed || self.pending.is_some() || polled == WaitOutcome::MaybeChanged {
            self.read();
            // A link on the way to them may lead elsewhere.
            files = WatchedFiles::MaybeChanged;
        } else if reason == WatchWake::Unknown {
            self.publish_count();
        }
        let again = self.pending.map(|pending| pending.again);
        WatchAnswer { due: again.into_iter().chain(self.keychain.due()).min(), files }
    }

    fn end_round(&mut self) {
        self.publish_count();
    }
}

impl LoginFollower {
    /// Whether a read may find a change that was not reported.
    fn needs_read(&self) -> bool {
        self.last == LastRead::Failed
            || self.keychain.usage == KeychainUse::Polled
            || self.manager.0.last_read.files_have_changed(&self.manager.0.engine.home)
    }

    /// Reads the store and publishes a change. A document that is being rewritten in place is read again soon; a document
    /// counts as removed only if two reads in a row find none.
    fn read(&mut self) {
        let pending = self.pending.take();
        let began = pending.map_or_else(Instant::now, |pending| pending.began);
        let was_missing = pending.is_some_and(|pending| pending.was_missing);
        let mut try_again = |within: Duration, was_missing| {
            self.pending = Some(PendingRead { began, was_missing, again: Instant::now() + within });
        };
        loop {
            let ticket = self.manager.0.engine.read_order.begin();
            match self.manager.load() {
                Ok((found, _))
                    if found.document().is_none() && !was_missing && had_a_login(&self.manager) =>
                {
                    return try_again(COALESCE_WINDOW, true);
                }
                Ok((found, stamps)) => {
                    let author = match record_source(&self.manager, &found) {
                        RecordSource::WithRead => None,
                        RecordSource::AfterRead => continue,
                        RecordSource::Pending(_) if began.elapsed() < STATE_WAIT => {
                            return try_again(STATE_WAIT.saturating_sub(began.elapsed()), was_missing);
                        }
                        RecordSource::Pending(holder) => Some(holder.into()),
                    };
                    let outcome = self.manager.apply_read(found, author);
                    self.manager.0.last_read.record(stamps);
                    self.last = LastRead::Succeeded;
                    tracing::trace!(?outcome, "read the store");
                    break;
                }
                Err(store::Error::Document { .. }) if began.elapsed() < PARTIAL_WRITE => {
                    return try_again(PARTIAL_WRITE_INTERVAL, was_missing);
                }
                Err(error) => {
                    tracing::debug!(%error, "the store cannot be read");
                    self.manager.mark_unreadable(ticket, error);
                    self.last = LastRead::Failed;
                    break;
                }
            }
        }
        let in_keychain =
            matches!(self.manager.current().location(), Some(DocumentLocation::Keychain { .. }));
        let configured = || self.manager.0.engine.stores().is_ok_and(|stores| stores.uses_keychain());
        self.keychain.attend(in_keychain || configured());
        self.publish_count();
    }

    fn publish_count(&self) {
        self.reads.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// Determines whether the state for a change was read with it; each commit of this library writes one.
fn record_source(manager: &AuthManager, found: &Snapshot) -> RecordSource {
    let known = manager.current();
    let generation = &found.record().generation;
    if known.revision() == found.revision() || known.record().generation != *generation {
        return RecordSource::WithRead;
    }
    let home = &manager.0.engine.home;
    // The holder first: a holder that releases the lease in between has written its state.
    match store::holder(home) {
        Some(holder) => RecordSource::Pending(holder),
        None if HomeState::read(home).is_ok_and(|(state, _)| state.generation != *generation) => {
            RecordSource::AfterRead
        }
        None => RecordSource::WithRead,
    }
}

fn had_a_login(manager: &AuthManager) -> bool {
    manager.current().document().is_some()
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

    fn due(&self) -> Option<Instant> {
        (self.usage == KeychainUse::Polled).then_some(self.due)
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
