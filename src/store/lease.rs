//! The lease: the proof that this process holds the refresh lock of a home, which every write demands.

use std::convert::Infallible;
use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use codex_auth_platform::filesystem::{self, FileId};
use codex_auth_platform::lock::{
    self, Acquired, Creation, DirectoryAcquired, DirectoryLock, FileLock, Holder, Mode, Wait, Waiting,
};
use codex_auth_platform::private_file::{self, DirectoryState, FolderLocation};

use super::{DocumentTarget, Error, LockDeadline};
use crate::home::{Home, RecordPaths};

/// The cross-process refresh lock of a home.
///
/// While it lives, no other process that uses this library writes the login of the home, nor that of any home which
/// shares its document through a link. Codex does not take this lock; its own commit locks and the compare-and-swap of
/// the [`super::Writer`] are for it.
///
/// Locked are `codex-auth/refresh.lock` and the folder itself, of the home and of the folder that its document is linked
/// into: in the order of their paths, each once. A `codex-auth` that is deleted meanwhile therefore lets no other process in.
///
/// Dropping it releases the locks; the kernel does the same for a process that dies. The lock files stay.
#[must_use = "the lease ends when it is dropped"]
pub struct Lease {
    home: Home,
    target: DocumentTarget,
    deadline: LockDeadline,
    locks: Vec<FolderLock>,
}

/// The locks of one folder, released inside out.
struct FolderLock {
    path: PathBuf,
    /// The folder, if the folder itself is locked: the open handle keeps its inode number from being used again.
    identity: Option<FileId>,
    _directory: Option<DirectoryLock>,
    _file: FileLock,
}

impl Lease {
    /// Acquires the lease of `home`, creating its folders where they are missing, within `limit` in all. `waiting` is
    /// called before each further try, and learns who holds the lock.
    ///
    /// # Errors
    /// - [`Error::Interrupted`]: `limit` is a [`LockDeadline`] that was cancelled.
    /// - [`Error::Lock`] with [`super::LockError::Held`]: another process holds it; the message says which.
    /// - [`Error::Lock`] or [`Error::File`] that is read-only: the home can be read, and never written.
    /// - As [`DocumentTarget::of`].
    pub fn acquire(
        home: &Home,
        limit: impl Into<LockDeadline>,
        mut waiting: impl FnMut(&Waiting<'_>),
    ) -> Result<Self, Error> {
        let keep_on = |state: &Waiting<'_>| {
            waiting(state);
            ControlFlow::<Infallible>::Continue(())
        };
        match Self::acquire_unless(home, limit, keep_on)? {
            LeaseOutcome::Held(lease) => Ok(lease),
            LeaseOutcome::GaveWay(never) => match never {},
        }
    }

    /// Checks whether the lease of `home` could be acquired now, or once the process that holds it has finished. Creates,
    /// changes and locks nothing. Every acquisition makes these checks first.
    ///
    /// # Errors
    /// As [`Self::acquire`], except [`super::LockError::Held`].
    pub fn check(home: &Home) -> Result<(), Error> {
        let target = DocumentTarget::of(home)?;
        for folder in folders(home, &target) {
            check_folder(folder)?;
        }
        private_file::may_create_directory(target.records().folder())?;
        if target.folder() == home { Ok(()) } else { target.check_note_in(home) }
    }

    /// As [`Self::acquire`]; before each further try `between` may end the waiting: a waiter needs what the lease is for,
    /// not the lease.
    ///
    /// # Errors
    /// As [`Self::acquire`].
    pub fn acquire_unless<B>(
        home: &Home,
        limit: impl Into<LockDeadline>,
        mut between: impl FnMut(&Waiting<'_>) -> ControlFlow<B>,
    ) -> Result<LeaseOutcome<B>, Error> {
        let deadline = limit.into();
        // A link to the document that leads nowhere is an error before anything is created.
        DocumentTarget::of(home)?;
        let home = make_folder(home)?;
        loop {
            let target = DocumentTarget::of(&home)?;
            let folders = folders(&home, &target);
            // Lock files that are there could be locked all the same, and what cannot be finished must not be begun.
            folders.iter().try_for_each(|folder| check_folder(folder))?;
            let mut locks = Vec::with_capacity(2);
            for folder in folders {
                match FolderLock::acquire(folder, &deadline, &mut between)? {
                    ControlFlow::Continue(lock) => locks.push(lock),
                    ControlFlow::Break(reason) => return Ok(LeaseOutcome::GaveWay(reason)),
                }
            }
            // While we waited the link may have been pointed elsewhere.
            if DocumentTarget::of(&home)? == target {
                let lease = Self { home, target, deadline, locks };
                lease.prepare_records()?;
                return Ok(LeaseOutcome::Held(lease));
            }
        }
    }

    /// As [`Self::acquire_unless`], for a logout that a person forces: where the locks are not free before `deadline`, or the
    /// file system has none, it does without them.
    pub(crate) fn force<B>(
        home: &Home,
        deadline: &LockDeadline,
        between: impl FnMut(&Waiting<'_>) -> ControlFlow<B>,
    ) -> Result<LeaseOutcome<B>, Error> {
        match Self::acquire_unless(home, deadline, between) {
            Err(Error::Lock(_)) => {
                let (home, target) = (home.found()?, DocumentTarget::of(home)?);
                Ok(LeaseOutcome::Held(Self { home, target, deadline: deadline.clone(), locks: Vec::new() }))
            }
            outcome => outcome,
        }
    }

    /// The home.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Where the document was when the lease was acquired; every write goes there and nowhere else.
    #[must_use]
    pub fn target(&self) -> &DocumentTarget {
        &self.target
    }

    /// The limit of further waits for locks, by the command that acquired the lease.
    #[must_use]
    pub fn deadline(&self) -> &LockDeadline {
        &self.deadline
    }

    /// Whether the home's document is still the file that it was when the lease was acquired.
    #[must_use]
    pub fn is_on_target(&self) -> bool {
        DocumentTarget::of(&self.home).is_ok_and(|target| target == self.target)
    }

    /// Checks that the paths of the leased folders still lead to these folders. Every change, and every read that decides on
    /// one, checks this first.
    ///
    /// # Errors
    /// [`Error::Replaced`]: another folder is there.
    pub fn check_folders(&self) -> Result<(), Error> {
        let is_replaced =
            |lock: &&FolderLock| lock.identity.is_some() && filesystem::identity(&lock.path) != lock.identity;
        match self.locks.iter().find(is_replaced) {
            Some(lock) => Err(Error::Replaced { path: lock.path.clone() }),
            None => Ok(()),
        }
    }

    /// Where the document's state and rescue are.
    #[must_use]
    pub fn records(&self) -> RecordPaths {
        self.target.records()
    }

    fn prepare_records(&self) -> Result<(), Error> {
        private_file::create_directory(self.records().folder())?;
        if *self.target.folder() != self.home {
            self.target.note_in(&self.home)?;
        }
        Ok(())
    }
}

impl FolderLock {
    fn acquire<B>(
        folder: &Home,
        deadline: &LockDeadline,
        between: &mut impl FnMut(&Waiting<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B, Self>, Error> {
        loop {
            private_file::create_directory(&folder.folder())?;
            let mut between = |state: &Waiting<'_>| match deadline.is_cancelled() {
                true => ControlFlow::Break(None),
                false => match between(state) {
                    ControlFlow::Continue(()) => ControlFlow::Continue(()),
                    ControlFlow::Break(reason) => ControlFlow::Break(Some(reason)),
                },
            };
            let gave_way = |reason: Option<B>| reason.map(ControlFlow::Break).ok_or(Error::Interrupted);
            let path = folder.refresh_lock();
            let file = match deadline.during(Duration::MAX, |left| {
                let wait = Wait::For(left);
                FileLock::acquire_unless(&path, Mode::Exclusive, Creation::Private, wait, &mut between)
            })? {
                Acquired::Locked(file) => file,
                Acquired::GaveWay(reason) => return gave_way(reason),
            };
            let locked = filesystem::identity(&path);
            let directory = match deadline.during(Duration::MAX, |left| {
                DirectoryLock::acquire_unless(folder.path(), Wait::For(left), &mut between)
            })? {
                DirectoryAcquired::Locked(directory) => Some(directory),
                DirectoryAcquired::Unsupported(_) => None,
                DirectoryAcquired::GaveWay(reason) => return gave_way(reason),
            };
            // While we waited for the folder, `codex-auth` may have been deleted.
            if filesystem::identity(&path) == locked {
                file.sign("codex-auth");
                let path = folder.path().to_owned();
                let identity = directory.as_ref().and_then(DirectoryLock::identity);
                return Ok(ControlFlow::Continue(Self {
                    path,
                    identity,
                    _directory: directory,
                    _file: file,
                }));
            }
        }
    }
}

/// Creates the folder of `home` and `codex-auth` in it where they are missing, and returns the home with its folder found.
///
/// # Errors
/// [`Error::File`]; as [`DocumentTarget::of`], before anything is created.
pub fn make_folders(home: &Home) -> Result<Home, Error> {
    DocumentTarget::of(home)?;
    let home = make_folder(home)?;
    private_file::create_directory(&home.folder())?;
    Ok(home)
}

/// A home that exists keeps the mode that its user gave it; of one that does not, only the last folder is created.
fn make_folder(home: &Home) -> Result<Home, Error> {
    if let FolderLocation::Missing(path) = private_file::locate_folder(home.path())? {
        private_file::create_directory(&path)?;
    }
    Ok(home.found()?)
}

/// The folders that the lease locks, in that order.
fn folders<'a>(home: &'a Home, target: &'a DocumentTarget) -> Vec<&'a Home> {
    let mut folders = vec![home];
    if target.folder() != home {
        folders.push(target.folder());
    }
    folders.sort_by(|one, other| one.path().cmp(other.path()));
    folders
}

/// Whether [`FolderLock::acquire`] could succeed in `folder` now, but for a process that holds the lock.
fn check_folder(folder: &Home) -> Result<(), Error> {
    match private_file::directory(folder.path())? {
        DirectoryState::ReadOnly => return Err(Error::ReadOnlyHome { path: folder.path().to_owned() }),
        DirectoryState::Missing => return Ok(private_file::may_create_directory(folder.path())?),
        _ => {}
    }
    private_file::may_create_directory(&folder.folder())?;
    let path = folder.refresh_lock();
    if private_file::directory(&folder.folder())? != DirectoryState::Missing {
        lock::may_open(&path)?;
    }
    lock::check_support(&path)?;
    Ok(lock::may_open_directory(folder.path())?)
}

/// The holder of the lease of `home`, as it signed the lock file; `None` while no process of ours holds it. Reads one file
/// and acquires no lock.
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

/// How [`Lease::acquire_unless`] ended.
#[derive(Debug)]
#[must_use = "the lease ends when it is dropped"]
#[expect(clippy::exhaustive_enums, reason = "both outcomes are the caller's to handle")]
pub enum LeaseOutcome<B> {
    /// With the lease.
    Held(Lease),
    /// With what the caller broke off for.
    GaveWay(B),
}
