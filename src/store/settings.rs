//! Reading and editing the `config.toml` of a home.

use std::fmt;
use std::path::{Path, PathBuf};

use codex_auth_platform::private_file::{self, FileMode, Links, MountPolicy};

use super::error::Error;
use super::lease::Lease;
use crate::config::{
    self, Config, ModelProvider, Overrides, ProviderCommand, STORE_KEY, StoreSelection, StoreSetting,
};
use crate::home::Home;

const MAX_CONFIG_BYTES: u64 = 4 * 1024 * 1024;

/// A change of the store in `config.toml`. `Display` says what was done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettingChange {
    /// The file.
    pub path: PathBuf,
    /// The value before, as Codex spells it.
    pub before: Option<&'static str>,
    /// The value after; `None` if the key was removed.
    pub after: Option<&'static str>,
    /// Whether the file was created for it.
    pub created: bool,
    /// The file's mode before, if it could not be kept and is 0600 now.
    pub former_mode: Option<u32>,
}

impl fmt::Display for SettingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.after {
            Some(value) => write!(f, "set {STORE_KEY} = \"{value}\" in {}", self.path.display())?,
            None => write!(f, "removed {STORE_KEY} from {}", self.path.display())?,
        }
        match self.former_mode {
            Some(mode) => write!(f, ", whose mode was {mode:03o} and is 600 now"),
            None => Ok(()),
        }
    }
}

/// The configuration file of a home, as text and parsed.
///
/// Codex and the user edit it too. Edits keep comments and layout. A symbolic link, for example into a dotfiles folder,
/// is followed and stays. A `config.toml` in the working folder is never read.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct SettingsFile {
    /// The parsed configuration.
    pub config: Config,
    text: String,
    exists: bool,
}

impl SettingsFile {
    /// Reads the file; a missing one counts as empty.
    ///
    /// # Errors
    /// - [`Error::File`]: it exists and cannot be read.
    /// - [`Error::Config`]: it cannot be parsed. The message contains none of the file's content.
    pub fn read(home: &Home) -> Result<Self, Error> {
        let path = home.config();
        let Some(contents) = private_file::read(&path, MAX_CONFIG_BYTES, Links::Follow)? else {
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
        Ok(Self { config, text, exists: true })
    }

    /// Applies `overrides` on top of the file's settings; the file stays unchanged.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn with_overrides(self, overrides: &Overrides, home: &Home) -> Result<Self, Error> {
        let config = overrides.apply_to(&self.text);
        let config = config.map_err(|source| Error::Config { path: home.config(), source })?;
        Ok(Self { config, ..self })
    }

    /// Returns the token command of the model provider `name`.
    ///
    /// # Errors
    /// As [`config::provider_command`].
    pub fn provider_command(&self, name: &str) -> Result<ProviderCommand, config::Error> {
        config::provider_command(&self.text, name)
    }

    /// Returns the selected model provider.
    ///
    /// # Errors
    /// As [`config::model_provider`].
    pub fn model_provider(&self) -> Result<ModelProvider, config::Error> {
        config::model_provider(&self.text)
    }

    /// Sets `cli_auth_credentials_store` to `selection`, spelled as Codex expects it.
    ///
    /// # Errors
    /// [`Error::File`]: the file cannot be written; it is unchanged.
    pub(super) fn set_store(
        &mut self,
        lease: &Lease,
        selection: StoreSelection,
    ) -> Result<Option<SettingChange>, Error> {
        let before = Self::read(lease.home())?;
        let notes = self.edit(lease, |text| Config::with_store(text, selection))?;
        Ok(self.change_since(&before, lease.home(), &notes))
    }

    /// Restores the value that was replaced by `set`, or removes the key or the file that was created for it. Does
    /// nothing if the value is not `set` any more.
    ///
    /// # Errors
    /// [`Error::File`]: the file cannot be written; it is unchanged.
    pub(super) fn unset_store(
        &mut self,
        lease: &Lease,
        set: &str,
        replaced: Option<&str>,
        created: bool,
    ) -> Result<Option<SettingChange>, Error> {
        let before = Self::read(lease.home())?;
        if before.config.store.codex_name() != Some(set) {
            return Ok(None);
        }
        let notes = self.edit(lease, |text| match replaced {
            Some(value) => Config::with_store_value(text, value),
            None => Config::without_store(text),
        })?;
        if created && self.text.trim().is_empty() {
            private_file::remove(&lease.home().config(), Links::Follow)?;
            *self = Self::default();
        }
        Ok(self.change_since(&before, lease.home(), &notes))
    }

    /// Returns the change that selecting `selection` would make.
    pub(super) fn planned_change(&self, selection: StoreSelection, home: &Home) -> SettingChange {
        SettingChange {
            path: home.config(),
            before: self.config.store.codex_name(),
            after: Some(selection.codex_name()),
            created: !self.exists,
            former_mode: None,
        }
    }

    fn change_since(
        &self,
        before: &Self,
        home: &Home,
        notes: &[private_file::ReplacementNote],
    ) -> Option<SettingChange> {
        let former_mode = |note: &private_file::ReplacementNote| match note {
            private_file::ReplacementNote::ModeRepaired { from } => Some(*from),
            _ => None,
        };
        (self.text != before.text).then(|| SettingChange {
            path: home.config(),
            before: before.config.store.codex_name(),
            after: self.config.store.codex_name(),
            created: !before.exists,
            former_mode: notes.iter().find_map(former_mode),
        })
    }

    /// Removes the `auth_token` of old builds.
    ///
    /// # Errors
    /// [`Error::File`]: the file cannot be written; it is unchanged.
    pub(super) fn remove_legacy_token(&mut self, lease: &Lease) -> Result<(), Error> {
        for note in self.edit(lease, Config::without_legacy_token)? {
            // A file that is written in place leaves a backup, which still holds the token.
            if let private_file::ReplacementNote::WrittenInPlace { backup: Some(path) } = note {
                private_file::remove(&path, Links::Refuse)?;
            }
        }
        Ok(())
    }

    /// Restores the file to `before`. If another program has edited it since, restores only the store setting.
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
                if before.exists {
                    rewrite(&path, &before.text)?;
                } else {
                    private_file::remove(&path, Links::Follow)?;
                }
                self.clone_from(before);
                Ok(())
            }
            StoreSetting::Selected(selection) => self.set_store(lease, selection).map(drop),
            _ => Ok(()),
        }
    }

    /// Checks whether the file of `home` could be written now. Changes nothing.
    ///
    /// # Errors
    /// [`Error::File`]: it could not.
    pub fn check_writable(&self, home: &Home) -> Result<(), Error> {
        check_in_place(&home.config())
    }

    fn edit(
        &mut self,
        lease: &Lease,
        edit: impl Fn(&str) -> Result<String, config::Error>,
    ) -> Result<Vec<private_file::ReplacementNote>, Error> {
        let path = lease.home().config();
        // Read again, because other programs edit this file too.
        let fresh = Self::read(lease.home())?;
        let failed = |source| Error::Config { path: path.clone(), source };
        let text = edit(&fresh.text).map_err(failed)?;
        let config = Config::parse(&text).map_err(failed)?;
        let written = match text == fresh.text {
            true => Ok(Vec::new()),
            false => rewrite(&path, &text),
        };
        // After a failed sync the file has changed all the same, and may have to be restored.
        if matches!(written, Ok(_) | Err(private_file::Error::Unsynced { .. })) {
            *self = Self { config, text, exists: true };
        }
        Ok(written?)
    }
}

/// Replaces the file, which is no secret and keeps its mode.
fn rewrite(path: &Path, text: &str) -> Result<Vec<private_file::ReplacementNote>, private_file::Error> {
    private_file::replace(path, text.as_bytes(), Links::Follow, MountPolicy::InPlace, FileMode::Kept)
}

/// Adds the settings of a profile of `home`, in `NAME.config.toml`, to `overrides`, which take precedence.
///
/// # Errors
/// - [`Error::File`]: the file exists and cannot be read.
/// - [`Error::Config`]: it cannot be parsed.
pub fn over_profile(overrides: &Overrides, name: &str, home: &Home) -> Result<Overrides, Error> {
    // A name is no path.
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    let path = home.path().join(format!("{name}.config.toml"));
    let contents = match name.chars().all(is_name) {
        true => private_file::read(&path, MAX_CONFIG_BYTES, Links::Follow)?,
        false => None,
    };
    let Some(contents) = contents else { return Ok(overrides.clone()) };
    let text = String::from_utf8_lossy(&contents.bytes);
    overrides.over_profile(&text).map_err(|source| Error::Config { path, source })
}

/// Checks whether a file could be written, in place if it is a mount point.
pub(super) fn check_in_place(path: &Path) -> Result<(), Error> {
    match private_file::check_can_replace(path, Links::Follow) {
        Err(private_file::Error::MountPoint { .. }) => {
            drop(private_file::Replacement::reserve(path, 0, Links::Follow, MountPolicy::InPlace)?);
            Ok(())
        }
        checked => Ok(checked?),
    }
}

impl fmt::Debug for SettingsFile {
    /// Omits the text, which may hold secrets of other programs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettingsFile").field("config", &self.config).finish_non_exhaustive()
    }
}
