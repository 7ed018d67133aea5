//! Every store of a place together: where the login is, and where a new one goes, always with the reason.

use std::fmt;
use std::time::Duration;

use codex_auth_platform::keychain::{Client, LastModified, Sharing};
use codex_auth_platform::private_file::{self, DirectoryState};
use codex_auth_platform::search_path;

use super::{
    AutoStore, EphemeralStore, Error, FileStore, KeychainStore, Lease, Location, Note, Settings, State,
    Store, Stored,
};
use crate::config::{Environment, LegacyToken, Overrides, StoreKind};
use crate::home::Home;

/// All the stores of one home, over one keychain connection, with what the user has set.
#[derive(Clone, Debug)]
pub struct Stores {
    home: Home,
    settings: Settings,
    overrides: Overrides,
    client: Client,
    ephemeral: EphemeralStore,
    keychain_timeout: Duration,
    other_codex: OtherCodex,
}

/// Whether OpenAI's Codex is installed here too, as far as the search path tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OtherCodex {
    /// No other `codex` is on the search path.
    Absent,
    /// There is one.
    Installed,
}

/// Where the login was looked for and what was there.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Found {
    /// The login, if there is one.
    pub stored: Option<Stored>,
    /// Why it was looked for there.
    pub because: Because,
    /// What a person should hear about the home; what concerns the document is in [`Stored::notes`].
    pub notes: Vec<Note>,
}

/// Where a new login goes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Choice {
    /// The store.
    pub kind: StoreKind,
    /// Why that one.
    pub because: Because,
}

/// Why a store was chosen. `Display` completes "chosen because …".
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Because {
    /// The caller asked for it.
    Asked,
    /// `config.toml` says so.
    Configured,
    /// A login is there already.
    Inhabited,
    /// The keychain cannot be used.
    KeychainUnusable(String),
    /// The keychain can be used, and whoever else uses this login finds it there.
    KeychainUsable,
    /// Codex is installed and could not read a keychain item of ours.
    SharedWithCodex,
    /// `state.json` says so.
    Recorded,
    /// Nothing says otherwise, and Codex keeps its login in the file.
    Default,
}

impl fmt::Display for Because {
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
    /// As [`Settings::read`].
    pub fn open(home: Home, environment: &Environment) -> Result<Self, Error> {
        Self::with_keychain(home, environment, Client::system())
    }

    /// As [`Self::open`], over a keychain of the caller's choice.
    ///
    /// # Errors
    /// As [`Settings::read`].
    pub fn with_keychain(home: Home, environment: &Environment, client: Client) -> Result<Self, Error> {
        let settings = Settings::read(&home)?.under(&environment.overrides, &home)?;
        Ok(Self {
            home,
            settings,
            overrides: environment.overrides.clone(),
            other_codex: other_codex(environment, client.sharing()),
            client,
            ephemeral: EphemeralStore::new(),
            keychain_timeout: environment.keychain_timeout,
        })
    }

    /// The place.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// What `config.toml` says.
    #[must_use]
    pub fn settings(&self) -> &Settings {
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
        FileStore::new(self.home.clone())
    }

    /// The keychain store.
    #[must_use]
    pub fn keychain(&self) -> KeychainStore {
        KeychainStore::new(&self.home, self.client.clone())
    }

    /// The store of `kind`; `recorded` is the store that `state.json` names.
    #[must_use]
    pub fn store(&self, kind: StoreKind, recorded: Option<StoreKind>) -> Box<dyn Store> {
        match kind {
            StoreKind::Auto => Box::new(AutoStore::new(self.file(), self.keychain(), recorded)),
            StoreKind::Ephemeral => Box::new(self.ephemeral.clone()),
            StoreKind::File => Box::new(self.file()),
            StoreKind::Keychain => Box::new(self.keychain()),
        }
    }

    /// Whether nothing was ever kept here: there is not even a folder, and nothing has to be made to log out.
    ///
    /// # Errors
    /// [`Error::File`]: the folder cannot be looked at.
    pub fn is_untouched(&self) -> Result<bool, Error> {
        Ok(matches!(private_file::directory(self.home.path())?, DirectoryState::Missing))
    }

    /// What the store of `kind` is called for people.
    #[must_use]
    pub fn location(&self, kind: StoreKind) -> Location {
        match kind {
            StoreKind::Keychain => self.keychain().location(),
            StoreKind::Ephemeral => Location::Memory,
            _ => Location::File(self.home.document()),
        }
    }

    /// The same stores seen under `lease`, whose place has its canonical name, and with the configuration as it is now.
    ///
    /// # Errors
    /// As [`Settings::read`].
    pub fn under(&self, lease: &Lease) -> Result<Self, Error> {
        let home = lease.home().clone();
        let settings = Settings::read(&home)?.under(&self.overrides, &home)?;
        Ok(Self { home, settings, ..self.clone() })
    }

    /// Whether the login is, or would be looked for, in the keychain.
    #[must_use]
    pub fn uses_keychain(&self) -> bool {
        match self.settings.config.store {
            Some(kind) => matches!(kind, StoreKind::Keychain | StoreKind::Auto),
            None => State::read(&self.home).is_ok_and(|(state, _)| state.store == Some(StoreKind::Keychain)),
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
    /// The login is, or may be, in a store that cannot be looked into. That is never "not logged in".
    pub fn find(&self) -> Result<Found, Error> {
        let mut notes = self.home_notes();
        let (kind, because) = match self.settings.config.store {
            Some(kind) => (kind, Because::Configured),
            None => {
                let recorded = self.recorded(&mut notes)?;
                match recorded {
                    // Only ever recorded where Codex keeps to the file, so there may be a copy of Codex's as well.
                    Some(StoreKind::Keychain) => (StoreKind::Auto, Because::Recorded),
                    _ => (StoreKind::File, Because::Default),
                }
            }
        };
        if kind == StoreKind::Ephemeral {
            return Ok(Found { stored: None, because, notes });
        }
        let recorded = match kind {
            StoreKind::Auto => self.recorded(&mut notes)?,
            _ => None,
        };
        if let Some(stored) = self.store(kind, recorded).load(self.keychain_timeout)? {
            return Ok(self.found(stored, because, notes));
        }
        self.follow(kind, because, notes)
    }

    /// Looks again after finding nothing: in the store that `state.json` names by now, or, where nothing was ever set or
    /// recorded, in the keychain.
    fn follow(&self, kind: StoreKind, because: Because, mut notes: Vec<Note>) -> Result<Found, Error> {
        let recorded = self.recorded(&mut notes)?;
        let elsewhere = match (kind, recorded) {
            (StoreKind::File, Some(StoreKind::Keychain)) | (StoreKind::Keychain, Some(StoreKind::File)) => {
                recorded
            }
            (StoreKind::File, None) if self.settings.config.store.is_none() => Some(StoreKind::Keychain),
            _ => None,
        };
        let Some(elsewhere) = elsewhere else { return Ok(Found { stored: None, because, notes }) };
        match self.store(elsewhere, None).load(self.keychain_timeout) {
            Ok(Some(stored)) => Ok(self.found(stored, Because::Inhabited, notes)),
            Ok(None) => Ok(Found { stored: None, because, notes }),
            Err(error) if recorded.is_some() => Err(error),
            Err(error) => {
                if error.hides_a_login() {
                    notes.push(Note::KeychainPassedOver { reason: error.to_string() });
                }
                Ok(Found { stored: None, because, notes })
            }
        }
    }

    /// Where a new login goes (`--store`, else the configuration, else where a login is, else the keychain if that is
    /// usable and whoever shares the login finds it there, else the file).
    ///
    /// # Errors
    /// - [`Error::EphemeralConfigured`]: a program cannot keep a login in memory.
    /// - As [`Self::find`].
    pub fn choose(&self, asked: Option<StoreKind>) -> Result<Choice, Error> {
        if let Some(kind) = asked {
            return Ok(Choice { kind, because: Because::Asked });
        }
        match self.settings.config.store {
            Some(StoreKind::Ephemeral) => return Err(Error::EphemeralConfigured),
            Some(kind) => return Ok(Choice { kind, because: Because::Configured }),
            None => {}
        }
        // Something that is no document is no login to stay with, but it shows where one was kept.
        match self.find() {
            Ok(Found { stored: Some(stored), .. }) => {
                return Ok(Choice { kind: stored.location.kind(), because: Because::Inhabited });
            }
            Err(Error::Document { location, .. }) => {
                return Ok(Choice { kind: location.kind(), because: Because::Inhabited });
            }
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        Ok(match (self.client.sharing(), self.other_codex) {
            (Sharing::OwnerOnly, OtherCodex::Installed) => {
                Choice { kind: StoreKind::File, because: Because::SharedWithCodex }
            }
            _ => match self.keychain().check(self.keychain_timeout) {
                Ok(()) => Choice { kind: StoreKind::Keychain, because: Because::KeychainUsable },
                Err(error) => {
                    Choice { kind: StoreKind::File, because: Because::KeychainUnusable(error.to_string()) }
                }
            },
        })
    }

    /// Whether a login could be kept by `choice` as things are, so that nobody is asked for one in vain. Nothing is written.
    ///
    /// # Errors
    /// - [`Error::ReadOnlyPlace`]: the folder cannot be written to.
    /// - [`Error::Keychain`]: the keychain is chosen and cannot be used.
    pub fn check(&self, choice: &Choice) -> Result<(), Error> {
        let home = self.home.path();
        if private_file::directory(home)? == DirectoryState::ReadOnly {
            return Err(Error::ReadOnlyHome { path: home.to_owned() });
        }
        match choice.kind {
            StoreKind::Keychain => self.keychain().check(self.keychain_timeout),
            _ => Ok(()),
        }
    }

    /// Where the automatic store puts a new login: in the keychain if that can be used, else in the file with the reason.
    #[must_use]
    pub fn automatic(&self) -> (StoreKind, Option<Note>) {
        match self.keychain().check(self.keychain_timeout) {
            Ok(()) => (StoreKind::Keychain, None),
            Err(error) => (StoreKind::File, Some(Note::KeychainPassedOver { reason: error.to_string() })),
        }
    }

    /// Makes `kind` the store that is looked in from now on: in Codex's words in `config.toml`, unless that would send
    /// a Codex to an item it may not touch; then our record alone has it. The file needs no word where none stands.
    ///
    /// # Errors
    /// As [`Settings::set_store`].
    pub fn settle(&mut self, lease: &Lease, kind: StoreKind) -> Result<(), Error> {
        let ours_alone = self.client.sharing() == Sharing::OwnerOnly
            && self.other_codex == OtherCodex::Installed
            && kind == StoreKind::Keychain;
        let kind = if ours_alone { StoreKind::File } else { kind };
        match (kind, self.settings.config.store) {
            (StoreKind::File, None) => Ok(()),
            (kind, Some(set)) if kind == set => Ok(()),
            (kind, _) => self.settings.set_store(lease, kind),
        }
    }

    /// Removes what old builds left in `config.toml`.
    ///
    /// # Errors
    /// As [`Settings::remove_legacy_token`].
    pub fn remove_legacy_token(&mut self, lease: &Lease) -> Result<LegacyToken, Error> {
        let before = self.settings.config.legacy_token;
        if before == LegacyToken::Present {
            self.settings.remove_legacy_token(lease)?;
        }
        Ok(before)
    }

    fn recorded(&self, notes: &mut Vec<Note>) -> Result<Option<StoreKind>, Error> {
        let (state, note) = State::read(&self.home)?;
        notes.extend(note.filter(|note| !notes.contains(note)));
        Ok(state.store)
    }

    fn found(&self, stored: Stored, because: Because, mut notes: Vec<Note>) -> Found {
        let found = stored.location.kind();
        let configured = self.settings.config.store.unwrap_or(StoreKind::File);
        let shared = self.client.sharing() == Sharing::AnyProgram || found == StoreKind::File;
        if shared && configured != StoreKind::Auto && configured != found {
            notes.push(Note::Misplaced { found, configured });
        }
        Found { stored: Some(stored), because, notes }
    }

    fn home_notes(&self) -> Vec<Note> {
        match self.settings.config.legacy_token {
            LegacyToken::Present => vec![Note::LegacyToken { path: self.home.config() }],
            LegacyToken::Absent => Vec::new(),
        }
    }
}

/// Looks on the search path only where the answer matters: where any program may rewrite an item, Codex shares ours.
fn other_codex(environment: &Environment, sharing: Sharing) -> OtherCodex {
    match sharing {
        Sharing::OwnerOnly if !search_path::programs("codex", &environment.path).is_empty() => {
            OtherCodex::Installed
        }
        _ => OtherCodex::Absent,
    }
}
