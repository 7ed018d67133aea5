//! Following what other processes do to a login: from events and polls to new snapshots.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch::{self as latest, Receiver, Sender};

use super::{AuthManager, Snapshot};
use crate::home::Home;
use crate::store::{self, DocumentLocation, Holder, HomeState, KeychainChanges, LastModified, Stores};
use crate::watch::{COALESCED, SLOW_POLL, WaitOutcome, Watch, WatchMethod, WatchTrigger};

/// How long a document that cannot be read is taken for one that is being written.
const TORN: Duration = Duration::from_secs(1);
/// How often it is looked at meanwhile, where no event says when.
const TORN_LOOK: Duration = Duration::from_millis(50);
/// How long the record of a commit is waited for, so that a login is told from a refresh, and who has done
/// it is known.
const RECORDED: Duration = Duration::from_millis(500);
/// How often the keychain is asked when its item was modified. A service that takes long to answer is asked less often, so
/// that no more than a twentieth of the time is spent waiting for it. A poll costs it 0.2 ms (`feasibility.md` 4); on a busy
/// machine one takes a hundred times that for reasons that are none of its own.
const KEYCHAIN_POLL: Duration = Duration::from_secs(2);
const KEYCHAIN_POLL_COST: u32 = 20;

/// Follows changes for as long as it lives; dropping it ends that within a moment.
#[derive(Debug)]
#[must_use = "it follows for as long as it lives"]
pub struct WatchHandle {
    ended: Arc<AtomicBool>,
    /// Heard by [`WatchTriggers`] for as long as this lives.
    bell: Arc<WatchTrigger>,
    attention: Receiver<WatchMethod>,
    looks: Receiver<u64>,
}

impl WatchHandle {
    pub(super) fn start(manager: AuthManager) -> Self {
        let watch = Watch::on(watched(&manager.0.engine.home));
        let bell = watch.bell();
        let bell = Arc::new(bell);
        manager.0.bells.add(&bell);
        let ended = Arc::new(AtomicBool::new(false));
        let (tell, attention) = latest::channel(watch.attention().clone());
        let (count, looks) = latest::channel(0);
        tell_of(watch.attention());
        let follower = LoginFollower {
            keychain: KeychainPoll::new(WatchTrigger::clone(&bell)),
            ended: Arc::clone(&ended),
            attention: tell,
            looks: count,
            manager,
            watch,
        };
        let started =
            thread::Builder::new().name("codex-auth watch".to_owned()).spawn(move || follower.run());
        if let Err(error) = started {
            tracing::error!(%error, "changes of the login are not followed: no thread could be had");
        }
        Self { ended, bell, attention, looks }
    }

    /// How changes are noticed, now and whenever that changes.
    #[must_use]
    pub fn attention(&self) -> Receiver<WatchMethod> {
        self.attention.clone()
    }

    /// Counts the looks at the store, each after its change was published. There is one every 30 s at least, also where
    /// nothing changes; the channel is closed when nobody looks any more.
    #[must_use]
    pub fn looks(&self) -> Receiver<u64> {
        self.looks.clone()
    }

    /// What makes it look again at once, whatever events say: after a suspend, or when a person asks for it.
    #[must_use]
    pub fn bell(&self) -> WatchTrigger {
        WatchTrigger::clone(&self.bell)
    }
}

impl Drop for WatchHandle {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        self.bell.ring();
    }
}

/// The watchers that look again after a transaction of this process. Those that were dropped are forgotten.
#[derive(Debug, Default)]
pub(super) struct WatchTriggers(Mutex<Vec<Weak<WatchTrigger>>>);

impl WatchTriggers {
    fn add(&self, bell: &Arc<WatchTrigger>) {
        let mut bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bells.retain(|bell| bell.strong_count() > 0);
        bells.push(Arc::downgrade(bell));
    }

    pub(super) fn ring(&self) {
        let bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bells.iter().filter_map(Weak::upgrade).for_each(|bell| bell.ring());
    }
}

struct LoginFollower {
    manager: AuthManager,
    watch: Watch,
    keychain: KeychainPoll,
    ended: Arc<AtomicBool>,
    attention: Sender<WatchMethod>,
    looks: Sender<u64>,
}

impl LoginFollower {
    fn run(mut self) {
        while !self.has_ended() {
            let noticed = self.watch.wait(self.keychain.due_in());
            if self.has_ended() {
                return;
            }
            let due = self.keychain.due_in().is_zero();
            let polled = if due { self.keychain.poll(&self.manager) } else { WaitOutcome::Nothing };
            if [noticed, polled].contains(&WaitOutcome::LookAgain) {
                self.look();
            }
        }
    }

    /// Loads what is stored and publishes what differs. A document that is being rewritten in place is waited for, and
    /// one that is gone is believed to be so when it is gone twice.
    fn look(&mut self) {
        let began = Instant::now();
        let mut gone_before = false;
        while !self.has_ended() {
            let look = self.manager.0.engine.looks.begin();
            match self.manager.load() {
                Ok((found, _)) if found.document().is_none() && !gone_before && self.had_a_login() => {
                    gone_before = true;
                    let _ = self.watch.wait(COALESCED);
                }
                Ok((found, looked)) => {
                    let author = match self.record_of(&found) {
                        RecordSource::There => None,
                        RecordSource::Since => continue,
                        RecordSource::Soon(_) if began.elapsed() < RECORDED => {
                            let _ = self.watch.wait(RECORDED.saturating_sub(began.elapsed()));
                            continue;
                        }
                        RecordSource::Soon(holder) => Some(holder.into()),
                    };
                    let reload = self.manager.apply_read(found, author);
                    self.manager.remember(looked);
                    tracing::trace!(?reload, "looked at the store");
                    break;
                }
                Err(store::Error::Document { .. }) if began.elapsed() < TORN => {
                    let _ = self.watch.wait(TORN_LOOK);
                }
                Err(error) => {
                    tracing::debug!(%error, "the store cannot be read");
                    self.manager.keep_unreadable(look, error);
                    break;
                }
            }
        }
        let home = &self.manager.0.engine.home;
        self.watch.follow(watched(home));
        let found_there =
            matches!(self.manager.current().location(), Some(DocumentLocation::Keychain { .. }));
        let configured = || self.manager.0.engine.stores().is_ok_and(|stores| stores.uses_keychain());
        self.keychain.attend(found_there || configured());
        self.attention.send_if_modified(|told| {
            let changed = told != self.watch.attention();
            if changed {
                tell_of(self.watch.attention());
                told.clone_from(self.watch.attention());
            }
            changed
        });
        self.looks.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Whether what was found has its record, which every commit of ours is followed by.
    fn record_of(&self, found: &Snapshot) -> RecordSource {
        let known = self.manager.current();
        let generation = &found.record().generation;
        if known.revision() == found.revision() || known.record().generation != *generation {
            return RecordSource::There;
        }
        let home = &self.manager.0.engine.home;
        // In this order: a lease that was given up meanwhile has left its record.
        match store::holder(home) {
            Some(holder) => RecordSource::Soon(holder),
            None if HomeState::read(home).is_ok_and(|(state, _)| state.generation != *generation) => {
                RecordSource::Since
            }
            None => RecordSource::There,
        }
    }

    fn had_a_login(&self) -> bool {
        self.manager.current().document().is_some()
    }
}

/// Where the record of a change is.
enum RecordSource {
    /// It was found with it, or there is none: the change is another program's.
    There,
    /// It was written after the look.
    Since,
    /// Whoever holds the lease is about to write it.
    Soon(Holder),
}

/// Asks the keychain now and then, because a service need not tell of an item that was updated in place: gnome-keyring
/// 42 does not (`feasibility.md` 4).
struct KeychainPoll {
    bell: WatchTrigger,
    due: Instant,
    seen: Option<PollResult>,
    changes: Option<KeychainChanges>,
    asked: KeychainUse,
}

/// Whether the login may be in the keychain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeychainUse {
    Not,
    NowAndThen,
}

/// What the last poll saw. Times are whole seconds, so a second change within one is seen by looking once more.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PollResult {
    Moved(LastModified),
    Settled(LastModified),
    Failed,
}

impl KeychainPoll {
    fn new(bell: WatchTrigger) -> Self {
        Self { bell, due: Instant::now(), seen: None, changes: None, asked: KeychainUse::Not }
    }

    fn due_in(&self) -> Duration {
        match self.asked {
            KeychainUse::Not => SLOW_POLL,
            KeychainUse::NowAndThen => self.due.saturating_duration_since(Instant::now()),
        }
    }

    /// Begins to ask, or leaves off.
    fn attend(&mut self, uses_keychain: bool) {
        match (uses_keychain, self.asked) {
            (true, KeychainUse::Not) => {
                let bell = self.bell.clone();
                self.changes = Some(KeychainChanges::listen(move || bell.ring()));
                (self.asked, self.due) = (KeychainUse::NowAndThen, Instant::now() + KEYCHAIN_POLL);
            }
            (false, KeychainUse::NowAndThen) => {
                (self.asked, self.changes, self.seen) = (KeychainUse::Not, None, None);
            }
            _ => {}
        }
    }

    fn poll(&mut self, manager: &AuthManager) -> WaitOutcome {
        let before = Instant::now();
        let modified = manager.0.engine.stores().and_then(|stores: Stores| stores.keychain_modified());
        self.due = Instant::now() + KEYCHAIN_POLL.max(before.elapsed() * KEYCHAIN_POLL_COST).min(SLOW_POLL);
        let (now, noticed) = match (modified, self.seen.take()) {
            (Err(_), Some(PollResult::Failed)) => (PollResult::Failed, WaitOutcome::Nothing),
            (Err(_), _) => (PollResult::Failed, WaitOutcome::LookAgain),
            (Ok(now), Some(PollResult::Settled(before))) if before == now => {
                (PollResult::Settled(now), WaitOutcome::Nothing)
            }
            (Ok(now), Some(PollResult::Moved(before))) if before == now => {
                (PollResult::Settled(now), WaitOutcome::LookAgain)
            }
            (Ok(now), _) => (PollResult::Moved(now), WaitOutcome::LookAgain),
        };
        self.seen = Some(now);
        noticed
    }
}

/// The files of `home`, and the links that lead to it.
fn watched(home: &Home) -> Vec<PathBuf> {
    let mut files = store::watched(home);
    files.extend(store::links_to(home));
    files
}

fn tell_of(attention: &WatchMethod) {
    if let WatchMethod::Polling { reason } = attention {
        tracing::warn!(reason, "the system does not tell of changes; the login is looked at every second");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    #[test]
    fn a_watcher_that_was_dropped_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let environment = Environment::read(|_| None).unwrap();
        let manager = AuthManager::builder(Home::at(folder.path()).unwrap(), environment).open_anyway();
        let stays = manager.watch();
        for _ in 0..20 {
            drop(manager.watch());
        }
        let last = manager.watch();
        assert_eq!(manager.0.bells.0.lock().unwrap().len(), 2);
        drop((stays, last));
    }
}
