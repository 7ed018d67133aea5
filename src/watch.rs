//! Noticing that something in the folders of a place has changed; it never reads what.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

/// How often to look where no events can be had.
const POLL: Duration = Duration::from_millis(100);

/// A watch on some folders. Events are coalesced: at most one is pending. It ends when it is dropped.
///
/// Folders are watched and never files, because a replaced file takes its watch with it (`feasibility.md` 5). Where
/// the system gives no events (limits reached, a folder that is missing), [`Watch::wait`] answers at intervals instead.
#[derive(Debug)]
pub struct Watch {
    changed: Receiver<()>,
    watcher: Option<RecommendedWatcher>,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Noticed {
    /// Something may have changed.
    LookAgain,
    /// Nothing has, as far as anybody can tell.
    Nothing,
}

impl Watch {
    /// Watches `folders` from now on.
    #[must_use]
    pub fn on<'a>(folders: impl IntoIterator<Item = &'a Path>) -> Self {
        let (tell, changed) = sync_channel(1);
        // A full channel means that a look is pending already.
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = tell.try_send(());
            }
        });
        let mut watcher = watcher.ok();
        for folder in folders {
            let watched = watcher.as_mut().map(|watcher| watcher.watch(folder, RecursiveMode::NonRecursive));
            if !matches!(watched, Some(Ok(()))) {
                watcher = None;
            }
        }
        Self { changed, watcher }
    }

    /// Waits for a change, up to `limit`.
    #[must_use]
    pub fn wait(&self, limit: Duration) -> Noticed {
        let limit_or_poll = if self.watcher.is_some() { limit } else { limit.min(POLL) };
        match self.changed.recv_timeout(limit_or_poll) {
            Ok(()) => Noticed::LookAgain,
            Err(RecvTimeoutError::Timeout) if self.watcher.is_some() => Noticed::Nothing,
            Err(RecvTimeoutError::Timeout) => Noticed::LookAgain,
            Err(RecvTimeoutError::Disconnected) => {
                // The watcher is gone; what is left is to look at intervals.
                let (_keep, never) = sync_channel::<()>(1);
                let _ = never.recv_timeout(limit.min(POLL));
                Noticed::LookAgain
            }
        }
    }
}
