//! Reports that files may have changed, without reading them.
//!
//! The watches are on the folders, not on the files, because replacing a file removes the watch on it. The folders above
//! are watched as well, so that a folder that is created, removed or replaced is noticed and then watched.
//!
//! Where the file system may hide changes (a network or FUSE file system), the files count as possibly changed every
//! second. Where only the system's events are missing (an exhausted limit), the stamps of the files are compared ten
//! times a second, which costs a few system calls. notify's own poll watcher is not used: it compares modification
//! times in whole seconds and misses a second change within one second.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use codex_auth_platform::filesystem::{self, FileId, WatchSupport};
use codex_auth_platform::private_file::{self, Links, Stamp};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

/// Events that follow a report within this time are reported together. The first event is reported at once.
pub const COALESCE_WINDOW: Duration = Duration::from_millis(20);
/// The interval of reports where the file system may hide changes.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The interval at which the stamps of the files are compared where only the system's events are missing.
pub const COMPARE_INTERVAL: Duration = Duration::from_millis(100);
/// The longest time between two reports even where the system does: events can be lost, for example during a suspend.
pub const FALLBACK_POLL_INTERVAL: Duration = Duration::from_secs(30);

/// How long a home may be missing before a process that watches it takes it for removed: it may be replaced, or mounted
/// again.
pub const MISSING_GRACE: Duration = Duration::from_secs(5);

/// A watch on a set of files, ended by dropping it.
#[derive(Debug)]
pub struct Watch {
    files: Vec<PathBuf>,
    trigger: WatchTrigger,
    woken: Receiver<()>,
    armed: ArmedWatches,
    /// The stamps at the last report, if they are compared.
    stamps: Vec<PathStamp>,
    last_check: Option<Instant>,
}

/// A handle that ends the current or next [`Watch::wait`]. Several wake-ups before that count as one.
#[derive(Clone, Debug)]
pub struct WatchTrigger(SyncSender<()>);

impl WatchTrigger {
    /// Wakes the watch.
    pub fn wake(&self) {
        let _ = self.try_wake();
    }

    /// Wakes the watch; returns `false` if it was dropped.
    #[must_use]
    pub fn try_wake(&self) -> bool {
        // A full channel means that a wake-up is pending already.
        !matches!(self.0.try_send(()), Err(TrySendError::Disconnected(())))
    }
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

/// How a [`Watch`] notices changes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchMethod {
    /// By events of the operating system.
    Events,
    /// By polling.
    Polling {
        /// How often: [`POLL_INTERVAL`] or [`COMPARE_INTERVAL`].
        interval: Duration,
        /// Why there are no events, in words for the user.
        reason: String,
    },
}

impl fmt::Display for WatchMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Events => f.write_str("changes are reported by the system"),
            Self::Polling { interval, reason } => {
                write!(f, "polling for changes every {} ms ({reason})", interval.as_millis())
            }
        }
    }
}

impl Watch {
    /// Starts watching `files`. Neither they nor their folders need to exist.
    #[must_use]
    pub fn new(files: Vec<PathBuf>) -> Self {
        let (sender, woken) = sync_channel(1);
        let trigger = WatchTrigger(sender);
        let armed = ArmedWatches::new(&files, &trigger);
        Self { files, trigger, woken, armed, stamps: Vec::new(), last_check: None }
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
        let report_interval = match (&self.armed.method, self.armed.comparison) {
            (WatchMethod::Polling { interval, .. }, None) => *interval,
            _ => FALLBACK_POLL_INTERVAL,
        };
        let due =
            self.last_check.map_or(Duration::ZERO, |last| report_interval.saturating_sub(last.elapsed()));
        let end = Instant::now() + limit.min(due);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let pause = self.armed.comparison.map_or(left, |interval| interval.min(left));
            match self.woken.recv_timeout(pause) {
                Ok(()) => {
                    self.coalesce();
                    break;
                }
                // This watch holds a sender itself, so the channel is never disconnected.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            if self.armed.comparison.is_some() && self.armed.current_stamps() != self.stamps {
                break;
            }
            match end.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => {}
                _ if due > limit => return WaitOutcome::TimedOut,
                _ => break,
            }
        }
        // Before the caller reads, so that no change after this is missed.
        if self.armed.comparison.is_some() {
            self.stamps = self.armed.current_stamps();
        }
        self.last_check = Some(Instant::now());
        WaitOutcome::MaybeChanged
    }

    /// Replaces the watched files by `files`, and watches folders that were replaced since. Call it after every report:
    /// if the watches had to change, the next wait ends at once, so that no change in between is missed.
    pub fn update(&mut self, files: Vec<PathBuf>) {
        let same = files == self.files && self.armed.folders == watched_folders(&files);
        let worth_a_try = self.armed.should_retry();
        if same && !worth_a_try {
            return;
        }
        self.armed = ArmedWatches::new(&files, &self.trigger);
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

/// The watched folders and the watcher of the operating system, if there is one.
#[derive(Debug)]
struct ArmedWatches {
    files: Vec<PathBuf>,
    folders: Vec<WatchedFolder>,
    method: WatchMethod,
    /// How often the stamps of the files and folders are compared, where not every folder has events.
    comparison: Option<Duration>,
    armed_at: Instant,
    retry: WatchRetry,
    _watcher: Option<RecommendedWatcher>,
}

/// What is at a watched path; another value means that it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PathStamp {
    File(Option<Stamp>),
    /// The folder at the path, whose own content is not compared.
    Folder(Option<FileId>),
}

/// Whether a failure to start the system's watcher may be temporary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WatchRetry {
    Never,
    Later,
}

impl ArmedWatches {
    fn new(files: &[PathBuf], trigger: &WatchTrigger) -> Self {
        let folders = watched_folders(files);
        let nearest = folders.iter().filter(|folder| folder.role == WatchedRole::Nearest);
        let unwatchable =
            nearest.map(|folder| filesystem::watch_support(&folder.path)).find_map(|support| match support {
                WatchSupport::Poll { reason } => Some(reason),
                _ => None,
            });
        let mut armed = Self {
            files: files.to_owned(),
            folders,
            method: WatchMethod::Events,
            comparison: None,
            armed_at: Instant::now(),
            retry: WatchRetry::Never,
            _watcher: None,
        };
        if let Some(reason) = unwatchable {
            armed.method = WatchMethod::Polling { interval: POLL_INTERVAL, reason };
            return armed;
        }
        match start_watcher(files, &armed.folders, trigger.clone()) {
            Ok((watcher, WatchedParents::All)) => armed._watcher = Some(watcher),
            Ok((watcher, WatchedParents::Some)) => {
                armed.comparison = Some(POLL_INTERVAL);
                armed._watcher = Some(watcher);
            }
            Err(error) => {
                let reason = polling_reason(&error);
                armed.method = WatchMethod::Polling { interval: COMPARE_INTERVAL, reason };
                armed.comparison = Some(COMPARE_INTERVAL);
                armed.retry = WatchRetry::Later;
            }
        }
        armed
    }

    /// Returns what is at the watched paths now.
    fn current_stamps(&self) -> Vec<PathStamp> {
        let files = self.files.iter().map(|path| match private_file::stamp(path, Links::Follow) {
            Ok(stamp) => PathStamp::File(stamp),
            // A link to a folder, or a path that cannot be examined.
            Err(_) => PathStamp::Folder(filesystem::identity(path)),
        });
        let folders = self.folders.iter().map(|folder| PathStamp::Folder(filesystem::identity(&folder.path)));
        files.chain(folders).collect()
    }

    fn should_retry(&self) -> bool {
        self.retry == WatchRetry::Later && self.armed_at.elapsed() >= FALLBACK_POLL_INTERVAL
    }
}

/// An existing folder, identified by device and inode.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct WatchedFolder {
    path: PathBuf,
    id: FileId,
    role: WatchedRole,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum WatchedRole {
    /// The nearest existing folder above a watched file.
    Nearest,
    /// A folder above it, watched to notice that one on the way is replaced.
    Parent,
}

/// Which folders above the nearest ones are watched. One that this user may not list cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WatchedParents {
    All,
    Some,
}

/// Returns the folders to watch for `files`, without duplicates.
fn watched_folders(files: &[PathBuf]) -> Vec<WatchedFolder> {
    let mut found = BTreeMap::new();
    for folder in files.iter().filter_map(|file| file.parent()) {
        // No name in the root folder is replaced while programs run.
        let folders = folder.ancestors().filter(|path| path.parent().is_some());
        let existing = folders.filter_map(|path| Some((path, filesystem::identity(path)?)));
        let roles = std::iter::once(WatchedRole::Nearest).chain(std::iter::repeat(WatchedRole::Parent));
        for ((path, identity), role) in existing.zip(roles) {
            let known = found.entry(path).or_insert((identity, role));
            known.1 = known.1.min(role);
        }
    }
    let folder =
        |(path, (identity, role)): (&Path, _)| WatchedFolder { path: path.to_owned(), id: identity, role };
    found.into_iter().map(folder).collect()
}

fn start_watcher(
    files: &[PathBuf],
    folders: &[WatchedFolder],
    trigger: WatchTrigger,
) -> notify::Result<(RecommendedWatcher, WatchedParents)> {
    let names = WatchedNames::of(files);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
        Ok(event) if event.kind.is_access() => {}
        // An event without a path means that the system has lost events.
        Ok(event) if !event.paths.is_empty() && !event.paths.iter().any(|path| names.contains(path)) => {}
        _ => trigger.wake(),
    })?;
    let mut parents = WatchedParents::All;
    for WatchedFolder { path, role, .. } in folders {
        match watcher.watch(path, RecursiveMode::NonRecursive) {
            Ok(()) => {}
            Err(error) if *role == WatchedRole::Parent && !is_limit(&error) => parents = WatchedParents::Some,
            Err(error) => return Err(error),
        }
    }
    Ok((watcher, parents))
}

fn is_limit(error: &notify::Error) -> bool {
    matches!(error.kind, notify::ErrorKind::MaxFilesWatch)
}

/// Explains why the system's watcher cannot be used, with the limit to raise where that is the cause.
fn polling_reason(error: &notify::Error) -> String {
    const TOO_MANY_FILES: i32 = 24;
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            "no more inotify watches are available; raise fs.inotify.max_user_watches".to_owned()
        }
        notify::ErrorKind::Io(error) if error.raw_os_error() == Some(TOO_MANY_FILES) => {
            "no more inotify instances are available; raise fs.inotify.max_user_instances".to_owned()
        }
        _ => error.to_string(),
    }
}

/// The paths whose events are reported: the files and every folder above them.
#[derive(Clone)]
struct WatchedNames(Arc<BTreeSet<OsString>>);

impl WatchedNames {
    fn of(files: &[PathBuf]) -> Self {
        let paths = files.iter().flat_map(|file| file.ancestors());
        Self(Arc::new(paths.map(|path| path.as_os_str().to_owned()).collect()))
    }

    fn contains(&self, path: &Path) -> bool {
        self.0.contains(path.as_os_str())
    }
}

#[cfg(test)]
mod tests {
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
