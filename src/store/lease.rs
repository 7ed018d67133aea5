//! The lease: proof that this process holds the refresh lock of a home, which every write requires.

use std::convert::Infallible;
use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use codex_auth_platform::filesystem::{self, FileId};
use codex_auth_platform::lock::{
    self, AcquireOutcome, DirectoryAcquireOutcome, DirectoryLock, FileLock, Holder, LockFileMode, Wait,
    Waiting,
};
use codex_auth_platform::private_file::{self, DirectoryState, FolderLocation};

use super::deadline::LockDeadline;
use super::error::Error;
use super::locate::DocumentTarget;
use crate::home::{Home, RecordPaths};

/// The cross-process refresh lock of a home.
///
/// While it lives, no other process that uses this library writes the login of the home, or of another home that shares
/// the document through a link. Codex does not take this lock; the commit locks and the compare-and-swap of the
/// [`super::Writer`] protect against it.
///
/// It locks `codex-auth/refresh.lock` and the folder around `codex-auth`, both in the home and in the folder of the
/// linked document: in the order of their paths, each once. Because the folder is locked too, deleting `codex-auth`
/// does not let another process in.
///
/// Dropping it releases the locks; the kernel does so for a process that dies. The lock files stay.
#[must_use = "the lease ends when it is dropped"]
pub struct Lease {
    home: Home,
    target: DocumentTarget,
    deadline: LockDeadline,
    locks: Vec<FolderLock>,
}

/// The locks of one folder. Fields drop in order: the folder's lock is released before the file's.
struct FolderLock {
    path: PathBuf,
    /// The id of the folder, if the folder itself is locked: the open handle keeps its inode number from being reused.
    id: Option<FileId>,
    _directory: Option<DirectoryLock>,
    _file: FileLock,
}

impl Lease {
    /// Acquires the lease of `home` within `limit` in total, creating missing folders. Calls `waiting` with the current
    /// holder before each further attempt.
    ///
    /// # Errors
    /// - [`Error::Interrupted`]: `limit` is a [`LockDeadline`] that was cancelled.
    /// - [`Error::Lock`] with [`super::LockError::Held`]: another process holds it; the message names it.
    /// - [`Error::Lock`], [`Error::File`] or [`Error::ReadOnlyHome`]: the home cannot be written.
    /// - As [`DocumentTarget::of`].
    pub fn acquire(
        home: &Home,
        limit: impl Into<LockDeadline>,
        waiting: impl FnMut(&Waiting<'_>),
    ) -> Result<Self, Error> {
        Self::acquire_with_others(home, &[], limit, waiting)
    }

    /// Checks whether the lease of `home` could be acquired now, or after its current holder has released it. Creates,
    /// changes and locks nothing. Every acquisition starts with these checks.
    ///
    /// # Errors
    /// As [`Self::acquire`], except [`super::LockError::Held`].
    pub fn check(home: &Home) -> Result<(), Error> {
        let target = DocumentTarget::of(home)?;
        for folder in leased_folders(home, &target, &[]) {
            check_folder(folder)?;
        }
        private_file::check_can_create_directory(target.records().folder())?;
        if target.folder() == home { Ok(()) } else { target.check_record_link(home) }
    }

    /// As [`Self::acquire`]; `waiting` may end the wait before each further attempt, for example because the holder has
    /// already stored the token that the caller needs.
    ///
    /// # Errors
    /// As [`Self::acquire`].
    pub fn acquire_with<B>(
        home: &Home,
        limit: impl Into<LockDeadline>,
        waiting: impl FnMut(&Waiting<'_>) -> ControlFlow<B>,
    ) -> Result<LeaseOutcome<B>, Error> {
        Self::acquire_folders(home, &[], &limit.into(), waiting)
    }

    /// As [`Self::acquire`], and also locks the folders of `others`, which exist, in the same order. Required to change
    /// which of their documents the home's `auth.json` leads to.
    ///
    /// # Errors
    /// As [`Self::acquire`].
    pub fn acquire_with_others(
        home: &Home,
        others: &[&Home],
        limit: impl Into<LockDeadline>,
        mut waiting: impl FnMut(&Waiting<'_>),
    ) -> Result<Self, Error> {
        let report = |state: &Waiting<'_>| {
            waiting(state);
            ControlFlow::<Infallible>::Continue(())
        };
        match Self::acquire_folders(home, others, &limit.into(), report)? {
            LeaseOutcome::Held(lease) => Ok(lease),
            LeaseOutcome::Stopped(never) => match never {},
        }
    }

    /// Acquires the lease of the folder of `home` alone, to replace a link `auth.json` that leads nowhere.
    ///
    /// # Errors
    /// As [`Self::acquire`].
    pub(crate) fn acquire_at_broken_link(
        home: &Home,
        deadline: &LockDeadline,
        mut waiting: impl FnMut(&Waiting<'_>),
    ) -> Result<Self, Error> {
        let mut report = |state: &Waiting<'_>| {
            waiting(state);
            ControlFlow::<Infallible>::Continue(())
        };
        check_folder(home)?;
        match FolderLock::acquire(home, deadline, &mut report)? {
            ControlFlow::Continue(lock) => Ok(Self {
                home: home.clone(),
                target: DocumentTarget::own(home),
                deadline: deadline.clone(),
                locks: vec![lock],
            }),
            ControlFlow::Break(never) => match never {},
        }
    }

    fn acquire_folders<B>(
        home: &Home,
        others: &[&Home],
        deadline: &LockDeadline,
        mut waiting: impl FnMut(&Waiting<'_>) -> ControlFlow<B>,
    ) -> Result<LeaseOutcome<B>, Error> {
        // A dangling link to the document is an error before anything is created.
        DocumentTarget::of(home)?;
        let home = create_home(home)?;
        loop {
            let target = DocumentTarget::of(&home)?;
            let folders = leased_folders(&home, &target, others);
            // In a read-only home the existing lock files could be locked, but nothing could be written afterwards.
            folders.iter().try_for_each(|folder| check_folder(folder))?;
            let mut locks = Vec::with_capacity(2);
            for folder in folders {
                match FolderLock::acquire(folder, deadline, &mut waiting)? {
                    ControlFlow::Continue(lock) => locks.push(lock),
                    ControlFlow::Break(reason) => return Ok(LeaseOutcome::Stopped(reason)),
                }
            }
            // The link may have been changed during the wait.
            if DocumentTarget::of(&home)? == target {
                let lease = Self { home, target, deadline: deadline.clone(), locks };
                lease.create_records()?;
                return Ok(LeaseOutcome::Held(lease));
            }
        }
    }

    /// As [`Self::acquire_with`], for a forced logout: if a lock cannot be acquired before `deadline`, or the file
    /// system does not support locks, returns a lease that holds no lock.
    pub(crate) fn acquire_or_skip_locks<B>(
        home: &Home,
        deadline: &LockDeadline,
        waiting: impl FnMut(&Waiting<'_>) -> ControlFlow<B>,
    ) -> Result<LeaseOutcome<B>, Error> {
        match Self::acquire_with(home, deadline, waiting) {
            Err(Error::Lock(_)) => {
                let (home, target) = (home.resolve_path_again()?, DocumentTarget::of(home)?);
                Ok(LeaseOutcome::Held(Self { home, target, deadline: deadline.clone(), locks: Vec::new() }))
            }
            outcome => outcome,
        }
    }

    /// Returns the leased home.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Returns the location of the document when the lease was acquired; every write goes there.
    #[must_use]
    pub fn target(&self) -> &DocumentTarget {
        &self.target
    }

    /// Returns whether the folder of `home` is one of those that this lease locks.
    #[must_use]
    pub fn covers(&self, home: &Home) -> bool {
        self.locks.iter().any(|lock| lock.path == home.path())
    }

    /// Returns the limit of further waits for locks by the command that acquired the lease.
    #[must_use]
    pub fn deadline(&self) -> &LockDeadline {
        &self.deadline
    }

    /// Returns whether the home's document is still the file that it was when the lease was acquired.
    #[must_use]
    pub fn is_on_target(&self) -> bool {
        DocumentTarget::of(&self.home).is_ok_and(|target| target == self.target)
    }

    /// Checks that the leased folders were not replaced by others. Call it before every change, and before every read
    /// that decides on one.
    ///
    /// # Errors
    /// [`Error::FolderReplaced`].
    pub fn check_folders(&self) -> Result<(), Error> {
        let is_replaced =
            |lock: &&FolderLock| lock.id.is_some() && filesystem::identity(&lock.path) != lock.id;
        match self.locks.iter().find(is_replaced) {
            Some(lock) => Err(Error::FolderReplaced { path: lock.path.clone() }),
            None => Ok(()),
        }
    }

    /// Returns the paths of the document's state and rescue.
    #[must_use]
    pub fn records(&self) -> RecordPaths {
        self.target.records()
    }

    fn create_records(&self) -> Result<(), Error> {
        private_file::create_directory(self.records().folder())?;
        if *self.target.folder() != self.home {
            self.target.record_link(&self.home)?;
        }
        Ok(())
    }
}

impl FolderLock {
    fn acquire<B>(
        folder: &Home,
        deadline: &LockDeadline,
        waiting: &mut impl FnMut(&Waiting<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B, Self>, Error> {
        loop {
            private_file::create_directory(&folder.folder())?;
            let mut waiting = |state: &Waiting<'_>| match deadline.is_cancelled() {
                true => ControlFlow::Break(None),
                false => match waiting(state) {
                    ControlFlow::Continue(()) => ControlFlow::Continue(()),
                    ControlFlow::Break(reason) => ControlFlow::Break(Some(reason)),
                },
            };
            // Without a reason, the deadline was cancelled.
            let stopped = |reason: Option<B>| reason.map(ControlFlow::Break).ok_or(Error::Interrupted);
            let path = folder.refresh_lock();
            let file = match deadline.run_timed(Duration::MAX, |left| {
                let wait = Wait::For(left);
                FileLock::acquire_with(&path, LockFileMode::Private, wait, &mut waiting)
            })? {
                AcquireOutcome::Locked(file) => file,
                AcquireOutcome::Stopped(reason) => return stopped(reason),
            };
            let locked = filesystem::identity(&path);
            let directory = match deadline.run_timed(Duration::MAX, |left| {
                DirectoryLock::acquire_with(folder.path(), Wait::For(left), &mut waiting)
            })? {
                DirectoryAcquireOutcome::Locked(directory) => Some(directory),
                DirectoryAcquireOutcome::Unsupported(_) => None,
                DirectoryAcquireOutcome::Stopped(reason) => return stopped(reason),
            };
            // `codex-auth` may have been deleted during the wait for the folder.
            if filesystem::identity(&path) == locked {
                file.write_note("codex-auth");
                let path = folder.path().to_owned();
                let identity = directory.as_ref().and_then(DirectoryLock::identity);
                return Ok(ControlFlow::Continue(Self {
                    path,
                    id: identity,
                    _directory: directory,
                    _file: file,
                }));
            }
        }
    }
}

/// Creates the folder of `home` and `codex-auth` in it if missing. Returns the home with the id of its folder, which
/// may not have existed before.
///
/// # Errors
/// [`Error::File`]; as [`DocumentTarget::of`], before anything is created.
pub fn create_folders(home: &Home) -> Result<Home, Error> {
    DocumentTarget::of(home)?;
    let home = create_home(home)?;
    private_file::create_directory(&home.folder())?;
    Ok(home)
}

/// Creates the last folder of the home's path if missing. A home that exists keeps its mode.
fn create_home(home: &Home) -> Result<Home, Error> {
    if let FolderLocation::Missing(path) = private_file::locate_folder(home.path())? {
        private_file::create_directory(&path)?;
    }
    Ok(home.resolve_path_again()?)
}

/// Returns the folders that the lease locks, in locking order.
fn leased_folders<'a>(home: &'a Home, target: &'a DocumentTarget, others: &[&'a Home]) -> Vec<&'a Home> {
    let mut folders = vec![home];
    for folder in [&[target.folder()], others].concat() {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders.sort_by(|one, other| one.path().cmp(other.path()));
    folders
}

/// Checks whether [`FolderLock::acquire`] could succeed in `folder` if no other process held the lock.
fn check_folder(folder: &Home) -> Result<(), Error> {
    match private_file::directory_state(folder.path())? {
        DirectoryState::ReadOnly => return Err(Error::ReadOnlyHome { path: folder.path().to_owned() }),
        DirectoryState::Missing => return Ok(private_file::check_can_create_directory(folder.path())?),
        _ => {}
    }
    private_file::check_can_create_directory(&folder.folder())?;
    let path = folder.refresh_lock();
    if private_file::directory_state(&folder.folder())? != DirectoryState::Missing {
        lock::check_can_open(&path)?;
    }
    lock::check_support(&path)?;
    Ok(lock::check_can_open_directory(folder.path())?)
}

/// Returns the process that holds the lease of `home`, as named in the lock file; `None` if it is free. Acquires no
/// lock.
#[must_use]
pub fn holder(home: &Home) -> Option<Holder> {
    let target = DocumentTarget::of(home).ok()?;
    lock::holder(&target.folder().refresh_lock())
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("home", &self.home).field("target", &self.target).finish()
    }
}

/// The outcome of [`Lease::acquire_with`].
#[derive(Debug)]
#[must_use = "the lease ends when it is dropped"]
#[expect(clippy::exhaustive_enums, reason = "a caller must handle both outcomes")]
pub enum LeaseOutcome<B> {
    /// The lease was acquired.
    Held(Lease),
    /// The caller ended the wait, with this value.
    Stopped(B),
}
