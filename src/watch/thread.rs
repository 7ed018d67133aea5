//! A thread that watches the files of many members with one watcher of the operating system.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch as latest;

use super::armed::{FALLBACK_POLL_INTERVAL, WatchMethod};
use super::files::{WaitEnd, Watch};
use super::trigger::WatchTrigger;

/// A thread that watches the files of its members. Clones are handles on one thread, which ends with the last handle.
#[derive(Clone, Debug)]
pub struct WatchThread(Arc<ThreadHandle>);

struct ThreadHandle {
    members: Sender<Slot>,
    trigger: WatchTrigger,
    flags: Arc<ThreadFlags>,
    method: latest::Receiver<WatchMethod>,
}

#[derive(Debug, Default)]
struct ThreadFlags {
    stopped: AtomicBool,
    all_wanted: AtomicBool,
}

/// What a [`WatchThread`] calls after changes of its files. It must not wait: the other members wait for it.
pub(crate) trait WatchMember: Send {
    /// Returns the files.
    fn files(&self) -> Vec<PathBuf>;

    /// Handles `reason`.
    fn wake(&mut self, reason: WatchWake) -> WatchAnswer;

    /// Ends a round of checks, after every member was called for it. What is reported here wakes another thread once for
    /// all members.
    fn end_round(&mut self) {}
}

/// What a member wants after a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WatchAnswer {
    /// When it is called next even if nothing changes.
    pub(crate) due: Option<Instant>,
    /// Whether its files may be others than before.
    pub(crate) files: WatchedFiles,
}

/// Whether a member has other files than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchedFiles {
    Same,
    MaybeChanged,
}

/// Why a member is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WatchWake {
    /// The time that it asked for has come.
    Due,
    /// No change was reported for [`FALLBACK_POLL_INTERVAL`].
    Round,
    /// Events may have been lost.
    Unknown,
    /// One of its files may have changed, or its trigger was used.
    Changed,
}

/// A member of a [`WatchThread`], removed on drop.
#[derive(Debug)]
#[must_use = "dropping it removes the member"]
pub(crate) struct WatchRegistration {
    trigger: WatchTrigger,
    removed: Arc<AtomicBool>,
    _wanted: Arc<AtomicBool>,
    _thread: WatchThread,
}

struct Slot {
    member: Box<dyn WatchMember>,
    files: Vec<PathBuf>,
    due: Option<Instant>,
    wanted: Arc<AtomicBool>,
    removed: Arc<AtomicBool>,
}

impl WatchThread {
    /// Starts the thread `name`, which watches `files` at once and those of its members as soon as they are added. If it
    /// cannot be started, an error is logged and no member is ever called.
    #[must_use]
    pub fn start(name: &str, files: Vec<PathBuf>) -> Self {
        let watch = Watch::new(files);
        let trigger = watch.trigger();
        let (members, added) = channel();
        let (sender, method) = latest::channel(watch.method().clone());
        let flags = Arc::new(ThreadFlags::default());
        log_method(watch.method());
        let (slots, files, owned) = (Vec::new(), WatchedFiles::Same, Arc::clone(&flags));
        let work = Work { watch, slots, files, added, flags: owned, method: sender };
        if let Err(error) = thread::Builder::new().name(name.to_owned()).spawn(move || work.run()) {
            tracing::error!(%error, "files are not watched: cannot start a thread");
        }
        Self(Arc::new(ThreadHandle { members, trigger, flags, method }))
    }

    /// Adds the member that `make` returns for its trigger. It is called as soon as its files are watched.
    pub(crate) fn add(&self, make: impl FnOnce(WatchTrigger) -> Box<dyn WatchMember>) -> WatchRegistration {
        let (wanted, removed) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let trigger = self.0.trigger.of_member(&wanted);
        let member = make(trigger.clone());
        let files = member.files();
        let slot =
            Slot { member, files, due: None, wanted: Arc::clone(&wanted), removed: Arc::clone(&removed) };
        // If the thread has ended, the member is dropped.
        let _ = self.0.members.send(slot);
        self.0.trigger.wake();
        WatchRegistration { trigger, removed, _wanted: wanted, _thread: self.clone() }
    }

    /// Calls all members as if their files had changed.
    pub fn wake_all(&self) {
        self.0.flags.all_wanted.store(true, Ordering::SeqCst);
        self.0.trigger.wake();
    }

    /// Returns a receiver of how changes are noticed.
    pub(crate) fn method(&self) -> latest::Receiver<WatchMethod> {
        self.0.method.clone()
    }
}

impl WatchRegistration {
    pub(crate) fn trigger(&self) -> &WatchTrigger {
        &self.trigger
    }
}

impl Drop for WatchRegistration {
    fn drop(&mut self) {
        self.removed.store(true, Ordering::SeqCst);
        self.trigger.wake();
    }
}

impl Drop for ThreadHandle {
    fn drop(&mut self) {
        self.flags.stopped.store(true, Ordering::SeqCst);
        self.trigger.wake();
    }
}

impl fmt::Debug for ThreadHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadHandle").field("flags", &self.flags).finish_non_exhaustive()
    }
}

/// What the thread owns.
struct Work {
    watch: Watch,
    slots: Vec<Slot>,
    /// Whether the files of the slots may be others than those of the watch.
    files: WatchedFiles,
    added: Receiver<Slot>,
    flags: Arc<ThreadFlags>,
    method: latest::Sender<WatchMethod>,
}

impl Work {
    fn run(mut self) {
        let mut last_round = Instant::now();
        loop {
            let round = FALLBACK_POLL_INTERVAL.saturating_sub(last_round.elapsed());
            let due = self.slots.iter().filter_map(|slot| slot.due).min();
            let due = due.map_or(Duration::MAX, |due| due.saturating_duration_since(Instant::now()));
            let end = self.watch.wait_for_end(due.min(round));
            if self.flags.stopped.load(Ordering::SeqCst) {
                return;
            }
            self.update_slots();
            let is_polling = matches!(self.watch.method(), WatchMethod::Polling { .. });
            let is_round = end == WaitEnd::Interval || last_round.elapsed() >= FALLBACK_POLL_INTERVAL;
            if is_round {
                last_round = Instant::now();
                self.watch.restart_interval();
            }
            let for_all = match is_round {
                // The file system may hide changes, also from stamps.
                true if is_polling => Some(WatchWake::Changed),
                true => Some(WatchWake::Round),
                false => None,
            };
            self.wake(for_all);
            if for_all == Some(WatchWake::Round) {
                self.slots.iter_mut().for_each(|slot| slot.member.end_round());
            }
            self.update_files();
            self.publish_method();
        }
    }

    /// Adds the new members, and drops those that were removed.
    fn update_slots(&mut self) {
        let before = self.slots.len();
        self.slots.extend(self.added.try_iter());
        if self.slots.len() != before {
            self.files = WatchedFiles::MaybeChanged;
            // A member reads its files after they are watched.
            self.update_files();
        }
        let before = self.slots.len();
        self.slots.retain(|slot| !slot.removed.load(Ordering::SeqCst));
        if self.slots.len() != before {
            self.files = WatchedFiles::MaybeChanged;
        }
    }

    /// Watches the files of the members. Before the first is added, those of the start stay.
    fn update_files(&mut self) {
        if self.slots.is_empty() {
            return;
        }
        match std::mem::replace(&mut self.files, WatchedFiles::Same) {
            WatchedFiles::Same => self.watch.update_folders(),
            WatchedFiles::MaybeChanged => {
                let files = self.slots.iter().flat_map(|slot| slot.files.iter().cloned()).collect();
                self.watch.update(files);
            }
        }
    }

    /// Calls the members that have a reason.
    fn wake(&mut self, for_all: Option<WatchWake>) {
        let changes = self.watch.take_changes();
        let is_lost = changes.are_unknown().then_some(WatchWake::Unknown);
        let all_wanted = self.flags.all_wanted.swap(false, Ordering::SeqCst);
        for slot in &mut self.slots {
            // Another member's call may take a while.
            if slot.removed.load(Ordering::SeqCst) {
                continue;
            }
            let is_wanted = slot.wanted.swap(false, Ordering::SeqCst);
            let is_changed = is_wanted || all_wanted || changes.concern(&slot.files);
            let is_due = slot.due.is_some_and(|due| due <= Instant::now());
            let own = match (is_changed, is_due) {
                (true, _) => Some(WatchWake::Changed),
                (false, true) => Some(WatchWake::Due),
                (false, false) => None,
            };
            if let Some(reason) = own.max(for_all).max(is_lost) {
                let answer = slot.member.wake(reason);
                slot.due = answer.due;
                if answer.files == WatchedFiles::MaybeChanged {
                    slot.files = slot.member.files();
                    self.files = WatchedFiles::MaybeChanged;
                }
            }
        }
    }

    fn publish_method(&self) {
        self.method.send_if_modified(|sent| {
            let changed = sent != self.watch.method();
            if changed {
                log_method(self.watch.method());
                sent.clone_from(self.watch.method());
            }
            changed
        });
    }
}

fn log_method(method: &WatchMethod) {
    if let WatchMethod::Polling { .. } = method {
        tracing::warn!("file events are unavailable: {method}");
    }
}
