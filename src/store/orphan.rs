//! Rescues whose tokens belong to no stored login, and those that are set aside for a later holder of the lease.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use codex_auth_platform::private_file::{self, Links};

use super::content::{RescueRecovery, StorageNote};
use super::error::Error;
use super::login_record::LoginRecord;
use super::login_recovery::UnfinishedExchange;
use super::rescue::{RESCUE_NAME, Rescue, aside_name};
use super::writer::Writer;
use crate::document::NewTokens;

/// A rescue whose tokens belong to no stored login. Its file stays until they are revoked and [`Writer::remove_orphan`]
/// is called.
#[derive(Debug)]
#[must_use = "its tokens must be revoked"]
pub struct OrphanRescue {
    /// Its content.
    pub content: OrphanContent,
    pub(super) path: PathBuf,
}

/// The content of an orphan rescue.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a caller must end every kind")]
pub enum OrphanContent {
    /// Tokens.
    Tokens(Box<Rescue>),
    /// A code of a killed login, for which the authority may have issued tokens.
    Exchange(UnfinishedExchange),
}

/// The content of the file of a rescue.
pub(super) enum RescueContent {
    Tokens(Box<Rescue>),
    Login(Box<LoginRecord>),
}

impl RescueContent {
    pub(super) fn item(&self) -> Option<&str> {
        match self {
            Self::Tokens(rescue) => rescue.item.as_deref(),
            Self::Login(record) => record.item.as_deref(),
        }
    }
}

impl Writer<'_> {
    /// Removes an orphan whose tokens are revoked.
    ///
    /// # Errors
    /// [`Error::File`]: it could not be removed.
    pub fn remove_orphan(&mut self, orphan: &OrphanRescue) -> Result<(), Error> {
        private_file::remove(&orphan.path, Links::Refuse)?;
        Ok(())
    }

    /// Saves `tokens`, which the authority has just issued for the code of `orphan`, in its place. Returns the orphan of
    /// the tokens; `None` if there is nothing to revoke.
    ///
    /// # Errors
    /// The tokens cannot be saved.
    pub fn save_exchanged_orphan(
        &mut self,
        orphan: &OrphanRescue,
        exchange: &UnfinishedExchange,
        tokens: NewTokens,
    ) -> Result<Option<OrphanRescue>, Error> {
        let saved = self.save_exchanged(&orphan.path, exchange, tokens)?;
        Ok(saved
            .map(|(rescue, path)| OrphanRescue { content: OrphanContent::Tokens(Box::new(rescue)), path }))
    }

    /// Renames an orphan whose tokens could not be revoked, to make room for a new rescue. A later holder of the lease
    /// tries again, after those that were set aside before.
    ///
    /// # Errors
    /// [`Error::File`]: it cannot be renamed.
    pub fn set_orphan_aside(&mut self, orphan: &OrphanRescue) -> Result<(), Error> {
        self.rename_aside(&orphan.path, "its tokens could not be revoked")
    }

    /// Renames the rescue at `path`, to make room for a new one, unless it was set aside before.
    pub(super) fn set_aside(&mut self, path: &Path, reason: &'static str) -> Result<(), Error> {
        if path.file_name() == Some(OsStr::new(RESCUE_NAME)) {
            self.rename_aside(path, reason)
        } else {
            Ok(())
        }
    }

    fn rename_aside(&mut self, path: &Path, reason: &'static str) -> Result<(), Error> {
        let name = aside_name();
        private_file::rename(path, OsStr::new(&name))?;
        self.recoveries.push(RescueRecovery::SetAside);
        self.notes.push(StorageNote::RescueSetAside { path: path.with_file_name(name), reason });
        Ok(())
    }
}
