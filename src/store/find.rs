//! The stores of a home, and where among them the login is.

use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use codex_auth_platform::keychain::{self, Client, ItemSharing, LastModified};
use codex_auth_platform::private_file::{self, DirectoryState};
use zeroize::Zeroizing;

use super::preference::{self, RankedCopies};
use super::{
    DocumentLocation, DocumentTarget, Error, FileStore, HomeState, KeychainStore, Lease, SettingsFile,
    StorageNote, Store, StoredDocument, Writer,
};
use crate::config::{Environment, LegacyToken, Overrides, StoreKind, StoreSelection, StoreSetting};
use crate::home::Home;

/// The most that is read of a file that is too large for a document.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// Both stores of one home, over one keychain connection, with what the user has set.
#[derive(Clone, Debug)]
pub struct Stores {
    pub(super) home: Home,
    pub(super) settings: SettingsFile,
    overrides: Overrides,
    pub(super) client: Client,
    pub(super) pinned: Option<DocumentTarget>,
    keychain_timeout: Duration,
    pub(super) search_path: OsString,
}

/// Where the login was looked for and what was there.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FindReport {
    /// The login, if there is one.
    pub stored: Option<StoredDocument>,
    /// Why it was looked for there.
    pub because: ChoiceReason,
    /// What a person should hear about the home; what concerns the document is in [`StoredDocument::notes`].
    pub notes: Vec<StorageNote>,
}

/// Why a store was chosen. `Display` completes "chosen because …".
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChoiceReason {
    /// The caller asked for it.
    Asked,
    /// `config.toml` says so.
    Configured,
    /// A login is there already.
    Inhabited,
    /// The keychain cannot be used.
    KeychainUnusable(String),
    /// The keychain can be used, and other programs that use this login find it there.
    KeychainUsable,
    /// Codex is installed and could not read a keychain item of ours.
    SharedWithCodex,
    /// `state.json` says so.
    Recorded,
    /// Nothing says otherwise, and Codex keeps its login in the file.
    Default,
}

impl fmt::Display for ChoiceReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "you asked for it",
            Self::Configured => "config.toml says so",
            Self::Inhabited => "a login is there already",
            Self::KeychainUnusable(reason) => return write!(f, "the keychain cannot be used: {reason}"),
            Self::KeychainUsable => "the keychain can be used",
            Self::SharedWithCodex => "Codex could not share a keychain item",
            Self::Recorded => "the last change left it there",
            Self::Default => "nothing says otherwise",
        })
    }
}

impl Stores {
    /// Reads the configuration of `home`; no store is touched yet.
    ///
    /// # Errors
    /// As [`SettingsFile::read`].
    pub fn open(home: Home, environment: &Environment) -> Result<Self, Error> {
        Self::with_keychain(home, environment, Client::system())
    }

    /// As [`Self::open`], over a keychain of the caller's choice.
    ///
    /// # Errors
    /// As [`SettingsFile::read`].
    pub fn with_keychain(home: Home, environment: &Environment, client: Client) -> Result<Self, Error> {
        let settings = SettingsFile::read(&home)?.under(&environment.overrides, &home)?;
        Ok(Self {
            home,
            settings,
            overrides: environment.overrides.clone(),
            client,
            pinned: None,
            keychain_timeout: environment.keychain_timeout,
            search_path: environment.path.clone(),
        })
    }

    /// The home.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// What `config.toml` says.
    #[must_use]
    pub fn settings(&self) -> &SettingsFile {
        &self.settings
    }

    /// How long one call to a store may take outside of a commit.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.keychain_timeout
    }

    /// The file store.
    #[must_use]
    pub fn file(&self) -> FileStore {
        match &self.pinned {
            Some(target) => FileStore::pinned(self.home.clone(), target.clone()),
            None => FileStore::new(self.home.clone()),
        }
    }

    /// The keychain store.
    #[must_use]
    pub fn keychain(&self) -> KeychainStore {
        KeychainStore::new(&self.home, self.client.clone())
    }

    /// The store of `kind`.
    #[must_use]
    pub fn store(&self, kind: StoreKind) -> Box<dyn Store> {
        match kind {
            StoreKind::File => Box::new(self.file()),
            StoreKind::Keychain => Box::new(self.keychain()),
        }
    }

    /// The bytes of the file store, also where they are no document, or far more than one has.
    pub(crate) fn whole_file(&self) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        Ok(self.file().bytes(MOST_BYTES)?.map(|contents| contents.bytes))
    }

    /// Whether nothing was ever stored here: there is not even a folder.
    ///
    /// # Errors
    /// [`Error::File`]: the folder cannot be looked at.
    pub fn is_untouched(&self) -> Result<bool, Error> {
        Ok(matches!(private_file::directory(self.home.path())?, DirectoryState::Missing))
    }

    /// What the store of `kind` is called for people.
    #[must_use]
    pub fn location(&self, kind: StoreKind) -> DocumentLocation {
        match kind {
            StoreKind::Keychain => self.keychain().location(),
            StoreKind::File => DocumentLocation::File(self.home.document()),
        }
    }

    /// What may change the stores: under `lease`, with the configuration as it is now and the document's file as the lease
    /// found it.
    ///
    /// # Errors
    /// As [`SettingsFile::read`]; [`Error::File`]: `state.json` is there and cannot be read.
    pub fn writer<'lease>(&self, lease: &'lease Lease) -> Result<Writer<'lease>, Error> {
        let home = lease.home().clone();
        let settings = SettingsFile::read(&home)?.under(&self.overrides, &home)?;
        let pinned = Some(lease.target().clone());
        Writer::new(lease, Self { home, settings, pinned, ..self.clone() })
    }

    /// Whether the login is, or would be looked for, in the keychain.
    #[must_use]
    pub fn uses_keychain(&self) -> bool {
        match self.settings.config.store {
            StoreSetting::Selected(selection) => selection != StoreSelection::File,
            _ => HomeState::read(&self.home).is_ok_and(|(state, _)| state.store == Some(StoreKind::Keychain)),
        }
    }

    /// When the keychain item of the login was modified last, in whole seconds. Fetches no secret.
    ///
    /// # Errors
    /// [`Error::Keychain`].
    pub fn keychain_modified(&self) -> Result<LastModified, Error> {
        self.keychain().modified(self.keychain_timeout)
    }

    /// Finds the login. The configured store counts; without one, the file that Codex would use, and then what
    /// `state.json` names. A reader that finds nothing where it should be follows `state.json`, because another process
    /// may have moved the login meanwhile. Nothing is ever written.
    ///
    /// # Errors
    /// The login is, or may be, in a store that cannot be read. That is never "not logged in".
    pub fn find(&self) -> Result<FindReport, Error> {
        let mut notes = self.home_notes();
        let (selection, because) = match self.settings.config.store {
            StoreSetting::Selected(selection) => (selection, ChoiceReason::Configured),
            StoreSetting::Ephemeral => {
                if let Ok(Some(unread)) = self.file().load(self.keychain_timeout) {
                    notes.push(StorageNote::NotRead { location: unread.location });
                }
                return Ok(FindReport { stored: None, because: ChoiceReason::Configured, notes });
            }
            StoreSetting::Unset => match self.recorded(&mut notes)? {
                // Only ever recorded where Codex keeps to the file, so there may be a copy of Codex's as well.
                Some(StoreKind::Keychain) => (StoreSelection::Auto, ChoiceReason::Recorded),
                _ => (StoreSelection::File, ChoiceReason::Default),
            },
        };
        let stored = match selection {
            StoreSelection::Auto => {
                let recorded = self.recorded(&mut notes)?;
                self.load_automatic(recorded)?
            }
            StoreSelection::File => self.file().load(self.keychain_timeout)?,
            StoreSelection::Keychain => self.keychain().load(self.keychain_timeout)?,
        };
        match stored {
            Some(stored) => Ok(self.found(stored, because, notes)),
            None => self.follow(selection, because, notes),
        }
    }

    /// Reads the keychain, then the file. Of two copies the preferred one is returned and none is removed. A keychain that
    /// may hold the login and cannot be read is an error unless the file has one: "not logged in" would be a guess.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn load_automatic(&self, recorded: Option<StoreKind>) -> Result<Option<StoredDocument>, Error> {
        match (self.keychain().load(self.keychain_timeout), self.file().load(self.keychain_timeout)) {
            (Ok(None), file) => file,
            (Ok(Some(keychain)), Ok(None)) => Ok(Some(keychain)),
            (Ok(Some(keychain)), Ok(Some(file))) => {
                let RankedCopies { mut first, second, preference } =
                    preference::rank(keychain, file, recorded);
                first.notes.push(StorageNote::OtherCopy { other: second.location, preference });
                Ok(Some(first))
            }
            (Ok(Some(mut keychain)), Err(error)) => {
                keychain.notes.push(StorageNote::OtherUnreadable { reason: error.to_string() });
                Ok(Some(keychain))
            }
            (Err(error), Ok(Some(mut file))) => {
                file.notes.push(StorageNote::KeychainPassedOver { reason: error.to_string() });
                Ok(Some(file))
            }
            (Err(error), file @ (Ok(None) | Err(_))) if nothing_in(&error, recorded) => file,
            (Err(error), _) => Err(error),
        }
    }

    /// Looks again after finding nothing: in the store that `state.json` names by now, or, where nothing was ever set or
    /// recorded, in the keychain.
    fn follow(
        &self,
        selection: StoreSelection,
        because: ChoiceReason,
        mut notes: Vec<StorageNote>,
    ) -> Result<FindReport, Error> {
        let recorded = self.recorded(&mut notes)?;
        let elsewhere = match (selection, recorded) {
            (StoreSelection::File, Some(StoreKind::Keychain))
            | (StoreSelection::Keychain, Some(StoreKind::File)) => recorded,
            (StoreSelection::File, None) if self.settings.config.store == StoreSetting::Unset => {
                Some(StoreKind::Keychain)
            }
            _ => None,
        };
        let Some(elsewhere) = elsewhere else { return Ok(FindReport { stored: None, because, notes }) };
        match self.store(elsewhere).load(self.keychain_timeout) {
            Ok(Some(stored)) => Ok(self.found(stored, ChoiceReason::Inhabited, notes)),
            Ok(None) => Ok(FindReport { stored: None, because, notes }),
            Err(error) if recorded.is_some() => Err(error),
            Err(error) => {
                if error.hides_a_login() {
                    notes.push(StorageNote::KeychainPassedOver { reason: error.to_string() });
                }
                Ok(FindReport { stored: None, because, notes })
            }
        }
    }

    fn recorded(&self, notes: &mut Vec<StorageNote>) -> Result<Option<StoreKind>, Error> {
        let (state, note) = match &self.pinned {
            Some(target) => HomeState::read_at(&target.records())?,
            None => HomeState::read(&self.home)?,
        };
        notes.extend(note.filter(|note| !notes.contains(note)));
        Ok(state.store)
    }

    fn found(
        &self,
        stored: StoredDocument,
        because: ChoiceReason,
        mut notes: Vec<StorageNote>,
    ) -> FindReport {
        let found = stored.location.kind();
        let configured = self.settings.config.store.selection().unwrap_or(StoreSelection::File);
        let shared = self.client.sharing() == ItemSharing::AnyProgram || found == StoreKind::File;
        if shared && configured != StoreSelection::Auto && configured != found.into() {
            notes.push(StorageNote::Misplaced { found, configured });
        }
        FindReport { stored: Some(stored), because, notes }
    }

    fn home_notes(&self) -> Vec<StorageNote> {
        match self.settings.config.legacy_token {
            LegacyToken::Present => vec![StorageNote::LegacyToken { path: self.home.config() }],
            LegacyToken::Absent => Vec::new(),
        }
    }
}

/// Whether a keychain that fails like this holds nothing of ours: it is not there at all, and our record does not say
/// otherwise.
fn nothing_in(error: &Error, recorded: Option<StoreKind>) -> bool {
    let absent = matches!(
        error,
        Error::Keychain(keychain::Error::Unavailable { .. } | keychain::Error::NeverUnlocked { .. })
    );
    absent && recorded != Some(StoreKind::Keychain)
}
