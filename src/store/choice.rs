//! Choosing the store for a new login.

use std::sync::{Arc, Mutex};

use codex_auth_platform::keychain::ItemSharing;
use codex_auth_platform::private_file::{self, Links, MountPolicy, Replacement};
use codex_auth_platform::search_path;
use codex_auth_platform::sync::lock;

use super::Store as _;
use super::content::{ChoiceReason, FindReport, StorageNote};
use super::error::Error;
use super::find::Stores;
use super::lease::Lease;
use super::login_record::RESPONSE_BYTES;
use crate::config::{KeychainEncryption, StoreKind, StoreSelection, StoreSetting};

/// The store chosen for a new login.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreChoice {
    /// The selection; [`StoreSelection::Auto`] is resolved when the login is stored.
    pub selection: StoreSelection,
    /// Why it was chosen.
    pub reason: ChoiceReason,
}

/// What a login writes at most, apart from unusually large documents: `auth.json`, `state.json`, `config.toml`, the
/// rescue, and the response to the code.
const LOGIN_BYTES: u64 = 32 * 1024 + RESPONSE_BYTES;

/// Reserved disk space for a login, given back on drop. Clones share it.
#[derive(Clone, Debug)]
#[must_use = "the space is given back on drop"]
pub struct LoginSpace(Arc<Mutex<Option<Replacement>>>);

impl LoginSpace {
    /// Gives the space back, immediately before the login is stored.
    pub fn release(&self) {
        drop(lock(&self.0).take());
    }
}

impl Stores {
    /// Chooses the store for a new login: the `requested` one, else the configured one, else the one that already holds
    /// a login, else the keychain if it is usable and Codex can read the item there, else the file.
    ///
    /// # Errors
    /// - [`Error::EphemeralConfigured`]: the configuration asks to keep the login in memory only.
    /// - [`Error::EncryptedLogin`], [`Error::EncryptionConfigured`]: Codex would not read the login in the keychain.
    /// - As [`Self::find`].
    pub fn choose(&self, requested: Option<StoreSelection>) -> Result<StoreChoice, Error> {
        let (selection, reason) = match (requested, self.settings.config.store) {
            (Some(selection), _) => (selection, ChoiceReason::Requested),
            (None, StoreSetting::Ephemeral) => {
                return Err(Error::EphemeralConfigured { by: self.setting_source() });
            }
            (None, StoreSetting::Selected(selection)) => (selection, self.configured()),
            (None, StoreSetting::Unset) => self.best_store()?,
        };
        self.check_encryption(selection)?;
        Ok(StoreChoice { selection, reason })
    }

    /// Checks whether Codex would read a login that is stored as `selection`.
    pub(super) fn check_encryption(&self, selection: StoreSelection) -> Result<(), Error> {
        if selection == StoreSelection::File
            || self.settings.config.encryption == KeychainEncryption::Disabled
        {
            return Ok(());
        }
        Err(match self.encrypted_login()? {
            Some(path) => Error::EncryptedLogin { path },
            None => Error::EncryptionConfigured { by: self.encryption_source() },
        })
    }

    fn best_store(&self) -> Result<(StoreSelection, ChoiceReason), Error> {
        match self.find() {
            Ok(FindReport { stored: Some(stored), .. }) => {
                return Ok((stored.location.kind().into(), ChoiceReason::LoginPresent));
            }
            // Unparsable content is not a login, but it shows which store was used.
            Err(Error::Document { location, .. }) => {
                return Ok((location.kind().into(), ChoiceReason::LoginPresent));
            }
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        if self.is_codex_excluded() || self.settings.config.encryption == KeychainEncryption::Enabled {
            return Ok((StoreSelection::File, ChoiceReason::SharedWithCodex));
        }
        Ok(match self.keychain().check(self.timeout()) {
            Ok(()) => (StoreSelection::Keychain, ChoiceReason::KeychainUsable),
            Err(error) => (StoreSelection::File, ChoiceReason::KeychainUnusable(error.to_string())),
        })
    }

    /// Checks whether a login could be stored in `choice` now. Changes nothing. Call it before the user logs in, and
    /// again before writing.
    ///
    /// # Errors
    /// - As [`Lease::check`].
    /// - [`Error::File`]: the document or `config.toml` cannot be written.
    /// - [`Error::Keychain`]: the keychain is chosen and cannot be used.
    pub fn check(&self, choice: &StoreChoice) -> Result<(), Error> {
        let (kind, _) = self.resolve(choice.selection);
        Lease::check(&self.home)?;
        if self.home.is_found() && self.setting_for(choice.selection).is_some() {
            self.settings.check_writable(&self.home)?;
        }
        match kind {
            StoreKind::Keychain => self.keychain().check_write(self.timeout()),
            StoreKind::File if !self.home.is_found() => Ok(()),
            // A login may be written in place over a file that is a mount point.
            StoreKind::File => self.file().check_login(),
        }
    }

    /// Tests that a file can be replaced, and reserves the disk space that a login needs, so that a file system that
    /// refuses is found before the user logs in. A missing home is not created for it. Call it after [`Self::check`].
    ///
    /// # Errors
    /// [`Error::File`]: there is no space, or no file can be replaced.
    pub fn reserve_login(&self) -> Result<LoginSpace, Error> {
        if !self.home.is_found() {
            return Ok(LoginSpace(Arc::default()));
        }
        let document = self.file().target()?.document();
        match private_file::test_replacement(&document, Links::Refuse) {
            // A login is written in place there.
            Err(private_file::Error::MountPoint { .. }) => {}
            // Some file systems let no file be renamed.
            tested => tested?,
        }
        let space = Replacement::reserve(&document, LOGIN_BYTES, Links::Refuse, MountPolicy::InPlace)?;
        Ok(LoginSpace(Arc::new(Mutex::new(Some(space)))))
    }

    /// Resolves a selection to a store: [`StoreSelection::Auto`] is the keychain if usable, else the file with a note
    /// that says why.
    #[must_use]
    pub fn resolve(&self, selection: StoreSelection) -> (StoreKind, Option<StorageNote>) {
        match selection {
            StoreSelection::File => (StoreKind::File, None),
            StoreSelection::Keychain => (StoreKind::Keychain, None),
            StoreSelection::Auto => match self.keychain().check(self.timeout()) {
                Ok(()) => (StoreKind::Keychain, None),
                Err(error) => {
                    (StoreKind::File, Some(StorageNote::KeychainSkipped { reason: error.to_string() }))
                }
            },
        }
    }

    /// Returns the setting that `config.toml` needs so that `selection` is read from now on, or `None` if it needs no
    /// change. An installed Codex that cannot read our keychain item is left on the file; `state.json` alone then names
    /// the keychain.
    pub(super) fn setting_for(&self, selection: StoreSelection) -> Option<StoreSelection> {
        let ours_alone = selection == StoreSelection::Keychain && self.is_codex_excluded();
        let wanted = if ours_alone { StoreSelection::File } else { selection };
        match self.settings.config.store {
            StoreSetting::Unset if wanted == StoreSelection::File => None,
            StoreSetting::Selected(set) if set == wanted => None,
            _ => Some(wanted),
        }
    }

    /// Returns whether a Codex on the search path could not read our keychain item.
    fn is_codex_excluded(&self) -> bool {
        self.client.sharing() == ItemSharing::OwnerOnly
            && !search_path::find_programs("codex", &self.search_path).is_empty()
    }
}
