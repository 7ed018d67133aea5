//! A watch on a set of files, for one thread.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use codex_auth_platform::sync::lock;

use super::armed::{
    ArmedWatches, COALESCE_WINDOW, ChangedPaths, FALLBACK_POLL_INTERVAL, PathStamp, SharedChanges,
    WatchMethod,
};
use super::trigger::WatchTrigger;

/// A watch on a set of files, ended by dropping it.
#[derive(Debug)]
pub struct Watch {
    files: Vec<PathBuf>,
    trigger: WatchTrigger,
    woken: Receiver<()>,
    changes: SharedChanges,
    armed: ArmedWatches,
    /// The stamps at the last report, if they are compared.
    stamps: Vec<PathStamp>,
    last_check: Option<Instant>,
}

/// The result of [`Watch::wait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitOutcome {
    /// A file may have changed.
    MaybeChanged,
    /// The time limit passed without a report.
    TimedOut,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitEnd {
    /// By an event, a trigger, or a changed stamp.
    Reported,
    /// By the interval of reports.
    Interval,
    /// By the time limit.
    Limit,
}

impl Watch {
    /// Starts watching `files`. Neither they nor their folders need to exist.
    #[must_use]
    pub fn new(files: Vec<PathBuf>) -> Self {
        let (sender, woken) = sync_channel(1);
        let (trigger, changes) = (WatchTrigger::new(sender), SharedChanges::default());
        let armed = ArmedWatches::new(&files, &trigger, &changes);
        Self { files, trigger, woken, changes, armed, stamps: Vec::new(), last_check: None }
    }

    /// Returns a handle that wakes this watch from another thread.
    #[must_use]
    pub fn trigger(&self) -> WatchTrigger {
        self.trigger.clone()
    }

    /// Returns how changes are noticed at present.
    #[must_use]
    pub fn method(&self) -> &WatchMethod {
        &self.armed.method
    }

    /// Waits for a change, for at most `limit`.
    ///
    /// The first event is reported at once; events that follow within [`COALESCE_WINDOW`] are reported together by the
    /// next call. The first call, and any call [`FALLBACK_POLL_INTERVAL`] after the last report, returns
    /// [`WaitOutcome::MaybeChanged`] in any case.
    #[must_use]
    pub fn wait(&mut self, limit: Duration) -> WaitOutcome {
        let end = self.wait_for_end(limit);
        *lock(&self.changes) = ChangedPaths::default();
        match end {
            WaitEnd::Limit => WaitOutcome::TimedOut,
            _ => WaitOutcome::MaybeChanged,
        }
    }

    /// As [`Self::wait`], for a caller that takes the changed paths.
    pub(super) fn wait_for_end(&mut self, limit: Duration) -> WaitEnd {
        let report_interval = match (&self.armed.method, self.armed.comparison) {
            (WatchMethod::Polling { interval, .. }, None) => *interval,
            _ => FALLBACK_POLL_INTERVAL,
        };
        let due =
            self.last_check.map_or(Duration::ZERO, |last| report_interval.saturating_sub(last.elapsed()));
        let deadline = Instant::now() + limit.min(due);
        let end = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let pause = self.armed.comparison.map_or(left, |interval| interval.min(left));
            match self.woken.recv_timeout(pause) {
                Ok(()) => {
                    self.coalesce();
                    break WaitEnd::Reported;
                }
                // This watch holds a sender itself, so the channel is never disconnected.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            if self.armed.comparison.is_some() && self.armed.current_stamps() != self.stamps {
                break WaitEnd::Reported;
            }
            match deadline.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => {}
                _ if due > limit => return WaitEnd::Limit,
                _ => break WaitEnd::Interval,
            }
        };
        // Before the caller reads, so that no change after this is missed.
        if self.armed.comparison.is_some() {
            let stamps = self.armed.current_stamps();
            // Also where a trigger ended the wait.
            if stamps != self.stamps {
                *lock(&self.changes) = ChangedPaths::Any;
            }
            self.stamps = stamps;
        }
        self.last_check = Some(Instant::now());
        end
    }

    /// Begins the interval of reports again.
    pub(super) fn restart_interval(&mut self) {
        self.last_check = Some(Instant::now());
    }

    /// Takes the paths that have changed since they were last taken.
    pub(super) fn take_changes(&self) -> ChangedPaths {
        std::mem::take(&mut *lock(&self.changes))
    }

    /// Replaces the watched files by `files`, and watches folders that were replaced since. Call it after every report:
    /// if the watches had to change, the next wait ends at once, so that no change in between is missed.
    pub fn update(&mut self, files: Vec<PathBuf>) {
        // By their bytes: a comparison of paths takes them apart.
        let are_same =
            files.iter().map(|file| file.as_os_str()).eq(self.files.iter().map(|file| file.as_os_str()));
        if are_same {
            return self.update_folders();
        }
        self.arm(files);
    }

    /// As [`Self::update`], for the same files.
    pub(super) fn update_folders(&mut self) {
        if !self.armed.is_current() || self.armed.should_retry() {
            self.arm(self.files.clone());
        }
    }

    fn arm(&mut self, files: Vec<PathBuf>) {
        self.armed = ArmedWatches::new(&files, &self.trigger, &self.changes);
        *lock(&self.changes) = ChangedPaths::Any;
        self.files = files;
        self.trigger.wake();
    }

    /// Waits until the last report is [`COALESCE_WINDOW`] ago and discards the wake-ups up to then.
    fn coalesce(&self) {
        let left = |last: Instant| COALESCE_WINDOW.saturating_sub(last.elapsed());
        while let Some(left) = self.last_check.map(left).filter(|left| !left.is_zero()) {
            let _ = self.woken.recv_timeout(left);
        }
        let _ = self.woken.try_recv();
    }
}

#[cfg(test)]
mod tests {
    use super::super::armed::watched_folders;
    use super::*;

    #[test]
    fn several_wake_ups_are_reported_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(vec![folder.path().join("file")]);
        assert_eq!(watch.wait(Duration::ZERO), WaitOutcome::MaybeChanged, "the first call reports");
        for _ in 0..100 {
            watch.trigger().wake();
        }
        assert_eq!(watch.wait(Duration::from_secs(5)), WaitOutcome::MaybeChanged);
        assert_eq!(watch.wait(COALESCE_WINDOW * 2), WaitOutcome::TimedOut);
    }

    #[test]
    fn a_missing_folder_is_watched_through_its_nearest_existing_ancestor() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("a/b/file");
        let paths = |files: &[PathBuf]| {
            watched_folders(files).into_iter().map(|folder| folder.path).collect::<Vec<_>>()
        };
        // And all folders above it, except the root folder.
        let mut expected: Vec<_> = home.path().ancestors().map(ToOwned::to_owned).collect();
        expected.reverse();
        expected.remove(0);
        assert_eq!(paths(std::slice::from_ref(&file)), expected);
        #[expect(clippy::disallowed_methods, reason = "a test makes its own folders")]
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        expected.extend([home.path().join("a"), home.path().join("a/b")]);
        assert_eq!(paths(&[file]), expected);
    }
}
