//! Examines the folders of a home, and fixes modes and leftovers.

use std::path::PathBuf;

use codex_auth_platform::filesystem::{self, FileSystem, FileSystemKind, MountPoint, WatchSupport};
use codex_auth_platform::private_file::{self, Links};
use codex_auth_platform::process;

use super::inspection::{
    EntryRole, FolderAccess, HeldLock, HomeEntry, Leftover, commit_locks, files, inspect, replaced_files,
};
use crate::config::Environment;
use crate::home::Home;
use crate::store::{Error, FileStore, Lease};

/// The condition of the folders of a home.
#[derive(Debug)]
#[non_exhaustive]
pub struct FolderDiagnosis {
    /// The access to the home. Of a missing one nothing else is examined.
    pub access: FolderAccess,
    /// Whether the file system is one for a login.
    pub file_system: FileSystemCondition,
    /// The document, if it is a mount point: it shares no lock with its source, and is never refreshed.
    pub mounted_document: Option<PathBuf>,
    /// The user to whom every file must belong. As root, that is the owner of the home.
    pub owner: u32,
    /// The folders and files of other users.
    pub foreign: Vec<HomeEntry>,
    /// The folders and files to which other users have more access than they need.
    pub loose: Vec<HomeEntry>,
    /// The locks that are held.
    pub held_locks: Vec<HeldLock>,
    /// What killed processes left behind.
    pub leftovers: Vec<Leftover>,
}

/// Whether a file system is one for a login.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileSystemCondition {
    /// It is in memory, so a login is lost at the next restart.
    Memory {
        /// Its name.
        name: String,
    },
    /// Changes are noticed at once.
    Native {
        /// Its name.
        name: String,
    },
    /// Changes are noticed late, and locks may not exclude other machines.
    Shared {
        /// Why.
        reason: String,
    },
    /// It cannot be examined.
    Unknown {
        /// Why.
        reason: String,
    },
}

impl FolderDiagnosis {
    pub(super) fn of(home: &Home) -> Result<Self, Error> {
        let inspection = inspect(home)?;
        let us = process::effective_uid();
        let of_home = |entry: &&HomeEntry| entry.role == EntryRole::Home;
        let owner = match inspection.entries.iter().find(of_home) {
            Some(home) if us == 0 => home.owner,
            _ => us,
        };
        let document = home.document();
        // Its keeper owns it, and gives this user access by an access control list, which shows in the mode.
        let is_handed_in = FileStore::new(home.clone(), None).is_handed_in();
        let is_ours = |entry: &HomeEntry| !(is_handed_in && entry.role == EntryRole::Document);
        let is_mounted = matches!(filesystem::is_mount_point(&document), Ok(MountPoint::Yes));
        let entries = |wanted: &dyn Fn(&HomeEntry) -> bool| {
            inspection.entries.iter().filter(|entry| wanted(entry)).cloned().collect()
        };
        Ok(Self {
            access: inspection.home,
            file_system: FileSystemCondition::of(home),
            mounted_document: is_mounted.then_some(document),
            owner,
            foreign: entries(&|entry| entry.owner != owner && is_ours(entry)),
            loose: entries(&|entry| entry.is_loose() && is_ours(entry)),
            held_locks: inspection.held,
            leftovers: inspection.leftovers,
        })
    }
}

impl FileSystemCondition {
    fn of(home: &Home) -> Self {
        match filesystem::describe(home.path()) {
            Ok(FileSystem { kind: FileSystemKind::Memory, name, .. }) => Self::Memory { name },
            Ok(FileSystem { name, .. }) => match filesystem::watch_support(home.path()) {
                WatchSupport::Poll { reason } => Self::Shared { reason },
                _ => Self::Native { name },
            },
            Err(error) => Self::Unknown { reason: error.to_string() },
        }
    }
}

/// Makes the document and our own files private, and removes temporary files and stale lock notes. Changes neither the
/// document nor the records. Locks: the lease, for which it waits at most the lock timeout of `environment`.
///
/// # Errors
/// - As [`Lease::acquire`].
/// - [`Error::File`]: a file belongs to another user or cannot be changed. The files before it are fixed.
pub fn fix(home: &Home, environment: &Environment) -> Result<(), Error> {
    // Acquiring the lease fixes the folders, and releasing it clears the note in the lock file.
    let lease = Lease::acquire(home, environment.lock_timeout, |_waiting| {})?;
    for path in commit_locks(lease.home(), lease.target()) {
        private_file::repair(&path, Links::Refuse)?;
    }
    let is_handed_in = FileStore::new(lease.home().clone(), None).is_handed_in();
    let is_changed = |path: &PathBuf| !(is_handed_in && *path == lease.home().document());
    for (path, links) in replaced_files(lease.home(), lease.target()) {
        if is_changed(&path) {
            private_file::remove_leftovers(&path, links);
        }
    }
    for (path, links) in files(lease.home(), lease.target()) {
        if is_changed(&path) && path != lease.home().config() {
            private_file::repair(&path, links)?;
        }
    }
    Ok(())
}
