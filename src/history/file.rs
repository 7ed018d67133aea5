//! The files of a history: appends a line under a lock, and reads all lines without one.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use codex_auth_platform::filesystem;
use codex_auth_platform::lock::{self, FileLock, LockFileMode};
use codex_auth_platform::private_file::{self, DirectoryState, Links};

use super::event::HistoryEvent;
use super::record::HistoryRecord;
use crate::clock::Clock;
use crate::config::HistorySetting;
use crate::home::RecordPaths;

/// The size at which a new file is begun, in bytes. Two files are kept.
pub const SEGMENT_BYTES: u64 = 1 << 20;
/// A longer file was not written by this library, and is not read.
const MAX_BYTES: u64 = SEGMENT_BYTES + (64 << 10);
/// How long an event waits for another process that records one.
const LOCK_WAIT: Duration = Duration::from_millis(5);
/// How often a history is read again that is rotated meanwhile.
const MAX_READS: usize = 4;

const CURRENT: &str = "events.jsonl";
const OLDER: &str = "events.old.jsonl";
const LOCK: &str = "history.lock";

/// The history of one login. Clones are cheap; opening it touches no file.
#[derive(Clone, Debug)]
pub struct History {
    folder: PathBuf,
    setting: HistorySetting,
    clock: Clock,
}

/// The events of a history, and what could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryContent {
    /// The events in the order in which they were recorded.
    pub records: Vec<HistoryRecord>,
    /// The number of lines that are no event: torn by a full disk or a killed process, or damaged.
    pub skipped: usize,
    /// Why a file could not be read, for each such file.
    pub unreadable: Vec<String>,
}

impl HistoryContent {
    /// Returns how many events were dropped because the history could not be written, by the events after them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.records.iter().map(|record| record.dropped).sum()
    }
}

/// How recording one event ended.
enum RecordOutcome {
    Recorded,
    NotNeeded,
    Dropped,
}

impl History {
    /// Returns the history of the login with these records. `clock` gives the time of new events.
    #[must_use]
    pub fn open(records: &RecordPaths, setting: HistorySetting, clock: Clock) -> Self {
        Self { folder: records.history(), setting, clock }
    }

    /// Returns the file that changes with every event.
    #[must_use]
    pub fn current_file(&self) -> PathBuf {
        self.folder.join(CURRENT)
    }

    /// Returns the file with the events before those of [`Self::current_file`].
    #[must_use]
    pub fn older_file(&self) -> PathBuf {
        self.folder.join(OLDER)
    }

    /// Records `event`, unless the setting is off. An event that cannot be recorded within 5 ms, or at all, is counted;
    /// the next event of this process carries the count. Locks: `history.lock`, for the write only.
    pub fn record(&self, event: HistoryEvent) {
        self.record_if(event, || true);
    }

    /// As [`Self::record`], unless `is_known` says that what is recorded already, the latest last, makes it redundant.
    pub fn record_unless(&self, event: HistoryEvent, is_known: impl FnOnce(&[HistoryRecord]) -> bool) {
        self.record_if(event, || !is_known(&self.read().records));
    }

    /// `is_new` is called under the lock.
    fn record_if(&self, event: HistoryEvent, is_new: impl FnOnce() -> bool) {
        if self.setting == HistorySetting::Off {
            return;
        }
        let dropped = take_dropped(&self.folder);
        match self.try_record(event, dropped, is_new) {
            RecordOutcome::Recorded => {}
            RecordOutcome::NotNeeded => add_dropped(&self.folder, dropped),
            RecordOutcome::Dropped => add_dropped(&self.folder, dropped + 1),
        }
    }

    fn try_record(&self, event: HistoryEvent, dropped: u64, is_new: impl FnOnce() -> bool) -> RecordOutcome {
        let Some(_lock) = self.lock() else { return RecordOutcome::Dropped };
        if !is_new() {
            return RecordOutcome::NotNeeded;
        }
        let record = HistoryRecord::of_this_process(event, self.clock.now(), dropped);
        let written =
            private_file::append_line(&self.current_file(), &record.line(), SEGMENT_BYTES, OsStr::new(OLDER));
        match written {
            Ok(()) => RecordOutcome::Recorded,
            Err(error) => {
                tracing::debug!(%error, "an event is not recorded");
                RecordOutcome::Dropped
            }
        }
    }

    /// Locks the history, creating its folder if that is missing; `None` if that is not possible now.
    fn lock(&self) -> Option<FileLock> {
        let path = self.folder.join(LOCK);
        let lock = || FileLock::acquire_briefly(&path, LockFileMode::Private, LOCK_WAIT);
        let locked = match lock() {
            Err(lock::Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                // A home that is away for a moment must not be replaced by an empty one.
                let above = self.folder.parent()?;
                if private_file::directory_state(above).ok()? != DirectoryState::Writable {
                    return None;
                }
                private_file::create_directory(&self.folder).ok()?;
                lock()
            }
            locked => locked,
        };
        locked.inspect_err(|error| tracing::debug!(%error, "an event is not recorded")).ok()?
    }

    /// Reads all events. Takes no lock; a file that cannot be read or parsed is reported in the result.
    #[must_use]
    pub fn read(&self) -> HistoryContent {
        let mut content = HistoryContent::default();
        for _ in 0..MAX_READS {
            let before = filesystem::identity(&self.current_file());
            content = HistoryContent::default();
            content.add(&self.older_file());
            content.add(&self.current_file());
            // If the file was renamed meanwhile, its events were read twice or not at all.
            if filesystem::identity(&self.current_file()) == before {
                break;
            }
        }
        content
    }
}

impl HistoryContent {
    fn add(&mut self, path: &Path) {
        match private_file::read(path, MAX_BYTES, Links::Refuse) {
            Ok(None) => {}
            Ok(Some(contents)) => self.parse(&contents.bytes),
            Err(error) => self.unreadable.push(error.to_string()),
        }
    }

    /// Adds the events in `bytes`. A last line without a line feed is still being written, or is torn.
    pub(super) fn parse(&mut self, bytes: &[u8]) {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_suffix(b"\n").map(serde_json::from_slice) {
                Some(Ok(record)) => self.records.push(record),
                _ => self.skipped += 1,
            }
        }
    }
}

static DROPPED: Mutex<BTreeMap<PathBuf, u64>> = Mutex::new(BTreeMap::new());

fn take_dropped(folder: &Path) -> u64 {
    DROPPED.lock().unwrap_or_else(PoisonError::into_inner).remove(folder).unwrap_or(0)
}

fn add_dropped(folder: &Path, count: u64) {
    if count > 0 {
        let mut dropped = DROPPED.lock().unwrap_or_else(PoisonError::into_inner);
        *dropped.entry(folder.to_owned()).or_default() += count;
    }
}
