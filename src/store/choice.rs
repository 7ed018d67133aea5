//! Where a new login goes.

use codex_auth_platform::keychain::ItemSharing;
use codex_auth_platform::search_path;

use super::{ChoiceReason, Error, FindReport, Lease, StorageNote, Store as _, Stores};
use crate::config::{StoreKind, StoreSelection, StoreSetting};

/// Where a new login goes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreChoice {
    /// What is selected; [`StoreSelection::Auto`] is decided when the login is stored.
    pub selection: StoreSelection,
    /// Why that one.
    pub because: ChoiceReason,
}

/// Whether OpenAI's Codex is installed here too, as far as the search path tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OtherCodex {
    /// No other `codex` is on the search path.
    Absent,
    /// There is one.
    Installed,
}

impl Stores {
    /// Where a new login goes (`--store`, else the configuration, else where a login is, else the keychain if that is
    /// usable and other programs that share the login find it there, else the file).
    ///
    /// # Errors
    /// - [`Error::EphemeralConfigured`]: a program cannot keep a login in memory.
    /// - As [`Self::find`].
    pub fn choose(&self, asked: Option<StoreSelection>) -> Result<StoreChoice, Error> {
        if let Some(selection) = asked {
            return Ok(StoreChoice { selection, because: ChoiceReason::Asked });
        }
        match self.settings.config.store {
            StoreSetting::Ephemeral => return Err(Error::EphemeralConfigured),
            StoreSetting::Selected(selection) => {
                return Ok(StoreChoice { selection, because: ChoiceReason::Configured });
            }
            StoreSetting::Unset => {}
        }
        // Something that is no document is no login to stay with, but it shows where one was kept.
        match self.find() {
            Ok(FindReport { stored: Some(stored), .. }) => {
                let selection = stored.location.kind().into();
                return Ok(StoreChoice { selection, because: ChoiceReason::Inhabited });
            }
            Err(Error::Document { location, .. }) => {
                return Ok(StoreChoice {
                    selection: location.kind().into(),
                    because: ChoiceReason::Inhabited,
                });
            }
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        Ok(match (self.client.sharing(), self.other_codex()) {
            (ItemSharing::OwnerOnly, OtherCodex::Installed) => {
                StoreChoice { selection: StoreSelection::File, because: ChoiceReason::SharedWithCodex }
            }
            _ => match self.keychain().check(self.deadline()) {
                Ok(()) => {
                    StoreChoice { selection: StoreSelection::Keychain, because: ChoiceReason::KeychainUsable }
                }
                Err(error) => StoreChoice {
                    selection: StoreSelection::File,
                    because: ChoiceReason::KeychainUnusable(error.to_string()),
                },
            },
        })
    }

    /// Whether a login could be stored by `choice` now: asked before a person logs in, and again before anything is
    /// written. Nothing is changed.
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
            // A login is written into a mounted file in place.
            StoreKind::File => self.file().check_login(),
        }
    }

    /// The store that a selection means now: for [`StoreSelection::Auto`] the keychain if that can be used, else the file
    /// with the reason.
    #[must_use]
    pub fn resolve(&self, selection: StoreSelection) -> (StoreKind, Option<StorageNote>) {
        match selection {
            StoreSelection::File => (StoreKind::File, None),
            StoreSelection::Keychain => (StoreKind::Keychain, None),
            StoreSelection::Auto => match self.keychain().check(self.deadline()) {
                Ok(()) => (StoreKind::Keychain, None),
                Err(error) => {
                    (StoreKind::File, Some(StorageNote::KeychainPassedOver { reason: error.to_string() }))
                }
            },
        }
    }

    /// What `config.toml` has to say from now on for `selection` to be what is read, if it does not say so already: unless
    /// that would send a Codex to an item that it may not touch; then our record alone has it. The file needs no entry
    /// where there is none.
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

    /// Looks on the search path only where the answer matters: where any program may rewrite an item, Codex shares ours.
    fn other_codex(&self) -> OtherCodex {
        match self.client.sharing() {
            ItemSharing::OwnerOnly if !search_path::programs("codex", &self.search_path).is_empty() => {
                OtherCodex::Installed
            }
            _ => OtherCodex::Absent,
        }
    }
}
