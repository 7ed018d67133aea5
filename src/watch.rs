//! Noticing that some files may have changed, to look again; it never reads what is in them.
//!
//! The folders of the files are watched and never the files, because a replaced file takes its watch with it
//! (`feasibility.md` 5). The folder above each is watched too, so that one that is made, removed or replaced is noticed,
//! and then the new one is watched.
//!
//! Where the system may not tell (a network or FUSE file system, a limit reached), the answer is to look every second.
//! It is not that of notify's own poll watcher, which compares modification times in whole seconds and misses a second
//! change within one.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use codex_auth_platform::filesystem::{self, FileId, WatchSupport};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

/// Events closer together than this are one look. The first of them is answered at once.
pub const COALESCED: Duration = Duration::from_millis(20);
/// How often to look where the system does not tell of changes.
pub const POLL: Duration = Duration::from_secs(1);
/// How often to look even where it does: events are hints, and nobody tells after a suspend.
pub const SLOW_POLL: Duration = Duration::from_secs(30);

/// A watch on some files. It ends when it is dropped.
#[derive(Debug)]
pub struct Watch {
    files: Vec<PathBuf>,
    bell: WatchTrigger,
    rung: Receiver<()>,
    armed: ArmedWatches,
    looked: Option<Instant>,
}

/// Makes a [`Watch`] look again. Any number of rings before it does are one.
#[derive(Clone, Debug)]
pub struct WatchTrigger(SyncSender<()>);

impl WatchTrigger {
    /// Rings.
    pub fn ring(&self) {
        let _ = self.ring_if_heard();
    }

    /// Rings, and says whether there is anybody left to hear it.
    #[must_use]
    pub fn ring_if_heard(&self) -> bool {
        // A full channel means that a look is pending already.
        !matches!(self.0.try_send(()), Err(TrySendError::Disconnected(())))
    }
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitOutcome {
    /// Something may have changed.
    LookAgain,
    /// Nothing has, as far as anybody can tell.
    Nothing,
}

/// How changes are noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchMethod {
    /// The system tells of them.
    Events,
    /// By looking every second.
    Polling {
        /// Why, for people.
        reason: String,
    },
}

impl fmt::Display for WatchMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Events => f.write_str("changes are told by the system"),
            Self::Polling { reason } => write!(f, "changes are looked for every second ({reason})"),
        }
    }
}

impl Watch {
    /// Watches `files` from now on. They need not exist, and neither do their folders.
    #[must_use]
    pub fn on(files: Vec<PathBuf>) -> Self {
        let (ring, rung) = sync_channel(1);
        let bell = WatchTrigger(ring);
        let armed = ArmedWatches::new(&files, &bell);
        Self { files, bell, rung, armed, looked: None }
    }

    /// What makes this watch look again from elsewhere.
    #[must_use]
    pub fn bell(&self) -> WatchTrigger {
        self.bell.clone()
    }

    /// How changes are noticed now.
    #[must_use]
    pub fn attention(&self) -> &WatchMethod {
        &self.armed.attention
    }

    /// Waits for a change, up to `limit`. The first event is answered at once, those that follow it within
    /// [`COALESCED`] by one more answer. It answers [`WaitOutcome::LookAgain`] after [`SLOW_POLL`] at the latest.
    #[must_use]
    pub fn wait(&mut self, limit: Duration) -> WaitOutcome {
        let poll = match self.armed.attention {
            WatchMethod::Events => SLOW_POLL,
            WatchMethod::Polling { .. } => POLL,
        };
        let due = self.looked.map_or(Duration::ZERO, |looked| poll.saturating_sub(looked.elapsed()));
        match self.rung.recv_timeout(limit.min(due)) {
            Ok(()) => self.coalesce(),
            // The other end is held here, so it is never closed.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) if due > limit => {
                return WaitOutcome::Nothing;
            }
            Err(_) => {}
        }
        self.looked = Some(Instant::now());
        WaitOutcome::LookAgain
    }

    /// Watches `files` instead, and the folders that have taken the place of others. To be called at every look: what
    /// happened before it took effect makes the next wait end at once.
    pub fn follow(&mut self, files: Vec<PathBuf>) {
        let same = files == self.files && self.armed.folders == folders(&files);
        let worth_a_try = self.armed.worth_another_try();
        if same && !worth_a_try {
            return;
        }
        self.armed = ArmedWatches::new(&files, &self.bell);
        self.files = files;
        if !same {
            self.bell.ring();
        }
    }

    /// Waits until the last look is [`COALESCED`] ago, and takes the rings up to then for one.
    fn coalesce(&self) {
        let left = |looked: Instant| COALESCED.saturating_sub(looked.elapsed());
        while let Some(left) = self.looked.map(left).filter(|left| !left.is_zero()) {
            let _ = self.rung.recv_timeout(left);
        }
        let _ = self.rung.try_recv();
    }
}

/// The folders that are watched, and by what.
#[derive(Debug)]
struct ArmedWatches {
    folders: Vec<WatchedFolder>,
    attention: WatchMethod,
    since: Instant,
    retry: WatchRetry,
    _watcher: Option<RecommendedWatcher>,
}

/// Whether what keeps the system from telling may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WatchRetry {
    Never,
    Later,
}

impl ArmedWatches {
    fn new(files: &[PathBuf], bell: &WatchTrigger) -> Self {
        let folders = folders(files);
        let since = Instant::now();
        let nearest = folders.iter().filter(|folder| folder.role == WatchedRole::Nearest);
        let unwatchable =
            nearest.map(|folder| filesystem::watching(&folder.path)).find_map(|watching| match watching {
                WatchSupport::Poll { reason } => Some(reason),
                _ => None,
            });
        if let Some(reason) = unwatchable {
            let attention = WatchMethod::Polling { reason };
            return Self { folders, attention, since, retry: WatchRetry::Never, _watcher: None };
        }
        match watcher(files, &folders, bell.clone()) {
            Ok(watcher) => {
                let attention = WatchMethod::Events;
                Self { folders, attention, since, retry: WatchRetry::Never, _watcher: Some(watcher) }
            }
            Err(error) => {
                let attention = WatchMethod::Polling { reason: reason(&error) };
                Self { folders, attention, since, retry: WatchRetry::Later, _watcher: None }
            }
        }
    }

    fn worth_another_try(&self) -> bool {
        self.retry == WatchRetry::Later && self.since.elapsed() >= SLOW_POLL
    }
}

/// A folder that exists, as it was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct WatchedFolder {
    path: PathBuf,
    identity: FileId,
    role: WatchedRole,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum WatchedRole {
    /// A file is in it, or will be in a folder to be made in it.
    Nearest,
    /// The one above, which tells when that is replaced. It may be closed to us; then the slow poll finds out.
    Above,
}

/// The folders to watch for `files`, each once.
fn folders(files: &[PathBuf]) -> Vec<WatchedFolder> {
    let mut found = BTreeMap::new();
    for folder in files.iter().filter_map(|file| file.parent()) {
        let existing = folder.ancestors().filter_map(|path| Some((path, filesystem::identity(path)?)));
        for ((path, identity), role) in existing.zip([WatchedRole::Nearest, WatchedRole::Above]) {
            let known = found.entry(path).or_insert((identity, role));
            known.1 = known.1.min(role);
        }
    }
    let folder =
        |(path, (identity, role)): (&Path, _)| WatchedFolder { path: path.to_owned(), identity, role };
    found.into_iter().map(folder).collect()
}

fn watcher(
    files: &[PathBuf],
    folders: &[WatchedFolder],
    bell: WatchTrigger,
) -> notify::Result<RecommendedWatcher> {
    let matters = WatchedNames::of(files);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
        Ok(event) if event.kind.is_access() => {}
        // An event without a path is the system's word that it has lost some.
        Ok(event) if !event.paths.is_empty() && !event.paths.iter().any(|path| matters.contains(path)) => {}
        _ => bell.ring(),
    })?;
    for WatchedFolder { path, role, .. } in folders {
        match watcher.watch(path, RecursiveMode::NonRecursive) {
            Err(error) if *role == WatchedRole::Nearest => return Err(error),
            _ => {}
        }
    }
    Ok(watcher)
}

/// Why the system tells nothing, with what would change that.
fn reason(error: &notify::Error) -> String {
    const TOO_MANY_FILES: i32 = 24;
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            "no more watches can be had; raise fs.inotify.max_user_watches".to_owned()
        }
        notify::ErrorKind::Io(error) if error.raw_os_error() == Some(TOO_MANY_FILES) => {
            "no more watchers can be had; raise fs.inotify.max_user_instances".to_owned()
        }
        _ => error.to_string(),
    }
}

/// The names whose events are worth a look: the files, and every folder above them.
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
    fn any_number_of_rings_are_one_look() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::on(vec![folder.path().join("file")]);
        assert_eq!(watch.wait(Duration::ZERO), WaitOutcome::LookAgain, "the first look is always due");
        for _ in 0..100 {
            watch.bell().ring();
        }
        assert_eq!(watch.wait(Duration::from_secs(5)), WaitOutcome::LookAgain);
        assert_eq!(watch.wait(COALESCED * 2), WaitOutcome::Nothing);
    }

    #[test]
    fn a_folder_that_is_missing_is_watched_through_the_nearest_above_it() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("a/b/file");
        let paths =
            |files: &[PathBuf]| folders(files).into_iter().map(|folder| folder.path).collect::<Vec<_>>();
        let above = home.path().parent().unwrap();
        assert_eq!(paths(std::slice::from_ref(&file)), [above, home.path()]);
        #[expect(clippy::disallowed_methods, reason = "a test makes its own folders")]
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        assert_eq!(paths(&[file]), [home.path().join("a"), home.path().join("a/b")]);
    }
}
