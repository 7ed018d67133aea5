//! Awaits changes of a few files, as the keeper's sockets and exports need them, on one thread for all.

use std::path::PathBuf;

use tokio::sync::watch::{Receiver, Sender};

use crate::watch::{WatchAnswer, WatchMember, WatchRegistration, WatchThread, WatchWake, WatchedFiles};

/// Reports that a file may have been changed, removed or replaced. Ends when it is dropped.
pub(super) struct FileWatch {
    changed: Receiver<()>,
    _registration: WatchRegistration,
}

struct FileMember {
    files: Vec<PathBuf>,
    changed: Sender<()>,
}

impl WatchMember for FileMember {
    fn files(&self) -> Vec<PathBuf> {
        self.files.clone()
    }

    fn wake(&mut self, _reason: WatchWake) -> WatchAnswer {
        let _ = self.changed.send(());
        WatchAnswer { due: None, files: WatchedFiles::Same }
    }
}

impl FileWatch {
    pub(super) fn of(files: Vec<PathBuf>, thread: &WatchThread) -> Self {
        let (sender, changed) = tokio::sync::watch::channel(());
        let registration = thread.add(|_| Box::new(FileMember { files, changed: sender }));
        Self { changed, _registration: registration }
    }

    /// Waits for the next report. There is one at least every 30 s. Cancel-safe.
    pub(super) async fn next(&mut self) {
        if self.changed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
