//! The `config.toml` of a home: read as it is, edited with its comments and layout kept.

use std::fmt;
use std::path::Path;

use codex_auth_platform::private_file::{self, Links, MountPolicy};

use super::{Error, Lease};
use crate::config::{self, Config, ModelProvider, Overrides, ProviderCommand, StoreSelection, StoreSetting};
use crate::home::Home;

const LIMIT: u64 = 4 * 1024 * 1024;

/// The configuration file of a home, as text and as what it means to us.
///
/// It is shared with Codex and with its user, who may keep it in a dotfiles folder: a symbolic link is followed, and the
/// link stays. Only the home's own file counts, never one of the working folder.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct SettingsFile {
    /// What it says.
    pub config: Config,
    text: String,
    is_there: bool,
}

impl SettingsFile {
    /// Reads the file; none is an empty one.
    ///
    /// # Errors
    /// - [`Error::File`]: it is there and cannot be read.
    /// - [`Error::Config`]: it cannot be understood. None of it is in the message.
    pub fn read(home: &Home) -> Result<Self, Error> {
        let path = home.config();
        let Some(contents) = private_file::read(&path, LIMIT, Links::Follow)? else {
            return Ok(Self::default());
        };
        let text = match std::str::from_utf8(&contents.bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => {
                let source = config::Error::Toml { line: 1, problem: "it is not UTF-8".to_owned() };
                return Err(Error::Config { path, source });
            }
        };
        let config = Config::parse(&text).map_err(|source| Error::Config { path, source })?;
        Ok(Self { config, text, is_there: true })
    }

    /// The same with `overrides` counting before the file, which stays as it is.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn under(self, overrides: &Overrides, home: &Home) -> Result<Self, Error> {
        let config = overrides.over(&self.text);
        let config = config.map_err(|source| Error::Config { path: home.config(), source })?;
        Ok(Self { config, ..self })
    }

    /// The command that gives tokens to the model provider `name`.
    ///
    /// # Errors
    /// As [`config::provider_command`].
    pub fn provider_command(&self, name: &str) -> Result<ProviderCommand, config::Error> {
        config::provider_command(&self.text, name)
    }

    /// The model provider that is used.
    ///
    /// # Errors
    /// As [`config::model_provider`].
    pub fn model_provider(&self) -> Result<ModelProvider, config::Error> {
        config::model_provider(&self.text)
    }

    /// Sets the store, in Codex's words.
    ///
    /// # Errors
    /// [`Error::File`]: the file cannot be written; it is as it was.
    pub(super) fn set_store(&mut self, lease: &Lease, selection: StoreSelection) -> Result<(), Error> {
        self.edit(lease, |text| Config::with_store(text, selection)).map(drop)
    }

    /// Removes the `auth_token` of old builds.
    ///
    /// # Errors
    /// [`Error::File`]: the file cannot be written; it is as it was.
    pub(super) fn remove_legacy_token(&mut self, lease: &Lease) -> Result<(), Error> {
        for note in self.edit(lease, Config::without_legacy_token)? {
            // The backup of a file that was written in place holds the token.
            if let private_file::ReplacementNote::WrittenInPlace { backup: Some(path) } = note {
                private_file::remove(&path, Links::Refuse)?;
            }
        }
        Ok(())
    }

    /// Puts the file back to what it was as `before`. Where it was edited since, only the store is set back.
    ///
    /// # Errors
    /// [`Error::File`]: the file cannot be written.
    pub(super) fn restore(&mut self, lease: &Lease, before: &Self) -> Result<(), Error> {
        if before.text == self.text {
            return Ok(());
        }
        let path = lease.home().config();
        match before.config.store {
            _ if Self::read(lease.home())?.text == self.text => {
                if before.is_there {
                    private_file::replace(
                        &path,
                        before.text.as_bytes(),
                        Links::Follow,
                        MountPolicy::InPlace,
                    )?;
                } else {
                    private_file::remove(&path, Links::Follow)?;
                }
                self.clone_from(before);
                Ok(())
            }
            StoreSetting::Selected(selection) => self.set_store(lease, selection),
            _ => Ok(()),
        }
    }

    /// Whether the file of `home` could be written now. Nothing is changed.
    ///
    /// # Errors
    /// [`Error::File`]: why not.
    pub fn check_writable(&self, home: &Home) -> Result<(), Error> {
        check_in_place(&home.config())
    }

    fn edit(
        &mut self,
        lease: &Lease,
        edit: impl Fn(&str) -> Result<String, config::Error>,
    ) -> Result<Vec<private_file::ReplacementNote>, Error> {
        let path = lease.home().config();
        // What is on disk now, not what was there when the place was opened: others edit this file too.
        let fresh = Self::read(lease.home())?;
        let failed = |source| Error::Config { path: path.clone(), source };
        let text = edit(&fresh.text).map_err(failed)?;
        let config = Config::parse(&text).map_err(failed)?;
        let written = match text == fresh.text {
            true => Ok(Vec::new()),
            false => private_file::replace(&path, text.as_bytes(), Links::Follow, MountPolicy::InPlace)
                .map(|replaced| replaced.notes),
        };
        // If only its durability is in doubt, the file has changed, and may have to be restored.
        if matches!(written, Ok(_) | Err(private_file::Error::Unsynced { .. })) {
            *self = Self { config, text, is_there: true };
        }
        Ok(written?)
    }
}

/// Whether a file that may be a mount point could be written: one that is would be written in place.
pub(super) fn check_in_place(path: &Path) -> Result<(), Error> {
    match private_file::may_replace(path, Links::Follow) {
        Err(private_file::Error::MountPoint { .. }) => {
            drop(private_file::Replacement::reserve(path, 0, Links::Follow, MountPolicy::InPlace)?);
            Ok(())
        }
        checked => Ok(checked?),
    }
}

impl fmt::Debug for SettingsFile {
    /// Without the text, which may hold secrets of others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("config", &self.config).finish_non_exhaustive()
    }
}
