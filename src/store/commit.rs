//! The commit: a compare-and-swap of the document under the two locks that Codex takes for its own.
//!
//! Codex 0.169 gives up on `auth.json.lock` after five seconds and loses the token it has just received
//! (`codex-blackbox.md` 0), so both locks together are held for two seconds at most, every call inside counted.

use std::time::{Duration, Instant};

use codex_auth_platform::lock::{Creation, FileLock, Mode, Wait};
use codex_auth_platform::private_file::{self, Links, Removal};

use super::{Error, Lease, Store, Stored, Written};
use crate::document::{self, AuthDocument, Revision};

/// How long to wait for `auth.lock`.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long both locks may be held together.
const HOLD: Duration = Duration::from_secs(2);

/// Codex's two commit locks, held, with the time that is left for them. Both end when it is dropped.
#[derive(Debug)]
#[must_use = "the commit ends when it is dropped"]
pub struct Commit<'lease> {
    lease: &'lease Lease,
    intent: Intent,
    ends: Instant,
    // In this order, so that they are released inside out.
    _second: FileLock,
    _first: FileLock,
}

/// Who asks for the write, which decides how far it may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Intent {
    /// A person asked for this login: a file that is a mount point is written in place.
    Login,
    /// A token is to be saved, or a copy moved: only whole replacement will do.
    Keep,
}

impl<'lease> Commit<'lease> {
    /// Takes `auth.lock` of the home and then `auth.json.lock` beside the document's real file, made as Codex makes
    /// them (`codex-blackbox.md` 1).
    ///
    /// # Errors
    /// [`Error::Lock`]: they are held by another program, or the home cannot be written.
    pub fn begin(lease: &'lease Lease, intent: Intent) -> Result<Self, Error> {
        let first = FileLock::acquire(
            &lease.home().first_commit_lock(),
            Mode::Exclusive,
            Creation::Ordinary,
            Wait::For(PATIENCE),
        )?;
        let mut beside = private_file::resolve(&lease.home().document(), Links::Follow)?.into_os_string();
        beside.push(".lock");
        let second = FileLock::acquire(beside.as_ref(), Mode::Exclusive, Creation::Private, Wait::For(HOLD))?;
        Ok(Self { lease, intent, ends: Instant::now() + HOLD, _second: second, _first: first })
    }

    /// The lease that it was begun under.
    pub fn lease(&self) -> &'lease Lease {
        self.lease
    }

    /// Who asks.
    #[must_use]
    pub fn intent(&self) -> Intent {
        self.intent
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

/// What a store held when the caller looked; what the swap compares with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seen {
    /// Nothing.
    Nothing,
    /// This credential.
    Credential(Revision),
    /// Something that is no document.
    Garbage,
}

impl Seen {
    /// What `store` holds now.
    ///
    /// # Errors
    /// As [`Store::load`], except that garbage is an answer.
    pub fn in_store(store: &dyn Store, within: Duration) -> Result<(Self, Option<Stored>), Error> {
        match store.load(within) {
            Ok(Some(stored)) => Ok((Self::Credential(stored.document.revision()), Some(stored))),
            Ok(None) => Ok((Self::Nothing, None)),
            Err(Error::Document { .. }) => Ok((Self::Garbage, None)),
            Err(error) => Err(error),
        }
    }
}

/// How a [`save`] ended.
#[derive(Clone, Debug)]
#[must_use = "it may not have been done"]
#[expect(clippy::exhaustive_enums, reason = "every outcome is the caller's to handle")]
pub enum Saved {
    /// The document is in the store.
    Written(Written),
    /// The store does not hold what the caller saw; nothing was written.
    Moved(Option<Box<Stored>>),
}

/// How a [`delete`] ended.
#[derive(Clone, Debug)]
#[must_use = "it may not have been done"]
#[expect(clippy::exhaustive_enums, reason = "every outcome is the caller's to handle")]
pub enum Deleted {
    /// Nothing is left in the store.
    Gone(Removal),
    /// The store does not hold what the caller saw; nothing was removed.
    Moved(Option<Box<Stored>>),
}

/// Replaces what the caller saw in `store` by `document`.
///
/// # Errors
/// The locks cannot be had or the store cannot be used. If [`Error::is_unknown`], look before deciding anything.
pub fn save(
    lease: &Lease,
    store: &dyn Store,
    intent: Intent,
    seen: Seen,
    document: &AuthDocument,
) -> Result<Saved, Error> {
    let commit = Commit::begin(lease, intent)?;
    let (now, stored) = Seen::in_store(store, commit.remaining()?)?;
    if now != seen {
        return Ok(Saved::Moved(stored.map(Box::new)));
    }
    store.write(&commit, document).map(Saved::Written)
}

/// Removes what the caller saw in `store`.
///
/// # Errors
/// As [`save`].
pub fn delete(lease: &Lease, store: &dyn Store, seen: Seen) -> Result<Deleted, Error> {
    let commit = Commit::begin(lease, Intent::Keep)?;
    let (now, stored) = Seen::in_store(store, commit.remaining()?)?;
    if now != seen {
        return Ok(Deleted::Moved(stored.map(Box::new)));
    }
    store.remove(&commit).map(Deleted::Gone)
}

/// How an [`advance`] ended.
#[derive(Clone, Debug)]
#[must_use = "it may not have been done"]
#[expect(clippy::exhaustive_enums, reason = "every outcome is the caller's to handle")]
pub enum Advanced {
    /// The successor is in the store; this is the document with it.
    Written(Box<AuthDocument>, Written),
    /// The store no longer holds what was spent; nothing was written.
    Moved(Option<Box<Stored>>),
}

/// Merges what was bought with a refresh token into the document, if that still `descends` from what was spent: whatever
/// else was changed meanwhile is kept.
///
/// # Errors
/// As [`save`]; and [`Error::Document`] if there is nothing to merge into.
pub fn advance(
    lease: &Lease,
    store: &dyn Store,
    descends: impl FnOnce(&AuthDocument) -> bool,
    merge: impl FnOnce(&AuthDocument) -> Result<AuthDocument, document::Error>,
) -> Result<Advanced, Error> {
    let commit = Commit::begin(lease, Intent::Keep)?;
    match Seen::in_store(store, commit.remaining()?)?.1 {
        Some(stored) if descends(&stored.document) => {
            let successor = merge(&stored.document)
                .map_err(|source| Error::Document { location: stored.location.clone(), source })?;
            let written = store.write(&commit, &successor)?;
            Ok(Advanced::Written(Box::new(successor), written))
        }
        stored => Ok(Advanced::Moved(stored.map(Box::new))),
    }
}

/// What `store` holds once no program is in the middle of a commit: one look under the commit locks.
///
/// # Errors
/// As [`save`].
pub fn look_between_commits(lease: &Lease, store: &dyn Store) -> Result<Option<Stored>, Error> {
    let commit = Commit::begin(lease, Intent::Keep)?;
    Ok(Seen::in_store(store, commit.remaining()?)?.1)
}
