//! Decides what a killed login left to revoke: its own tokens if they are not stored, else the logins that it replaced.

use std::path::{Path, PathBuf};

use codex_auth_platform::private_file::{self, Links, ReservedFile};
use jiff::Timestamp;

use super::error::Error;
use super::login_record::{LoginCommit, LoginRecord, LoginStage, SentCode};
use super::rescue::{Rescue, RescuePurpose, aside_name, encode};
use super::seal::Seal;
use super::writer::Writer;
use crate::config::StoreKind;
use crate::document::{AuthDocument, NewTokens, Provenance};
use crate::secret::Secret;

/// A code whose exchange was interrupted: the authority may have issued tokens for it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UnfinishedExchange {
    /// The code.
    pub code: SentCode,
    /// The issuer and client id.
    pub provenance: Provenance,
    item: Option<String>,
    at: Timestamp,
}

/// The result of [`Writer::complete_login`].
pub(super) enum LoginRemainder {
    Exchange(UnfinishedExchange),
    /// The record is replaced by rescues that are set aside, or was set aside itself.
    SetAside,
}

/// Whether the document of a killed login is stored.
enum CommitState {
    Stored,
    NotStored,
    /// The stored document may descend from it.
    Unknown,
}

impl Writer<'_> {
    /// Replaces the record of a killed login at `path` by rescues of the tokens that have to be revoked. A record that
    /// cannot be decided now is set aside.
    ///
    /// # Errors
    /// A store cannot be read; the record stays.
    pub(super) fn complete_login(
        &mut self,
        path: &Path,
        record: LoginRecord,
    ) -> Result<LoginRemainder, Error> {
        let LoginRecord { stage, provenance, at, item } = record;
        let rescues = match stage {
            LoginStage::Requested(code) => {
                return Ok(LoginRemainder::Exchange(UnfinishedExchange { code, provenance, item, at }));
            }
            LoginStage::Received(tokens) => Vec::from_iter(of_tokens(tokens, provenance, at, item.clone())),
            LoginStage::Committing(commit) => {
                let ended = match self.commit_state(&commit, item.is_some())? {
                    CommitState::Stored => commit.replaced,
                    CommitState::NotStored => vec![commit.document],
                    CommitState::Unknown => {
                        self.set_aside(path, "the stored login may descend from it")?;
                        return Ok(LoginRemainder::SetAside);
                    }
                };
                ended.into_iter().filter_map(|document| of_login(document, at, item.clone())).collect()
            }
        };
        let saved = rescues.iter().try_for_each(|rescue| self.save_aside(rescue).map(drop));
        match saved {
            Ok(()) => drop(private_file::remove(path, Links::Refuse)?),
            Err(error) => {
                tracing::warn!(%error, "recovery: the record of a killed login stays");
                self.set_aside(path, "it could not be completed")?;
            }
        }
        Ok(LoginRemainder::SetAside)
    }

    /// Reads the stores to find out whether the document of `commit` is stored.
    fn commit_state(&self, commit: &LoginCommit, uses_keychain: bool) -> Result<CommitState, Error> {
        let mut state = CommitState::NotStored;
        for kind in [StoreKind::File, StoreKind::Keychain] {
            let content = match self.read(kind) {
                Err(Error::Keychain(_)) if kind == StoreKind::Keychain && !uses_keychain => continue,
                content => content?,
            };
            match content.document() {
                Some(stored) if commit.is_in(stored) => return Ok(CommitState::Stored),
                Some(stored) if commit.may_precede(stored) => state = CommitState::Unknown,
                _ => {}
            }
        }
        Ok(state)
    }

    /// Replaces the record of `exchange` at `path` by a rescue of `tokens`, which the authority has issued now. Returns
    /// the rescue and its file; `None` if there is nothing to revoke.
    ///
    /// # Errors
    /// The rescue cannot be written; the record stays.
    pub(super) fn save_exchanged(
        &mut self,
        path: &Path,
        exchange: &UnfinishedExchange,
        tokens: NewTokens,
    ) -> Result<Option<(Rescue, PathBuf)>, Error> {
        let UnfinishedExchange { provenance, item, at, .. } = exchange;
        let rescue = of_tokens(tokens, provenance.clone(), *at, item.clone());
        let saved = rescue.map(|rescue| self.save_aside(&rescue).map(|path| (rescue, path))).transpose()?;
        private_file::remove(path, Links::Refuse)?;
        Ok(saved)
    }

    /// Writes `rescue` to a file beside the one that a refresh uses, and returns its path. The next holder of the lease
    /// completes it.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Keychain`], [`Error::Random`], [`Error::Sealing`].
    pub(super) fn save_aside(&self, rescue: &Rescue) -> Result<PathBuf, Error> {
        self.lease().check_folders()?;
        let (keychain, within) = (self.stores.keychain(), self.stores.timeout());
        let seal = Seal::for_store(self.lease(), rescue.kind(), &keychain, within)?;
        let records = self.lease().records();
        let bytes = seal.seal(encode(rescue)?, &records)?;
        let path = records.folder().join(aside_name());
        // Under its final name from the start: a killed process leaves no temporary file with tokens.
        ReservedFile::create(&path, bytes.len() as u64)?.write(&bytes)?;
        Ok(path)
    }

    /// Returns whether a store holds the token of `rescue`, or a document that descends from its login.
    pub(super) fn is_stored(&self, rescue: &Rescue) -> Result<bool, Error> {
        for kind in [StoreKind::File, StoreKind::Keychain] {
            let content = match self.read(kind) {
                Err(Error::Keychain(_)) if kind != rescue.kind() => continue,
                content => content?,
            };
            let descends = |stored: &AuthDocument| {
                let login = stored.tokens().and_then(|tokens| tokens.login_id.as_ref());
                stored.logout_fingerprint() == Some(rescue.parent)
                    || (login.is_some() && login == rescue.login.as_ref())
            };
            if content.document().is_some_and(descends) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Returns the rescue that ends `tokens`, which are in no document.
fn of_tokens(
    tokens: NewTokens,
    provenance: Provenance,
    at: Timestamp,
    item: Option<String>,
) -> Option<Rescue> {
    let one = tokens.refresh_token.as_ref().or(tokens.access_token.as_ref());
    let (purpose, parent) = (RescuePurpose::Replaced, one.map(Secret::fingerprint)?);
    let (identity, login, document) = (Default::default(), None, None);
    Some(Rescue { purpose, parent, identity, login, provenance, tokens, received_at: at, item, document })
}

/// Returns the rescue that ends the login of `document`; `None` if it has no tokens.
fn of_login(document: AuthDocument, at: Timestamp, item: Option<String>) -> Option<Rescue> {
    let tokens = document.tokens()?;
    let parent = document.logout_fingerprint()?;
    let (provenance, login) = (tokens.provenance.clone(), tokens.login_id.clone());
    let tokens = NewTokens {
        id_token: None,
        access_token: tokens.access_token.clone(),
        refresh_token: tokens.refresh_token.clone(),
    };
    let (purpose, identity) = (RescuePurpose::Replaced, document.identity());
    let document = Some(document);
    Some(Rescue { purpose, parent, identity, login, provenance, tokens, received_at: at, item, document })
}
