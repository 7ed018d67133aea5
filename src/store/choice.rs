//! Choosing the store for a new login.

use codex_auth_platform::keychain::ItemSharing;
use codex_auth_platform::search_path;

use super::Store as _;
use super::content::StorageNote;
use super::error::Error;
use super::find::{ChoiceReason, FindReport, Stores};
use super::lease::Lease;
use crate::config::{StoreKind, StoreSelection, StoreSetting};

/// The store chosen for a new login.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreChoice {
    /// The selection; [`StoreSelection::Auto`] is resolved when the login is stored.
    pub selection: StoreSelection,
    /// Why it was chosen.
    pub reason: ChoiceReason,
}

/// Whether OpenAI's Codex is on the search path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OtherCodex {
    Absent,
    Installed,
}

impl Stores {
    /// Chooses the store for a new login: the `requested` one, else the configured one, else the one that already holds
    /// a login, else the keychain if it is usable and Codex can read the item there, else the file.
    ///
    /// # Errors
    /// - [`Error::EphemeralConfigured`]: the configuration asks to keep the login in memory only.
    /// - As [`Self::find`].
    pub fn choose(&self, requested: Option<StoreSelection>) -> Result<StoreChoice, Error> {
        if let Some(selection) = requested {
            return Ok(StoreChoice { selection, reason: ChoiceReason::Requested });
        }
        match self.settings.config.store {
            StoreSetting::Ephemeral => return Err(Error::EphemeralConfigured),
            StoreSetting::Selected(selection) => {
                return Ok(StoreChoice { selection, reason: ChoiceReason::Configured });
            }
            StoreSetting::Unset => {}
        }
        // Unparsable content is not a login, but it shows which store was used.
        match self.find() {
            Ok(FindReport { stored: Some(stored), .. }) => {
                let selection = stored.location.kind().into();
                return Ok(StoreChoice { selection, reason: ChoiceReason::LoginPresent });
            }
            Err(Error::Document { location, .. }) => {
                return Ok(StoreChoice {
                    selection: location.kind().into(),
                    reason: ChoiceReason::LoginPresent,
                });
            }
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        Ok(match (self.client.sharing(), self.other_codex()) {
            (ItemSharing::OwnerOnly, OtherCodex::Installed) => {
                StoreChoice { selection: StoreSelection::File, reason: ChoiceReason::SharedWithCodex }
            }
            _ => match self.keychain().check(self.deadline()) {
                Ok(()) => {
                    StoreChoice { selection: StoreSelection::Keychain, reason: ChoiceReason::KeychainUsable }
                }
                Err(error) => StoreChoice {
                    selection: StoreSelection::File,
                    reason: ChoiceReason::KeychainUnusable(error.to_string()),
                },
            },
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
            StoreKind::Keychain => self.keychain().check_write(self.deadline()),
            StoreKind::File if !self.home.is_found() => Ok(()),
            // A login may be written in place over a file that is a mount point.
            StoreKind::File => self.file().check_login(),
        }
    }

    /// Resolves a selection to a store: [`StoreSelection::Auto`] is the keychain if usable, else the file with a note
    /// that says why.
    #[must_use]
    pub fn resolve(&self, selection: StoreSelection) -> (StoreKind, Option<StorageNote>) {
        match selection {
            StoreSelection::File => (StoreKind::File, None),
            StoreSelection::Keychain => (StoreKind::Keychain, None),
            StoreSelection::Auto => match self.keychain().check(self.deadline()) {
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
        let ours_alone = self.client.sharing() == ItemSharing::OwnerOnly
            && selection == StoreSelection::Keychain
            && self.other_codex() == OtherCodex::Installed;
        let wanted = if ours_alone { StoreSelection::File } else { selection };
        match self.settings.config.store {
            StoreSetting::Unset if wanted == StoreSelection::File => None,
            StoreSetting::Selected(set) if set == wanted => None,
            _ => Some(wanted),
        }
    }

    /// Searches `PATH` only where keychain items are not shared with Codex; elsewhere the result does not matter.
    fn other_codex(&self) -> OtherCodex {
        match self.client.sharing() {
            ItemSharing::OwnerOnly if !search_path::find_programs("codex", &self.search_path).is_empty() => {
                OtherCodex::Installed
            }
            _ => OtherCodex::Absent,
        }
    }
}
