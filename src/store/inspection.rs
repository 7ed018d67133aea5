//! What lies in the folders of a home and in what state: for a report, and for mending what is safe to mend.
//!
//! Looking takes no lock and changes nothing; nothing that is looked at here is read but the notes in lock files.

use std::path::{Path, PathBuf};

use codex_auth_platform::lock::{self, Holder, LockState};
use codex_auth_platform::private_file::{self, DirectoryState, Links};

use super::rescue::LIMIT;
use super::{DocumentTarget, Error, Lease};
use crate::home::Home;

/// What was found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HomeInspection {
    /// What can be done in the folder of the home.
    pub home: FolderAccess,
    /// The folders and files that are there, the home itself first.
    pub entries: Vec<HomeEntry>,
    /// The locks whose files are there.
    pub locks: Vec<LockReport>,
    /// What processes that were ended have left behind.
    pub leftovers: Vec<Leftover>,
}

/// What can be done in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every case is the caller's to handle")]
pub enum FolderAccess {
    /// It is not there; it is made when something is saved.
    Missing,
    /// Its permissions or its file system forbid changes.
    ReadOnly,
    /// A login can be kept and refreshed in it.
    Writable,
}

/// A folder or file of a home.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HomeEntry {
    /// What it is for.
    pub part: EntryRole,
    /// Where it is, with links followed.
    pub path: PathBuf,
    /// The user id of its owner.
    pub owner: u32,
    /// Its permission bits.
    pub mode: u32,
}

/// What a folder or file of a home is for, which decides who may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryRole {
    /// The configuration, which others may read.
    Config,
    /// The document, which is secret.
    Document,
    /// The place itself, which others may look into.
    Home,
    /// Something in the folder of ours, or that folder: its owner's alone.
    Ours,
}

impl HomeEntry {
    /// Whether users who are not its owner can do with it what they must not: read a secret, or change what we go by.
    #[must_use]
    pub fn is_loose(&self) -> bool {
        let forbidden = match self.part {
            EntryRole::Config | EntryRole::Home => 0o022,
            EntryRole::Document | EntryRole::Ours => 0o077,
        };
        // What is written in a sticky folder only its own writer can rename or remove.
        let sticky = self.part == EntryRole::Home && self.mode & 0o1000 != 0;
        self.mode & forbidden != 0 && !sticky
    }

    /// Whether [`fix`] makes it private again. A place and its configuration keep the modes that their user gave them.
    #[must_use]
    pub fn is_fixable(&self) -> bool {
        matches!(self.part, EntryRole::Document | EntryRole::Ours)
    }
}

/// A lock of a home.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LockReport {
    /// Its file.
    pub path: PathBuf,
    /// Who holds it.
    pub standing: LockState,
}

/// What a process that was ended has left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Leftover {
    /// The content that a mounted document had before it was written over.
    Backup(PathBuf),
    /// A lock file signed by a process that does not hold it any more.
    Note {
        /// The lock file.
        path: PathBuf,
        /// Who signed.
        holder: Holder,
    },
    /// Tokens that arrived and are not in the store yet.
    Rescue(PathBuf),
    /// A file that was being written.
    Temporary(PathBuf),
}

impl Leftover {
    /// Whether [`fix`] clears it away. Tokens are not thrown away for tidiness.
    #[must_use]
    pub fn is_mendable(&self) -> bool {
        matches!(self, Self::Note { .. } | Self::Temporary(_))
    }
}

/// Looks at the folders of `home`.
///
/// # Errors
/// [`Error::File`]: the home cannot be looked at.
pub fn inspect(home: &Home) -> Result<HomeInspection, Error> {
    let access = match private_file::directory(home.path())? {
        DirectoryState::Writable => FolderAccess::Writable,
        DirectoryState::ReadOnly => FolderAccess::ReadOnly,
        _ => FolderAccess::Missing,
    };
    let target = DocumentTarget::of(home)?;
    let locks = locks(home, &target);
    let leftovers = leftovers(home, &target, &locks);
    Ok(HomeInspection { home: access, entries: entries(home, &target)?, locks, leftovers })
}

/// Makes private what is ours alone, removes what writers that were killed have left, and takes a dead holder's note out
/// of the lock file. The document and the records are not changed.
///
/// # Errors
/// [`Error::File`]: something is not ours to change, or cannot be changed here. What comes before it is done.
pub fn fix(lease: &Lease) -> Result<(), Error> {
    // Taking the lease has mended our folders, and giving it up takes our own note out.
    for (path, links) in files(lease.home(), lease.target()) {
        private_file::sweep(&path, links);
        if private_file::ownership(&path, links)?.is_some() && path != lease.home().config() {
            private_file::repair(&path, links)?;
        }
    }
    Ok(())
}

/// Every file that is written whole.
fn files(home: &Home, target: &DocumentTarget) -> [(PathBuf, Links); 5] {
    let records = target.records();
    [
        (home.document(), Links::Follow),
        (home.config(), Links::Follow),
        (records.state(), Links::Refuse),
        (records.rescue(), Links::Refuse),
        (target.folder().refresh_lock(), Links::Refuse),
    ]
}

fn entries(home: &Home, target: &DocumentTarget) -> Result<Vec<HomeEntry>, Error> {
    let mut found = Vec::new();
    let folders = [(home.path().to_owned(), Links::Follow), (target.folder().folder(), Links::Refuse)];
    for (path, links) in folders.into_iter().chain(files(home, target)) {
        let part = match &path {
            path if path == home.path() => EntryRole::Home,
            path if *path == home.document() => EntryRole::Document,
            path if *path == home.config() => EntryRole::Config,
            _ => EntryRole::Ours,
        };
        if let Some(private_file::FileOwnership { path, owner, mode, .. }) =
            private_file::ownership(&path, links)?
        {
            found.push(HomeEntry { part, path, owner, mode });
        }
    }
    Ok(found)
}

/// In the order in which they are taken. One that cannot be looked at is nobody's news here: the next commit tells.
fn locks(home: &Home, target: &DocumentTarget) -> Vec<LockReport> {
    let ours = [home.refresh_lock(), target.folder().refresh_lock()];
    let paths = ours.into_iter().chain([home.first_commit_lock(), target.commit_lock()]);
    let mut found: Vec<LockReport> = Vec::new();
    for path in paths {
        if found.iter().any(|lock| lock.path == path) {
            continue;
        }
        match lock::standing(&path) {
            Ok(LockState::Absent) | Err(_) => {}
            Ok(standing) => found.push(LockReport { path, standing }),
        }
    }
    found
}

fn leftovers(home: &Home, target: &DocumentTarget, locks: &[LockReport]) -> Vec<Leftover> {
    let mut found = Vec::new();
    for (path, links) in files(home, target) {
        found.extend(private_file::leftovers(&path, links).into_iter().map(Leftover::Temporary));
    }
    let is_there = |path: &Path| matches!(private_file::stamp(path, Links::Refuse), Ok(Some(_)));
    let records = target.records();
    // A blank one is the space of a request that is on its way.
    let rescue = private_file::read(&records.rescue(), LIMIT, Links::Refuse);
    if !matches!(rescue, Ok(None))
        && !rescue.is_ok_and(|found| found.is_some_and(|found| private_file::is_blank(&found.bytes)))
    {
        found.push(Leftover::Rescue(records.rescue()));
    }
    found.extend(super::recover::set_aside(&records).unwrap_or_default().into_iter().map(Leftover::Rescue));
    let backup = named(&target.document(), ".bak");
    if is_there(&backup) {
        found.push(Leftover::Backup(backup));
    }
    for lock in locks {
        if let LockState::Free { left: Some(holder) } = &lock.standing {
            found.push(Leftover::Note { path: lock.path.clone(), holder: holder.clone() });
        }
    }
    found
}

/// The file beside `path` with `ending` after its name.
fn named(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
