//! Reports changes of the files beside the logins: the accounts, the keepers' sockets and the exports.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::watch::{FALLBACK_POLL_INTERVAL, WaitOutcome, Watch, WatchTrigger};

/// A thread that watches files, ended by dropping this.
#[derive(Debug)]
pub(super) struct FileFollower {
    files: Arc<Mutex<Vec<PathBuf>>>,
    stopped: Arc<AtomicBool>,
    trigger: WatchTrigger,
}

impl FileFollower {
    /// Calls `changed` after each change of `files`, and at least every [`FALLBACK_POLL_INTERVAL`], until it returns
    /// false.
    pub(super) fn start(files: Vec<PathBuf>, changed: impl Fn() -> bool + Send + 'static) -> Self {
        let mut watch = Watch::new(files.clone());
        let follower = Self {
            files: Arc::new(Mutex::new(files)),
            stopped: Arc::new(AtomicBool::new(false)),
            trigger: watch.trigger(),
        };
        let (files, stopped) = (Arc::clone(&follower.files), Arc::clone(&follower.stopped));
        let work = move || {
            while !stopped.load(Ordering::Relaxed) {
                let outcome = watch.wait(FALLBACK_POLL_INTERVAL);
                watch.update(files.lock().unwrap_or_else(PoisonError::into_inner).clone());
                if outcome == WaitOutcome::MaybeChanged && !changed() {
                    return;
                }
            }
        };
        if let Err(error) = thread::Builder::new().name("codex-auth files".to_owned()).spawn(work) {
            tracing::error!(%error, "accounts and keepers are not watched: cannot start a thread");
        }
        follower
    }

    /// Replaces the watched files.
    pub(super) fn update(&self, files: Vec<PathBuf>) {
        let mut known = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != files {
            *known = files;
            drop(known);
            self.trigger.wake();
        }
    }
}

impl Drop for FileFollower {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.trigger.wake();
    }
}
