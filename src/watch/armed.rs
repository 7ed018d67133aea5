//! The folders that are watched for a set of files, and the watcher of the operating system.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use codex_auth_platform::filesystem::{self, FileId, WatchSupport};
use codex_auth_platform::private_file::{self, Links, Stamp};
use codex_auth_platform::sync::lock;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use super::trigger::WatchTrigger;

/// Events that follow a report within this time are reported together. The first event is reported at once.
pub const COALESCE_WINDOW: Duration = Duration::from_millis(20);
/// The interval of reports where the file system may hide changes.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The interval at which the stamps of the files are compared where only the system's events are missing.
pub const COMPARE_INTERVAL: Duration = Duration::from_millis(100);
/// The longest time between two reports even where the system does: events can be lost, for example during a suspend.
pub const FALLBACK_POLL_INTERVAL: Duration = Duration::from_secs(30);

/// How a [`Watch`](super::Watch) notices changes.
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

/// The paths that changed since they were last taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ChangedPaths {
    /// These: watched files, or folders above them.
    These(BTreeSet<PathBuf>),
    /// Any: events are missing or may have been lost.
    Any,
}

impl Default for ChangedPaths {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl ChangedPaths {
    fn add(&mut self, paths: Vec<PathBuf>) {
        match self {
            // An event without a path means that the system has lost events.
            _ if paths.is_empty() => *self = Self::Any,
            Self::These(known) => known.extend(paths),
            Self::Any => {}
        }
    }

    /// Returns whether events are missing or may have been lost.
    pub(super) fn are_unknown(&self) -> bool {
        *self == Self::Any
    }

    /// Returns whether one of `files` or a folder above it is among the paths.
    pub(super) fn concern(&self, files: &[PathBuf]) -> bool {
        match self {
            Self::Any => false,
            Self::These(paths) => paths.iter().any(|path| files.iter().any(|file| file.starts_with(path))),
        }
    }
}

/// What the watcher of the operating system writes and the watch takes.
pub(super) type SharedChanges = Arc<Mutex<ChangedPaths>>;

/// The watched folders and the watcher of the operating system, if there is one.
#[derive(Debug)]
pub(super) struct ArmedWatches {
    files: Vec<PathBuf>,
    pub(super) folders: Vec<WatchedFolder>,
    pub(super) method: WatchMethod,
    /// How often the stamps of the files and folders are compared, where not every folder has events.
    pub(super) comparison: Option<Duration>,
    armed_at: Instant,
    retry: WatchRetry,
    _watcher: Option<RecommendedWatcher>,
}

/// What is at a watched path; another value means that it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PathStamp {
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

/// How often watches are armed again because a folder was removed meanwhile.
const MAX_REARMS: usize = 4;

impl ArmedWatches {
    pub(super) fn new(files: &[PathBuf], trigger: &WatchTrigger, changes: &SharedChanges) -> Self {
        let mut armed = Self::arm(files, trigger, changes);
        for _ in 0..MAX_REARMS {
            if armed.retry == WatchRetry::Never || armed.is_current() {
                break;
            }
            armed = Self::arm(files, trigger, changes);
        }
        armed
    }

    fn arm(files: &[PathBuf], trigger: &WatchTrigger, changes: &SharedChanges) -> Self {
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
        match start_watcher(files, &armed.folders, trigger.clone(), Arc::clone(changes)) {
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
    pub(super) fn current_stamps(&self) -> Vec<PathStamp> {
        let files = self.files.iter().map(|path| match private_file::stamp(path, Links::Follow) {
            Ok(stamp) => PathStamp::File(stamp),
            // A link to a folder, or a path that cannot be examined.
            Err(_) => PathStamp::Folder(filesystem::identity(path)),
        });
        let folders = self.folders.iter().map(|folder| PathStamp::Folder(filesystem::identity(&folder.path)));
        files.chain(folders).collect()
    }

    /// Returns whether the folders are those to watch now.
    pub(super) fn is_current(&self) -> bool {
        self.folders == watched_folders(&self.files)
    }

    pub(super) fn should_retry(&self) -> bool {
        self.retry == WatchRetry::Later && self.armed_at.elapsed() >= FALLBACK_POLL_INTERVAL
    }
}

/// An existing folder, identified by device and inode.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WatchedFolder {
    pub(super) path: PathBuf,
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
pub(super) fn watched_folders(files: &[PathBuf]) -> Vec<WatchedFolder> {
    // By their bytes: a comparison of paths takes them apart.
    let mut found = BTreeMap::<&OsStr, (FileId, WatchedRole)>::new();
    // Files of many accounts are in few folders, each of which is examined once.
    let mut missing = BTreeSet::new();
    for folder in files.iter().filter_map(|file| file.parent()) {
        let mut role = WatchedRole::Nearest;
        // No name in the root folder is replaced while programs run.
        for path in folder.ancestors().filter(|path| path.parent().is_some()) {
            if let Some(known) = found.get_mut(path.as_os_str()) {
                // The folders above it are known too.
                known.1 = known.1.min(role);
                break;
            }
            if missing.contains(path.as_os_str()) {
                continue;
            }
            match filesystem::identity(path) {
                Some(identity) => {
                    found.insert(path.as_os_str(), (identity, role));
                    role = WatchedRole::Parent;
                }
                None => {
                    missing.insert(path.as_os_str());
                }
            }
        }
    }
    let folder =
        |(path, (identity, role)): (&OsStr, _)| WatchedFolder { path: path.into(), id: identity, role };
    found.into_iter().map(folder).collect()
}

fn start_watcher(
    files: &[PathBuf],
    folders: &[WatchedFolder],
    trigger: WatchTrigger,
    changes: SharedChanges,
) -> notify::Result<(RecommendedWatcher, WatchedParents)> {
    let names = WatchedNames::of(files);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let paths = match event {
            Ok(event) if event.kind.is_access() => return,
            Ok(event) => event.paths,
            Err(_) => Vec::new(),
        };
        let is_lost = paths.is_empty();
        let watched: Vec<_> = paths.into_iter().filter(|path| names.contains(path)).collect();
        if is_lost || !watched.is_empty() {
            lock(&changes).add(watched);
            trigger.wake();
        }
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
