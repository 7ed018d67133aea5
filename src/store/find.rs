//! The stores of a home, and finding the login in them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use codex_auth_platform::keychain::{self, Client, ItemSharing, LastModified};
use zeroize::Zeroizing;

use super::Store;
use super::content::{ChoiceReason, DocumentLocation, FindReport, StorageNote, StoredDocument};
use super::encrypted::encrypted_login;
use super::error::Error;
use super::file::FileStore;
use super::keychain::KeychainStore;
use super::lease::Lease;
use super::locate::DocumentTarget;
use super::preference::preferred_store;
use super::settings::SettingsFile;
use super::state::HomeState;
use crate::config::{
    Environment, HistorySetting, LegacyToken, Overrides, StoreKind, StoreSelection, StoreSetting,
};
use crate::home::Home;

/// The largest file that is read raw, although it is too large for a document.
const MAX_RAW_BYTES: u64 = 16 * 1024 * 1024;

/// Both stores of one home, with one keychain connection and the user's settings.
#[derive(Clone, Debug)]
pub struct Stores {
    pub(super) home: Home,
    pub(super) settings: SettingsFile,
    broken_config: BrokenConfig,
    config_error: Option<String>,
    overrides: Overrides,
    pub(super) client: Client,
    pinned: Option<DocumentTarget>,
    timeout: Duration,
    history: HistorySetting,
    pub(super) search_path: OsString,
}

/// What to do if `config.toml` cannot be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BrokenConfig {
    Fail,
    Ignore,
}

impl BrokenConfig {
    /// Reads the settings of `home`, and returns the error that was ignored, if any.
    fn read(self, home: &Home, overrides: &Overrides) -> Result<(SettingsFile, Option<String>), Error> {
        let settings = SettingsFile::read(home).and_then(|settings| settings.with_overrides(overrides, home));
        match settings {
            Err(error @ Error::Config { .. }) if self == Self::Ignore => {
                Ok((SettingsFile::default(), Some(error.to_string())))
            }
            settings => Ok((settings?, None)),
        }
    }
}

impl Stores {
    /// Reads the configuration of `home`, without reading a store yet.
    ///
    /// # Errors
    /// As [`SettingsFile::read`].
    pub fn open(home: Home, environment: &Environment) -> Result<Self, Error> {
        Self::with_keychain(home, environment, Client::system())
    }

    /// As [`Self::open`], with the caller's keychain client.
    ///
    /// # Errors
    /// As [`SettingsFile::read`].
    pub fn with_keychain(home: Home, environment: &Environment, client: Client) -> Result<Self, Error> {
        Self::with_config(home, environment, client, BrokenConfig::Fail)
    }

    /// As [`Self::with_keychain`], for a logout: a `config.toml` that cannot be parsed counts as empty, because it must not
    /// keep a login on the machine. See [`Self::config_error`].
    ///
    /// # Errors
    /// [`Error::File`]: the file exists and cannot be read.
    pub fn open_for_logout(home: Home, environment: &Environment, client: Client) -> Result<Self, Error> {
        Self::with_config(home, environment, client, BrokenConfig::Ignore)
    }

    fn with_config(
        home: Home,
        environment: &Environment,
        client: Client,
        broken_config: BrokenConfig,
    ) -> Result<Self, Error> {
        let (settings, config_error) = broken_config.read(&home, &environment.overrides)?;
        Ok(Self {
            home,
            settings,
            broken_config,
            config_error,
            overrides: environment.overrides.clone(),
            client,
            pinned: None,
            timeout: environment.keychain_timeout,
            history: environment.history,
            search_path: environment.path.clone(),
        })
    }

    /// Returns the home.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Returns why `config.toml` counts as empty, if it could not be parsed.
    #[must_use]
    pub fn config_error(&self) -> Option<&str> {
        self.config_error.as_deref()
    }

    /// Returns the settings of `config.toml` with the caller's overrides.
    #[must_use]
    pub fn settings(&self) -> &SettingsFile {
        &self.settings
    }

    /// Returns whether the events of the login are recorded.
    #[must_use]
    pub fn history_setting(&self) -> HistorySetting {
        self.history
    }

    /// Returns the time limit of one store call outside of a commit.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns the file store.
    #[must_use]
    pub fn file(&self) -> FileStore {
        FileStore::new(self.home.clone(), self.pinned.clone())
    }

    /// Returns the keychain store.
    #[must_use]
    pub fn keychain(&self) -> KeychainStore {
        KeychainStore::new(&self.home, self.client.clone())
    }

    /// Returns the store of `kind`.
    #[must_use]
    pub fn store(&self, kind: StoreKind) -> Box<dyn Store> {
        match kind {
            StoreKind::File => Box::new(self.file()),
            StoreKind::Keychain => Box::new(self.keychain()),
        }
    }

    /// Reads the bytes of the document's file, also if they are not a document or larger than one.
    pub(crate) fn raw_file(&self) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        Ok(self.file().bytes(MAX_RAW_BYTES)?.map(|contents| contents.bytes))
    }

    /// Returns the location that the store of `kind` has in messages.
    #[must_use]
    pub fn location(&self, kind: StoreKind) -> DocumentLocation {
        match kind {
            StoreKind::Keychain => self.keychain().location(),
            StoreKind::File => DocumentLocation::File(self.home.document()),
        }
    }

    /// Reads the configuration again and pins the document to the file that the lease found.
    pub(super) fn under_lease(&self, lease: &Lease) -> Result<Self, Error> {
        let home = lease.home().clone();
        let (settings, config_error) = self.broken_config.read(&home, &self.overrides)?;
        let pinned = Some(lease.target().clone());
        Ok(Self { home, settings, config_error, pinned, ..self.clone() })
    }

    /// Returns whether the login is, or would be looked up, in the keychain.
    #[must_use]
    pub fn uses_keychain(&self) -> bool {
        match self.settings.config.store {
            StoreSetting::Selected(selection) => selection != StoreSelection::File,
            _ => HomeState::read(&self.home).is_ok_and(|(state, _)| state.store == Some(StoreKind::Keychain)),
        }
    }

    /// Returns when the login's keychain item was last modified, in whole seconds. Fetches no secret.
    ///
    /// # Errors
    /// [`Error::Keychain`].
    pub fn keychain_modified(&self) -> Result<LastModified, Error> {
        self.keychain().modified(self.timeout)
    }

    /// Finds the login. Reads the configured store, or by default the file, as Codex does. If the login is not there,
    /// reads the store that `state.json` names, because another process may have moved the login meanwhile. Writes
    /// nothing.
    ///
    /// # Errors
    /// - The login is, or may be, in a store that cannot be read. Do not treat that as "not logged in".
    /// - [`Error::EncryptedLogin`]: Codex has encrypted a login, and no other one can be read.
    pub fn find(&self) -> Result<FindReport, Error> {
        let found = self.find_readable();
        let path = match (encrypted_login(&self.home), &found) {
            (Ok(Some(path)), _) => path,
            (Ok(None), _) => return found,
            // What keeps this process from the login may keep it from that file too.
            (Err(_), Err(_)) => return found,
            (Err(error), Ok(_)) => return Err(error),
        };
        match found {
            Ok(FindReport { stored: Some(stored), reason, mut notes }) => {
                notes.push(StorageNote::EncryptedCopy { path });
                Ok(FindReport { stored: Some(stored), reason, notes })
            }
            Ok(_) | Err(Error::Keychain(_)) => Err(Error::EncryptedLogin { path }),
            Err(error) => Err(error),
        }
    }

    /// Returns the file in which Codex has encrypted a login, if there is one.
    ///
    /// # Errors
    /// [`Error::File`]: the file cannot be read.
    pub fn encrypted_login(&self) -> Result<Option<PathBuf>, Error> {
        encrypted_login(&self.home)
    }

    /// Finds a login that Codex has not encrypted.
    pub(crate) fn find_readable(&self) -> Result<FindReport, Error> {
        let mut notes = self.config_notes();
        let (selection, reason) = match self.settings.config.store {
            StoreSetting::Selected(selection) => (selection, self.configured()),
            StoreSetting::Ephemeral => {
                if let Ok(Some(unread)) = self.file().load(self.timeout) {
                    notes.push(StorageNote::NotRead { location: unread.location, by: self.setting_source() });
                }
                return Ok(FindReport { stored: None, reason: self.configured(), notes });
            }
            StoreSetting::Unset => match self.recorded_kind(&mut notes)? {
                // The keychain is recorded without being configured only if Codex uses the file, so both may hold a
                // copy.
                Some(StoreKind::Keychain) => (StoreSelection::Auto, ChoiceReason::Recorded),
                _ => (StoreSelection::File, ChoiceReason::Default),
            },
        };
        let stored = match selection {
            StoreSelection::Auto => self.load_automatic(self.recorded_kind(&mut notes)?)?,
            StoreSelection::File => self.file().load(self.timeout)?,
            StoreSelection::Keychain => self.keychain().load(self.timeout)?,
        };
        match stored {
            Some(stored) => Ok(self.report(stored, reason, notes)),
            None => self.find_elsewhere(selection, reason, notes),
        }
    }

    /// Reads the keychain, then the file. Of two copies, returns the preferred one and removes none. If the keychain
    /// may hold the login and cannot be read, that is an error unless the file holds one.
    fn load_automatic(&self, recorded: Option<StoreKind>) -> Result<Option<StoredDocument>, Error> {
        match (self.keychain().load(self.timeout), self.file().load(self.timeout)) {
            (Ok(None), file) => file,
            (Ok(Some(keychain)), Ok(None)) => Ok(Some(keychain)),
            (Ok(Some(keychain)), Ok(Some(file))) => {
                let (kind, preference) = preferred_store(&keychain.document, &file.document, recorded);
                let (mut used, other) =
                    if kind == StoreKind::File { (file, keychain) } else { (keychain, file) };
                used.notes.push(StorageNote::OtherCopy { other: other.location, preference });
                Ok(Some(used))
            }
            (Ok(Some(mut keychain)), Err(error)) => {
                keychain.notes.push(StorageNote::OtherUnreadable { reason: error.to_string() });
                Ok(Some(keychain))
            }
            (Err(error), Ok(Some(mut file))) => {
                file.notes.push(StorageNote::KeychainSkipped { reason: error.to_string() });
                Ok(Some(file))
            }
            (Err(error), file @ (Ok(None) | Err(_))) if is_certainly_absent(&error, recorded) => file,
            (Err(error), _) => Err(error),
        }
    }

    /// Reads the other store after finding nothing: the store that `state.json` names by now, or the keychain if
    /// nothing was ever configured or recorded.
    fn find_elsewhere(
        &self,
        selection: StoreSelection,
        reason: ChoiceReason,
        mut notes: Vec<StorageNote>,
    ) -> Result<FindReport, Error> {
        let recorded = self.recorded_kind(&mut notes)?;
        let elsewhere = match (selection, recorded) {
            (StoreSelection::File, Some(StoreKind::Keychain))
            | (StoreSelection::Keychain, Some(StoreKind::File)) => recorded,
            (StoreSelection::File, None) if self.settings.config.store == StoreSetting::Unset => {
                Some(StoreKind::Keychain)
            }
            _ => None,
        };
        let Some(elsewhere) = elsewhere else {
            return Ok(FindReport { stored: None, reason, notes });
        };
        match self.store(elsewhere).load(self.timeout) {
            Ok(Some(stored)) => Ok(self.report(stored, ChoiceReason::LoginPresent, notes)),
            Ok(None) => Ok(FindReport { stored: None, reason, notes }),
            Err(error) if recorded.is_some() => Err(error),
            Err(error) => {
                if error.may_hide_login() {
                    notes.push(StorageNote::KeychainSkipped { reason: error.to_string() });
                }
                Ok(FindReport { stored: None, reason, notes })
            }
        }
    }

    fn recorded_kind(&self, notes: &mut Vec<StorageNote>) -> Result<Option<StoreKind>, Error> {
        let (state, note) = HomeState::read_at(&self.file().target()?.records())?;
        notes.extend(note.filter(|note| !notes.contains(note)));
        Ok(state.store)
    }

    fn report(
        &self,
        stored: StoredDocument,
        reason: ChoiceReason,
        mut notes: Vec<StorageNote>,
    ) -> FindReport {
        let found = stored.location.kind();
        let configured = self.settings.config.store.selection().unwrap_or(StoreSelection::File);
        let shared = self.client.sharing() == ItemSharing::AnyProgram || found == StoreKind::File;
        if shared && configured != StoreSelection::Auto && configured != found.into() {
            notes.push(StorageNote::Misplaced { found, configured, by: self.setting_source() });
        }
        FindReport { stored: Some(stored), reason, notes }
    }

    /// Returns the reason for the configured store.
    pub(super) fn configured(&self) -> ChoiceReason {
        match self.overrides.set_store() {
            true => ChoiceReason::Overridden,
            false => ChoiceReason::Configured,
        }
    }

    /// Returns what selects the store that Codex uses, for messages.
    pub(super) fn setting_source(&self) -> &'static str {
        match self.settings.config.store {
            _ if self.overrides.set_store() => "-c",
            StoreSetting::Unset => "the default",
            _ => "config.toml",
        }
    }

    /// What enables the encryption of Codex's login: the configuration file, or the command line.
    pub(super) fn encryption_source(&self) -> String {
        match self.overrides.set_encryption() {
            true => "the command line".to_owned(),
            false => self.home.config().display().to_string(),
        }
    }

    fn config_notes(&self) -> Vec<StorageNote> {
        match self.settings.config.legacy_token {
            LegacyToken::Present => vec![StorageNote::LegacyToken { path: self.home.config() }],
            LegacyToken::Absent => Vec::new(),
        }
    }
}

/// Returns whether this keychain error means that no login is in it: there is no keychain, and `state.json` does not
/// name it.
fn is_certainly_absent(error: &Error, recorded: Option<StoreKind>) -> bool {
    let absent = matches!(
        error,
        Error::Keychain(keychain::Error::Unavailable { .. } | keychain::Error::NotSetUp { .. })
    );
    absent && recorded != Some(StoreKind::Keychain)
}
