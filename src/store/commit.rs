//! The commit: a compare-and-swap of the document under the two locks that Codex takes for its own.
//!
//! Codex gives up on `auth.json.lock` after five seconds and loses the token it has just received (measured with 0.169
//! and 0.171), so both locks together are held for two seconds at most, every call inside counted.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use codex_auth_platform::lock::{self, Acquired, Creation, FileLock, Mode, Wait};

use super::{Error, Lease, StoreContent, StoredDocument};
use crate::document::{AuthDocument, Revision};
use crate::secret::Fingerprint;

/// How long to wait for `auth.lock`.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long both locks may be held together.
const HOLD: Duration = Duration::from_secs(2);

/// Codex's two commit locks, held, with the time that is left for them. Both end when it is dropped.
#[derive(Debug)]
#[must_use = "the commit ends when it is dropped"]
pub struct CommitLocks<'lease> {
    lease: &'lease Lease,
    intent: WriteIntent,
    ends: Instant,
    // In this order, so that they are released inside out.
    _second: Option<FileLock>,
    _first: Option<FileLock>,
}

/// Who asks for the write, which decides how far it may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteIntent {
    /// A person asked for this login: a file that is a mount point is written in place.
    Login,
    /// A token is to be saved, or a copy moved: only whole replacement will do.
    Keep,
}

impl<'lease> CommitLocks<'lease> {
    /// Acquires `auth.lock` of the home and then the lock beside the document's real file, created as Codex creates them.
    ///
    /// # Errors
    /// - [`Error::Lock`]: another program holds them, or the home cannot be written.
    /// - [`Error::Interrupted`]: the deadline of the lease was cancelled.
    /// - As [`Lease::check_folders`].
    pub fn begin(lease: &'lease Lease, intent: WriteIntent) -> Result<Self, Error> {
        lease.check_folders()?;
        let first = Self::first(lease, PATIENCE)?;
        let second = Self::second(lease)?;
        // While this process waited.
        lease.check_folders()?;
        lease.deadline().finish();
        Ok(Self { lease, intent, ends: Instant::now() + HOLD, _second: Some(second), _first: Some(first) })
    }

    /// The same for a removal that a person forces: a lock that is not free before `ends` is done without.
    pub(super) fn force(lease: &'lease Lease, ends: Instant) -> Self {
        let left = ends.saturating_duration_since(Instant::now());
        let first = Self::first(lease, left).ok();
        let second = first.as_ref().and_then(|_| Self::second(lease).ok());
        let ends = Instant::now() + HOLD;
        Self { lease, intent: WriteIntent::Keep, ends, _second: second, _first: first }
    }

    fn first(lease: &Lease, patience: Duration) -> Result<FileLock, Error> {
        let path = lease.home().first_commit_lock();
        Self::lock(lease, patience, |wait| {
            FileLock::acquire_unless(&path, Mode::Exclusive, Creation::Ordinary, wait, |_| leave(lease))
        })
    }

    fn second(lease: &Lease) -> Result<FileLock, Error> {
        let path = lease.target().commit_lock();
        Self::lock(lease, HOLD, |wait| {
            FileLock::acquire_unless(&path, Mode::Exclusive, Creation::Private, wait, |_| leave(lease))
        })
    }

    fn lock(
        lease: &Lease,
        patience: Duration,
        acquire: impl FnOnce(Wait) -> Result<Acquired<()>, lock::Error>,
    ) -> Result<FileLock, Error> {
        match lease.deadline().during(patience, |left| acquire(Wait::For(left)))? {
            Acquired::Locked(lock) => Ok(lock),
            Acquired::GaveWay(()) => Err(Error::Interrupted),
        }
    }

    /// The lease that it was begun under.
    pub fn lease(&self) -> &'lease Lease {
        self.lease
    }

    /// Who asks.
    #[must_use]
    pub fn intent(&self) -> WriteIntent {
        self.intent
    }

    /// Whether the home's document is still the file that it was when the lease was acquired.
    pub(super) fn is_on_target(&self) -> bool {
        self.lease.is_on_target()
    }

    /// How long a call may still take.
    ///
    /// # Errors
    /// [`Error::CommitTooSlow`]: not at all.
    pub fn remaining(&self) -> Result<Duration, Error> {
        match self.ends.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(Error::CommitTooSlow),
            left => Ok(left),
        }
    }
}

fn leave(lease: &Lease) -> ControlFlow<()> {
    if lease.deadline().is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// What a store held when the caller read it: the swap compares with it, and a removal removes nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeenRevision {
    /// Nothing.
    Nothing,
    /// This credential.
    Credential(Revision),
    /// These bytes, which are no document.
    Unparsable(Fingerprint),
}

impl StoreContent {
    /// What to compare with later.
    #[must_use]
    pub fn seen(&self) -> SeenRevision {
        match self {
            Self::Nothing => SeenRevision::Nothing,
            Self::Document(stored) => SeenRevision::Credential(stored.document.revision()),
            Self::Unparsable { bytes, .. } => SeenRevision::Unparsable(Fingerprint::of_bytes(bytes)),
        }
    }

    /// The document, if it is one, without its place.
    #[must_use]
    pub fn document(&self) -> Option<&AuthDocument> {
        match self {
            Self::Document(stored) => Some(&stored.document),
            _ => None,
        }
    }

    /// The document, if it is one.
    #[must_use]
    pub fn stored(self) -> Option<StoredDocument> {
        match self {
            Self::Document(stored) => Some(*stored),
            _ => None,
        }
    }
}
