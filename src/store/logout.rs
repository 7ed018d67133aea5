//! The writer's part of a logout: checks, forced removals, and completing an interrupted logout.

use std::time::Instant;

use codex_auth_platform::private_file::{self, Removal};
use jiff::Timestamp;

use super::Store as _;
use super::commit::{CommitLocks, WriteIntent};
use super::content::{SeenRevision, StoredDocument};
use super::error::Error;
use super::orphan::RescueContent;
use super::rescue::{self, Rescue, RescuePurpose, RescueReservation};
use super::seal::Seal;
use super::writer::Writer;
use crate::config::{StoreKind, StoreSelection, StoreSetting};
use crate::secret::Fingerprint;
impl Writer<'_> {
    /// Returns whether a login is, or was, in the keychain, according to `state.json` or `config.toml`.
    pub(crate) fn uses_keychain(&self) -> bool {
        self.state.store == Some(StoreKind::Keychain)
            || matches!(
                self.stores.settings().config.store,
                StoreSetting::Selected(selection) if selection != StoreSelection::File
            )
    }

    /// Returns whether a keychain that failed with `error` may hold a login of this home.
    pub(crate) fn keychain_may_hold_login(&self, error: &Error) -> bool {
        let automatic = self.stores.settings().config.store.selection() == Some(StoreSelection::Auto);
        let named = self.state.store == Some(StoreKind::Keychain) || !automatic;
        self.state.left_in_keychain || (self.uses_keychain() && (named || error.may_hide_login()))
    }

    /// Checks, without a trial, whether [`Self::remove`] could succeed now. Changes nothing.
    ///
    /// # Errors
    /// The error that the removal would return.
    pub fn check_remove(&self, kind: StoreKind) -> Result<(), Error> {
        self.stores.store(kind).check_remove(self.stores.timeout())?;
        self.stores.file().check_locks()
    }

    /// Removes the document's file if it holds exactly `bytes`, which are too large for [`Self::read`] or not a
    /// document. Returns `None` if the content has changed.
    ///
    /// # Errors
    /// As [`Self::remove`].
    pub(crate) fn remove_unparsable_file(&mut self, bytes: &[u8]) -> Result<Option<Removal>, Error> {
        let removed = {
            let commit = CommitLocks::acquire(self.lease(), WriteIntent::Save)?;
            let now = self.stores.raw_file()?;
            if now.is_none_or(|now| now[..] != *bytes) {
                return Ok(None);
            }
            self.stores.file().remove(&commit)
        };
        self.record_removal(removed).map(Some)
    }

    /// Removes the content of the store of `kind`, whatever it is, for a forced logout. Goes on without a commit lock
    /// that is not free before `ends`.
    ///
    /// # Errors
    /// The store cannot be used.
    pub fn force_remove(&mut self, kind: StoreKind, ends: Instant) -> Result<Removal, Error> {
        let store = self.stores.store(kind);
        let removed = store.remove(&CommitLocks::force(self.lease(), ends));
        self.record_removal(removed)
    }

    /// Returns the rescue, for a forced logout; the file stays. Sets one aside that cannot be used now.
    ///
    /// # Errors
    /// The rescue cannot be read or set aside.
    pub fn read_rescue(&mut self) -> Result<Option<Rescue>, Error> {
        let path = self.lease().records().rescue();
        let bytes = rescue::read(&path)?.filter(|bytes| !private_file::is_blank(bytes));
        let Some(bytes) = bytes else {
            return Ok(None);
        };
        let reason = match self.open_rescue(bytes, &self.lease().records()) {
            Ok(Ok(content)) if !self.is_of_this_home(&content) => {
                "it belongs to another home that shares this document"
            }
            Ok(Ok(RescueContent::Tokens(rescue))) => return Ok(Some(*rescue)),
            Ok(Ok(RescueContent::Login(_))) => "a login that was killed is completed by the next refresh",
            Ok(Err(reason)) => reason,
            Err(Error::RescueSealed { .. }) => "the keychain cannot be used",
            Err(error) => return Err(error),
        };
        self.set_aside(&path, reason)?;
        Ok(None)
    }

    /// Returns the login whose logout was interrupted, if it is still stored.
    ///
    /// # Errors
    /// As [`super::Store::read`].
    pub fn interrupted_logout(&self) -> Result<Option<(SeenRevision, StoredDocument)>, Error> {
        if self.state.logging_out.is_none() {
            return Ok(None);
        }
        for kind in [StoreKind::File, StoreKind::Keychain] {
            let content = match self.read(kind) {
                Err(Error::Keychain(_)) if self.state.store != Some(kind) => continue,
                content => content?,
            };
            let seen = content.seen();
            if let Some(stored) = content.stored()
                && self.state.logout_token(&stored.document).is_some()
            {
                return Ok(Some((seen, stored)));
            }
        }
        Ok(None)
    }

    /// Saves a login whose logout was interrupted beside the rescue before a new login replaces it, so that its tokens
    /// are still revoked. Returns the fingerprint of its token.
    ///
    /// # Errors
    /// As [`Self::interrupted_logout`] and [`RescueReservation::create`].
    pub fn save_interrupted_logout(&mut self) -> Result<Option<Fingerprint>, Error> {
        let Some((_, stored)) = self.interrupted_logout()? else { return Ok(None) };
        let Some(parent) = stored.document.logout_fingerprint() else { return Ok(None) };
        self.save_aside(&Rescue::of_login(&stored, parent, RescuePurpose::Replaced, Timestamp::now()))?;
        Ok(Some(parent))
    }

    /// Saves a login that is being ended to the rescue, from which it is restored or revoked.
    ///
    /// # Errors
    /// As [`RescueReservation::create`] and [`RescueReservation::write`].
    pub fn save_to_rescue(&self, stored: &StoredDocument, purpose: RescuePurpose) -> Result<(), Error> {
        let Some(parent) = stored.document.logout_fingerprint() else { return Ok(()) };
        let kind = stored.location.kind();
        let seal = Seal::for_store(self.lease(), kind, &self.stores.keychain(), self.stores.timeout())?;
        RescueReservation::create(self.lease(), seal)?.write(&Rescue::of_login(
            stored,
            parent,
            purpose,
            Timestamp::now(),
        ))
    }
}
