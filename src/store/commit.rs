//! Codex's two commit locks, held around the compare-and-swap of the document.
//!
//! Codex gives up on `auth.json.lock` after five seconds and loses the token it has just received (measured with 0.169
//! and 0.171), so this library holds both locks for at most two seconds, including every store call in between.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use codex_auth_platform::lock::{AcquireOutcome, FileLock, LockFileMode, Wait};

use super::error::Error;
use super::lease::Lease;
use super::locate::DocumentTarget;

/// The longest wait for `auth.lock`.
const FIRST_LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time that both locks are held.
const MAX_HOLD: Duration = Duration::from_secs(2);

/// Codex's two commit locks, released on drop.
#[derive(Debug)]
#[must_use = "the locks are released on drop"]
pub struct CommitLocks<'lease> {
    lease: &'lease Lease,
    intent: WriteIntent,
    expires_at: Instant,
    // Fields drop in this order: the last lock acquired is released first.
    _documents: Vec<FileLock>,
    _first: Option<FileLock>,
}

/// The reason for a write, which decides whether it may be done in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteIntent {
    /// The user logs in: a file that is a mount point is written in place.
    Login,
    /// A refreshed token is saved or a copy moved: the file must be replaced atomically.
    Save,
}

impl<'lease> CommitLocks<'lease> {
    /// Acquires `auth.lock` of the home, then the lock beside the document's real file. Creates both as Codex does.
    ///
    /// # Errors
    /// - [`Error::Lock`]: another program holds a lock, or the home cannot be written.
    /// - [`Error::Interrupted`]: the deadline of the lease was cancelled.
    /// - As [`Lease::check_folders`].
    pub fn acquire(lease: &'lease Lease, intent: WriteIntent) -> Result<Self, Error> {
        Self::acquire_for(lease, intent, &[lease.target().commit_lock()])
    }

    /// As [`Self::acquire`], and also acquires the lock beside the document of `other`, to change which of the two the
    /// home's `auth.json` leads to.
    ///
    /// # Errors
    /// As [`Self::acquire`].
    pub fn acquire_with_other(lease: &'lease Lease, other: &DocumentTarget) -> Result<Self, Error> {
        let mut documents = vec![lease.target().commit_lock(), other.commit_lock()];
        documents.sort();
        documents.dedup();
        Self::acquire_for(lease, WriteIntent::Save, &documents)
    }

    fn acquire_for(lease: &'lease Lease, intent: WriteIntent, documents: &[PathBuf]) -> Result<Self, Error> {
        lease.check_folders()?;
        let first = Self::acquire_first(lease, FIRST_LOCK_TIMEOUT)?;
        if !lease.deadline().begin_change() {
            return Err(Error::Interrupted);
        }
        let documents = documents.iter().map(|path| Self::acquire_second(lease, path));
        let documents = documents.collect::<Result<_, _>>()?;
        // The folders may have been replaced during the wait.
        lease.check_folders()?;
        Ok(Self {
            lease,
            intent,
            expires_at: Instant::now() + MAX_HOLD,
            _documents: documents,
            _first: Some(first),
        })
    }

    /// As [`Self::acquire`], for a forced removal: continues without a lock that it cannot acquire in time.
    pub(super) fn force(lease: &'lease Lease, ends: Instant) -> Self {
        let left = ends.saturating_duration_since(Instant::now());
        let first = Self::acquire_first(lease, left).ok();
        let document = || Self::acquire_second(lease, &lease.target().commit_lock()).ok();
        let documents = first.as_ref().and_then(|_| document()).into_iter().collect();
        let ends = Instant::now() + MAX_HOLD;
        Self { lease, intent: WriteIntent::Save, expires_at: ends, _documents: documents, _first: first }
    }

    fn acquire_first(lease: &Lease, timeout: Duration) -> Result<FileLock, Error> {
        Self::lock(lease, &lease.home().first_commit_lock(), LockFileMode::SharedWithFolder, timeout)
    }

    fn acquire_second(lease: &Lease, path: &Path) -> Result<FileLock, Error> {
        Self::lock(lease, path, LockFileMode::Private, MAX_HOLD)
    }

    fn lock(lease: &Lease, path: &Path, mode: LockFileMode, timeout: Duration) -> Result<FileLock, Error> {
        let deadline = lease.deadline();
        let outcome = deadline.run_timed(timeout, |left| {
            FileLock::acquire_with(path, mode, Wait::For(left), |_| match deadline.is_cancelled() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        })?;
        match outcome {
            AcquireOutcome::Locked(lock) => Ok(lock),
            AcquireOutcome::Stopped(()) => Err(Error::Interrupted),
        }
    }

    /// Returns the reason for the write.
    pub(super) fn intent(&self) -> WriteIntent {
        self.intent
    }

    /// Returns whether the home's document is still the file that it was when the lease was acquired.
    pub(super) fn is_on_target(&self) -> bool {
        self.lease.is_on_target()
    }

    /// Returns the time left for calls under these locks.
    ///
    /// # Errors
    /// [`Error::CommitTooSlow`]: none is left.
    pub fn remaining(&self) -> Result<Duration, Error> {
        match self.expires_at.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(Error::CommitTooSlow),
            left => Ok(left),
        }
    }
}
