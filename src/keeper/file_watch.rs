//! Awaits changes of a few files, as the keeper's sockets and exports need them, on one thread for all.

use std::path::PathBuf;
use std::time::Instant;

use tokio::sync::watch::{Receiver, Sender};

use crate::watch::{WatchMember, WatchRegistration, WatchThread, WatchWake};

/// Reports that a file may have been changed, removed or replaced. Ends when it is dropped.
pub(super) struct FileWatch {
    changed: Receiver<()>,
    _registration: WatchRegistration,
}

struct WatchedFiles {
    files: Vec<PathBuf>,
    changed: Sender<()>,
}

impl WatchMember for WatchedFiles {
    fn files(&self) -> Vec<PathBuf> {
        self.files.clone()
    }

    fn wake(&mut self, _reason: WatchWake) -> Option<Instant> {
        let _ = self.changed.send(());
        None
    }
}

impl FileWatch {
    pub(super) fn of(files: Vec<PathBuf>, thread: &WatchThread) -> Self {
        let (sender, changed) = tokio::sync::watch::channel(());
        let registration = thread.add(|_| Box::new(WatchedFiles { files, changed: sender }));
        Self { changed, _registration: registration }
    }

    /// Waits for the next report. There is one at least every 30 s. Cancel-safe.
    pub(super) async fn next(&mut self) {
        if self.changed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
