//! Inspects the files of a home: owners, modes, locks, and what killed processes left behind.

use std::path::{Path, PathBuf};

use codex_auth_platform::lock::{self, Holder, LockState};
use codex_auth_platform::private_file::{self, DirectoryState, Links};

use crate::home::Home;
use crate::store::{DocumentTarget, Error, rescue};

/// The result of [`inspect`].
#[derive(Debug)]
pub(super) struct HomeInspection {
    pub(super) home: FolderAccess,
    /// The folders and files that exist, the home itself first.
    pub(super) entries: Vec<HomeEntry>,
    pub(super) held: Vec<HeldLock>,
    pub(super) leftovers: Vec<Leftover>,
}

/// The access of this user to a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a caller must handle every case")]
pub enum FolderAccess {
    /// It does not exist; it is created when something is saved.
    Missing,
    /// Its permissions or its file system forbid changes.
    ReadOnly,
    /// A login can be stored and refreshed in it.
    Writable,
}

/// A folder or file of a home.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HomeEntry {
    /// Its purpose.
    pub role: EntryRole,
    /// Its path, with symbolic links resolved.
    pub path: PathBuf,
    /// The user id of its owner.
    pub owner: u32,
    /// Its permission bits.
    pub mode: u32,
}

/// The purpose of a folder or file of a home, which decides who may access it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryRole {
    /// The configuration, which other users may read.
    Config,
    /// The document, which is secret.
    Document,
    /// A commit lock of Codex's: any user who can open it can stop every login and refresh.
    CommitLock,
    /// The home's folder, which other users may list.
    Home,
    /// The `codex-auth` folder or a file in it, which only the owner may access.
    Ours,
}

impl HomeEntry {
    /// Returns whether other users can read a secret in it, or change it.
    #[must_use]
    pub fn is_loose(&self) -> bool {
        let forbidden = match self.role {
            EntryRole::Config | EntryRole::Home => 0o022,
            EntryRole::CommitLock | EntryRole::Document | EntryRole::Ours => 0o077,
        };
        // In a sticky folder only the owner of a file can rename or remove it.
        let sticky = self.role == EntryRole::Home && self.mode & 0o1000 != 0;
        self.mode & forbidden != 0 && !sticky
    }

    /// Returns whether [`super::fix`] makes it private again. A home and its configuration keep the modes that the user set.
    #[must_use]
    pub fn is_fixable(&self) -> bool {
        matches!(self.role, EntryRole::CommitLock | EntryRole::Document | EntryRole::Ours)
    }
}

/// A lock of a home that another process holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HeldLock {
    /// The lock file.
    pub path: PathBuf,
    /// The process, if it is one of this library.
    pub holder: Option<Holder>,
}

/// Something that a killed process left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Leftover {
    /// The previous content of a document that is a mount point and was written in place.
    Backup(PathBuf),
    /// A lock file that names a process which no longer holds the lock.
    StaleHolder {
        /// The lock file.
        path: PathBuf,
        /// The process.
        holder: Holder,
    },
    /// A rescue: tokens that were received and are not stored yet.
    Rescue(PathBuf),
    /// A temporary file of an interrupted write.
    Temporary(PathBuf),
}

impl Leftover {
    /// Returns whether [`super::fix`] removes it. Tokens are never removed.
    #[must_use]
    pub fn is_removable(&self) -> bool {
        matches!(self, Self::StaleHolder { .. } | Self::Temporary(_))
    }
}

/// Inspects the folders and files of `home`. Takes no lock and changes nothing. Of the files, only the rescue and the
/// notes in lock files are read.
pub(super) fn inspect(home: &Home) -> Result<HomeInspection, Error> {
    let access = match private_file::directory_state(home.path())? {
        DirectoryState::Writable => FolderAccess::Writable,
        DirectoryState::ReadOnly => FolderAccess::ReadOnly,
        _ => FolderAccess::Missing,
    };
    let target = DocumentTarget::of(home)?;
    let locks = locks(home, &target);
    let held = locks.iter().filter_map(|(path, state)| match state {
        LockState::Held { holder } => Some(HeldLock { path: path.clone(), holder: holder.clone() }),
        _ => None,
    });
    let held: Vec<_> = held.collect();
    let mut leftovers = leftovers(home, &target, &locks);
    if !held.is_empty() {
        // It may belong to work in progress.
        leftovers.retain(|leftover| !matches!(leftover, Leftover::Rescue(_)));
    }
    Ok(HomeInspection { home: access, entries: entries(home, &target)?, held, leftovers })
}

/// Returns every file that is replaced atomically, and whether links to it are followed.
pub(super) fn replaced_files(home: &Home, target: &DocumentTarget) -> [(PathBuf, Links); 4] {
    let records = target.records();
    [
        (home.document(), Links::Follow),
        (home.config(), Links::Follow),
        (records.state(), Links::Refuse),
        (records.rescue(), Links::Refuse),
    ]
}

/// Returns the document, the configuration and all of our own files, and whether links to each are followed.
pub(super) fn files(home: &Home, target: &DocumentTarget) -> Vec<(PathBuf, Links)> {
    let mut files = vec![(home.document(), Links::Follow), (home.config(), Links::Follow)];
    let records = target.records();
    let mut folders = vec![target.folder().folder(), records.folder().to_owned(), records.history()];
    folders.dedup();
    for folder in folders {
        let names = private_file::names(&folder).unwrap_or_default();
        let paths = names.into_iter().map(|name| folder.join(name));
        // Not the folders in it: users of an export may enter that of the socket.
        files.extend(paths.filter(|path| is_file(path)).map(|path| (path, Links::Refuse)));
    }
    files
}

fn is_file(path: &Path) -> bool {
    matches!(private_file::stamp(path, Links::Refuse), Ok(Some(_)))
}

/// Returns the commit locks in folders that other users can enter but not write to. In others they are either out of
/// reach, or shared with the users who can write there.
pub(super) fn commit_locks(home: &Home, target: &DocumentTarget) -> Vec<PathBuf> {
    let is_entered_by_others = |path: &PathBuf| {
        let folder = path.parent().and_then(|folder| private_file::ownership(folder, Links::Follow).ok()?);
        folder.is_some_and(|folder| folder.mode & 0o011 != 0 && folder.mode & 0o022 == 0)
    };
    [home.first_commit_lock(), target.commit_lock()].into_iter().filter(is_entered_by_others).collect()
}

fn entries(home: &Home, target: &DocumentTarget) -> Result<Vec<HomeEntry>, Error> {
    let mut found = Vec::new();
    let folders = [(home.path().to_owned(), Links::Follow), (target.folder().folder(), Links::Refuse)];
    let commit_locks = commit_locks(home, target);
    let locks = commit_locks.iter().map(|path| (path.clone(), Links::Refuse));
    for (path, links) in folders.into_iter().chain(files(home, target)).chain(locks) {
        let role = match &path {
            path if path == home.path() => EntryRole::Home,
            path if *path == home.document() => EntryRole::Document,
            path if *path == home.config() => EntryRole::Config,
            path if commit_locks.contains(path) => EntryRole::CommitLock,
            _ => EntryRole::Ours,
        };
        if let Some(private_file::FileOwnership { path, owner, mode, .. }) =
            private_file::ownership(&path, links)?
        {
            found.push(HomeEntry { role, path, owner, mode });
        }
    }
    Ok(found)
}

/// Returns the locks in the order of acquisition. One that cannot be examined is left out; a commit would report it.
fn locks(home: &Home, target: &DocumentTarget) -> Vec<(PathBuf, LockState)> {
    let ours = [home.refresh_lock(), target.folder().refresh_lock()];
    let paths = ours.into_iter().chain([home.first_commit_lock(), target.commit_lock()]);
    let mut found: Vec<(PathBuf, LockState)> = Vec::new();
    for path in paths {
        if found.iter().any(|(known, _)| *known == path) {
            continue;
        }
        match lock::state(&path) {
            Ok(LockState::Absent) | Err(_) => {}
            Ok(state) => found.push((path, state)),
        }
    }
    found
}

fn leftovers(home: &Home, target: &DocumentTarget, locks: &[(PathBuf, LockState)]) -> Vec<Leftover> {
    let mut found = Vec::new();
    for (path, links) in replaced_files(home, target) {
        found.extend(private_file::leftovers(&path, links).into_iter().map(Leftover::Temporary));
    }
    let records = target.records();
    found.extend(rescue::rescue_files(&records).into_iter().map(Leftover::Rescue));
    let backup = with_suffix(&target.document(), ".bak");
    if is_file(&backup) {
        found.push(Leftover::Backup(backup));
    }
    for (path, state) in locks {
        if let LockState::Free { stale_holder: Some(holder) } = state {
            found.push(Leftover::StaleHolder { path: path.clone(), holder: holder.clone() });
        }
    }
    found
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
