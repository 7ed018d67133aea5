//! Awaits changes of a few files, as the keeper's sockets and exports need them, on one thread for all.

use std::path::PathBuf;

use codex_auth_platform::private_file::{self, Stamp};
use tokio::sync::watch::{Receiver, Sender};

use crate::watch::{
    FALLBACK_POLL_INTERVAL, WatchAnswer, WatchMember, WatchRegistration, WatchThread, WatchWake, WatchedFiles,
};

/// Reports that a file may have been changed, removed or replaced. Ends when it is dropped.
pub(super) struct FileWatch {
    changed: Receiver<()>,
    _registration: WatchRegistration,
}

struct FileMember {
    files: Vec<PathBuf>,
    /// At the last report. A round of checks wakes no task for files that are as before.
    stamps: Option<Vec<Option<Stamp>>>,
    changed: Sender<()>,
}

impl WatchMember for FileMember {
    fn files(&self) -> Vec<PathBuf> {
        self.files.clone()
    }

    fn wake(&mut self, reason: WatchWake) -> WatchAnswer {
        let stamps = Some(self.files.iter().map(|file| private_file::stamp_of_any(file)).collect());
        if reason > WatchWake::Round || self.stamps != stamps {
            self.stamps = stamps;
            let _ = self.changed.send(());
        }
        WatchAnswer { due: None, files: WatchedFiles::Same }
    }
}

impl FileWatch {
    pub(super) fn of(files: Vec<PathBuf>, thread: &WatchThread) -> Self {
        let (sender, changed) = tokio::sync::watch::channel(());
        let registration = thread.add(|_| Box::new(FileMember { files, stamps: None, changed: sender }));
        Self { changed, _registration: registration }
    }

    /// Waits for the next report. Cancel-safe.
    pub(super) async fn next(&mut self) {
        if self.changed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// As [`Self::next`], for [`FALLBACK_POLL_INTERVAL`] at most, for a caller that has something to try again.
    pub(super) async fn next_or_round(&mut self) {
        let _ = tokio::time::timeout(FALLBACK_POLL_INTERVAL, self.next()).await;
    }
}
