//! The exports of a home: their list, and the lock under which it and their documents are written.

use std::path::{Path, PathBuf};
use std::time::Duration;

use codex_auth_platform::lock::{FileLock, LockFileMode, Wait};
use codex_auth_platform::private_file::{self, FileMode, FolderLocation, Links, MountPolicy};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::export::{Export, ExportError, ExportOptions, ExportedLogin, check_path, owner};
use crate::clock::Clock;
use crate::config::Environment;
use crate::document::AuthDocument;
use crate::history::{History, HistoryEvent};
use crate::home::Home;
use crate::manager;

/// Version of the list; it rises when a field changes its meaning or is removed.
const SCHEMA: u32 = 1;
/// The largest list that is read, in bytes.
const MAX_LIST: u64 = 1024 * 1024;

impl Export {
    /// Returns an export of the login `document` of `home` into `folder`, which is created, and shared with the other
    /// user of `options`. Adds it to no list.
    ///
    /// # Errors
    /// All of [`ExportError`] but [`ExportError::NotExported`] and [`ExportError::Lock`].
    pub fn new(
        home: &Home,
        folder: &Path,
        document: Option<&AuthDocument>,
        options: ExportOptions,
    ) -> Result<Self, ExportError> {
        let document = document.ok_or(ExportError::NotLoggedIn)?;
        if document.is_handed_in() && !manager::is_member(home) {
            return Err(ExportError::HandedIn);
        }
        document.exported(Timestamp::UNIX_EPOCH).ok_or(ExportError::NotExportable)?;
        let login = match (options.follow, owner(document)) {
            (true, _) => ExportedLogin::Follow,
            (false, Some((account_id, user_id))) => ExportedLogin::Account { account_id, user_id },
            (false, None) => return Err(ExportError::UnknownAccount),
        };
        for uid in [options.uid, options.require_uid].into_iter().flatten() {
            if !private_file::is_mapped_user(uid) {
                return Err(ExportError::UnknownUser { uid });
            }
        }
        let folder = located(folder)?;
        if home.folder().starts_with(&folder) || folder.starts_with(home.folder()) {
            return Err(ExportError::Home { folder, home: home.path().to_owned() });
        }
        let export = Self { folder, uid: options.uid, require_uid: options.require_uid, login };
        check_path(&export.folder)?;
        if !ExportList::read(home)?.contains(&export.folder) {
            export.check_is_empty()?;
        }
        export.create_folder()?;
        Ok(export)
    }
}

/// The canonical path of a folder, which may be missing.
fn located(folder: &Path) -> Result<PathBuf, private_file::Error> {
    Ok(match private_file::locate_folder(folder)? {
        FolderLocation::Existing(path) | FolderLocation::Missing(path) => path,
    })
}

/// The exports of a home, in `codex-auth/exports.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExportList {
    schema: u32,
    /// The exports, in the order in which they were added.
    pub exports: Vec<Export>,
}

impl ExportList {
    /// Reads the list of `home`; empty if there is none. Takes no lock.
    ///
    /// # Errors
    /// [`ExportError::File`], [`ExportError::List`].
    pub fn read(home: &Home) -> Result<Self, ExportError> {
        let path = home.export_list();
        let Some(contents) = private_file::read(&path, MAX_LIST, Links::Refuse)? else {
            return Ok(Self::default());
        };
        serde_json::from_slice(&contents.bytes).map_err(|source| ExportError::List { path, source })
    }

    fn contains(&self, folder: &Path) -> bool {
        self.exports.iter().any(|export| export.folder == folder)
    }

    /// Adds `export` to the list of `home`, instead of an older one of the same folder, and records that. Waits for the
    /// lock timeout of `environment` at most while another process changes the exports.
    ///
    /// # Errors
    /// [`ExportError::File`], [`ExportError::List`], [`ExportError::Lock`].
    pub fn add(home: &Home, export: Export, environment: &Environment) -> Result<(), ExportError> {
        private_file::create_directory(&home.folder())?;
        let locked = LockedExports::acquire(home, environment.lock_timeout)?;
        let mut list = Self::read(home)?;
        match list.exports.iter_mut().find(|known| known.folder == export.folder) {
            Some(known) => *known = export,
            None => list.exports.push(export),
        }
        list.write(home, &locked)?;
        record(home, environment, HistoryEvent::ExportMade);
        Ok(())
    }

    /// Removes the export of `folder` from the list of `home`, and then its document and socket, which a keeper can no
    /// longer write. A token that was handed in works until it expires.
    ///
    /// # Errors
    /// [`ExportError::NotExported`], [`ExportError::Path`], [`ExportError::File`], [`ExportError::List`],
    /// [`ExportError::Lock`].
    pub fn remove(home: &Home, folder: &Path, environment: &Environment) -> Result<Export, ExportError> {
        // The folder itself may be gone, or replaced by a link.
        let spelled = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let folder = located(folder).unwrap_or_else(|_| spelled.clone());
        let position = |list: &Self| {
            let of = |folder: &Path| list.exports.iter().position(|export| export.folder == folder);
            of(&spelled).or_else(|| of(&folder))
        };
        let missing = || {
            check_path(&folder).err().unwrap_or_else(|| ExportError::NotExported { folder: folder.clone() })
        };
        // Without exports there may be no folder for the lock.
        position(&Self::read(home)?).ok_or_else(missing)?;
        let locked = LockedExports::acquire(home, environment.lock_timeout)?;
        let mut list = Self::read(home)?;
        let export = list.exports.remove(position(&list).ok_or_else(missing)?);
        list.write(home, &locked)?;
        record(home, environment, HistoryEvent::ExportRemoved);
        export.withdraw()?;
        Ok(export)
    }

    /// Removes the documents of all exports of `home`, after a logout; the exports stay.
    ///
    /// # Errors
    /// The first of [`ExportError::File`]; the other documents are removed. [`ExportError::List`],
    /// [`ExportError::Lock`].
    pub fn withdraw(home: &Home, limit: Duration) -> Result<(), ExportError> {
        if Self::read(home)?.exports.is_empty() {
            return Ok(());
        }
        let _locked = LockedExports::acquire(home, limit)?;
        let removals: Vec<_> = Self::read(home)?.exports.iter().map(Export::withdraw).collect();
        removals.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(())
    }

    fn write(&mut self, home: &Home, _locked: &LockedExports) -> Result<(), ExportError> {
        self.schema = SCHEMA;
        // Encoding strings and numbers cannot fail.
        let bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        private_file::replace(
            &home.export_list(),
            &bytes,
            Links::Refuse,
            MountPolicy::Refuse,
            FileMode::Private,
        )?;
        Ok(())
    }
}

fn record(home: &Home, environment: &Environment, event: HistoryEvent) {
    History::open(&home.own_records(), environment.history, Clock::system()).record(event);
}

/// The lock under which the list and the documents of exports are written.
pub(super) struct LockedExports(#[expect(dead_code, reason = "held until it is dropped")] FileLock);

impl LockedExports {
    /// Acquires the lock. Creates no folder: a home that is away for a moment must not be replaced by an empty one.
    pub(super) fn acquire(home: &Home, limit: Duration) -> Result<Self, ExportError> {
        Ok(Self(FileLock::acquire(&home.export_lock(), LockFileMode::Private, Wait::For(limit))?))
    }
}
