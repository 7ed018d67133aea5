//! The private home of one `codex run`: a `CODEX_HOME` whose document holds the access token only.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use codex_auth_platform::lock::{self, FileLock, LockFileMode, Wait};
use codex_auth_platform::private_file::{self, FileMode, Links, MountPolicy};
use jiff::Timestamp;

use super::export::{Export, ExportError};
use super::export_list::LockedExports;
use super::publication::{WritePolicy, publish};
use crate::home::{Home, PRIVATE_HOME};
use crate::manager::Snapshot;

/// How long another process may change the exports or homes.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// What Codex needs to know: a daemon would outlive the run, and take 400 MB.
const CONFIG: &str = "[features]\ndaemon_auto_start = false\n";
/// The name of the lock in the folder of a run.
const LOCK: &str = "lock";

/// A private home, removed on drop.
///
/// The run and its command hold a lock on it. A home without a holder belongs to a run that was killed, and is removed
/// by the next run or keeper.
#[derive(Debug)]
pub struct PrivateHome {
    folder: PathBuf,
    export: Export,
    lock: FileLock,
}

impl PrivateHome {
    /// The address to which Codex sends refreshes and revocations in such a home: no server listens there, and the
    /// error that names it says why.
    pub const CLOSED_ADDRESS: &str = "http://127.0.0.1:9/only-the-keeper-outside-refreshes-this-login";

    /// Creates a private home for the login of `snapshot`, below `home`, and removes those of runs that have ended.
    ///
    /// # Errors
    /// [`ExportError::NotLoggedIn`], [`ExportError::NotExportable`]; [`ExportError::Lock`], [`ExportError::File`]: the
    /// home cannot be written.
    pub fn create(home: &Home, snapshot: &Snapshot, now: Timestamp) -> Result<Self, ExportError> {
        Self::sweep(home)?;
        private_file::create_directory(&home.folder())?;
        let _locked = LockedExports::acquire(home, LOCK_WAIT)?;
        let folder = home.runs().join(private_file::unique_name());
        let export = Export::of_run(folder.join(PRIVATE_HOME), snapshot.document())?;
        private_file::create_directory(&folder)?;
        let lock = FileLock::acquire(&folder.join(LOCK), LockFileMode::Private, Wait::No)?;
        lock.write_note("codex-auth run");
        let private = Self { folder, export, lock };
        private_file::create_directory(private.path())?;
        let config = private.path().join("config.toml");
        private_file::replace(
            &config,
            CONFIG.as_bytes(),
            Links::Refuse,
            MountPolicy::Refuse,
            FileMode::Private,
        )?;
        private.update(snapshot, now)?;
        Ok(private)
    }

    /// Returns the folder, for `CODEX_HOME`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.export.folder
    }

    /// Makes the document show the login in `snapshot`: it is replaced after a refresh, and removed after a logout or a
    /// login with another account.
    ///
    /// # Errors
    /// [`ExportError::File`]: it cannot be written.
    pub fn update(&self, snapshot: &Snapshot, now: Timestamp) -> Result<(), ExportError> {
        Ok(publish(&self.export, snapshot, now, WritePolicy::IfDifferent)?)
    }

    /// Lets the child of `command` hold the home too, so that it stays while the child runs, even if this process is
    /// killed.
    pub fn share_with_child(&self, command: &mut Command) {
        self.lock.share_with_child(command);
    }

    /// Removes the private homes of runs that have ended, below `home`. Returns whether others are in use.
    ///
    /// # Errors
    /// [`ExportError::Lock`], [`ExportError::File`].
    pub fn sweep(home: &Home) -> Result<PrivateHomes, ExportError> {
        let runs = home.runs();
        let mut left = PrivateHomes::None;
        if private_file::names(&runs)?.is_empty() {
            return Ok(left);
        }
        // Under this lock no home is without its own.
        let _locked = LockedExports::acquire(home, LOCK_WAIT)?;
        for name in private_file::names(&runs)? {
            let folder = runs.join(&name);
            match FileLock::acquire(&folder.join(LOCK), LockFileMode::Private, Wait::No) {
                Ok(_free) => remove(&folder, &name)?,
                Err(lock::Error::Held { .. }) => left = PrivateHomes::InUse,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(left)
    }
}

/// Whether there are private homes of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrivateHomes {
    /// There are none.
    None,
    /// A run, or the command of a killed run, uses one.
    InUse,
}

fn remove(folder: &Path, name: &OsStr) -> Result<(), ExportError> {
    tracing::debug!(?name, "removing the home of a run that has ended");
    Ok(private_file::remove_directory(folder)?)
}

impl Drop for PrivateHome {
    fn drop(&mut self) {
        // What cannot be removed now, the next run or keeper removes.
        let _ = private_file::remove_directory(&self.folder);
    }
}
