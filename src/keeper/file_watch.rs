//! Awaits changes of a few files on a thread of its own, as the keeper's sockets and exports need them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch::Receiver;

use crate::watch::{WaitOutcome, Watch, WatchTrigger};

/// Reports that a file may have been changed, removed or replaced. Ends when it is dropped.
pub(super) struct FileWatch {
    changed: Receiver<()>,
    trigger: WatchTrigger,
    stopped: Arc<AtomicBool>,
}

impl FileWatch {
    pub(super) fn of(files: Vec<PathBuf>) -> Self {
        let mut watch = Watch::new(files.clone());
        let (sender, changed) = tokio::sync::watch::channel(());
        let (trigger, stopped) = (watch.trigger(), Arc::new(AtomicBool::new(false)));
        let stop = Arc::clone(&stopped);
        let work = move || {
            while watch.wait(Duration::MAX) == WaitOutcome::MaybeChanged && !stop.load(Ordering::Relaxed) {
                watch.update(files.clone());
                let _ = sender.send(());
            }
        };
        if let Err(error) = std::thread::Builder::new().name("codex-auth files".to_owned()).spawn(work) {
            tracing::error!(%error, "changes of files are noticed late: cannot start a thread");
        }
        Self { changed, trigger, stopped }
    }

    /// Waits for the next report. Cancel-safe.
    pub(super) async fn next(&mut self) {
        if self.changed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for FileWatch {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.trigger.wake();
    }
}
