//! Completes what a killed process left behind: a rescue of a refresh, a login or a logout.

use std::path::{Path, PathBuf};

use codex_auth_platform::private_file::{self, Links};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::Store;
use super::commit::{CommitLocks, WriteIntent};
use super::content::{DocumentLocation, RescueRecovery, StoreContent, StoredDocument};
use super::error::Error;
use super::file::FileStore;
use super::locate::DocumentTarget;
use super::login_record;
use super::login_recovery::LoginRemainder;
use super::orphan::{OrphanContent, OrphanRescue, RescueContent};
use super::rescue::{self, Rescue, RescuePurpose, rescues_set_aside};
use super::seal::{self, OpenOutcome};
use super::state::{HomeState, SpendRecord};
use super::writer::Writer;
use crate::config::StoreKind;
use crate::document::{AuthDocument, NewTokens};
use crate::failpoint;
use crate::home::RecordPaths;
use crate::secret::Fingerprint;

/// The most rescues that were set aside whose tokens are revoked at once; the others wait for the next lease holder.
const MAX_SET_ASIDE_ORPHANS: usize = 16;

/// The reason to set aside a rescue of a login in a keychain that cannot be used.
const KEYCHAIN_UNUSABLE: &str = "it belongs to a login in the keychain, which cannot be used";

/// The outcome of [`Writer::commit_rescue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the store may have changed, so that nothing was written"]
#[expect(clippy::exhaustive_enums, reason = "a caller must handle every outcome")]
pub enum CommitOutcome {
    /// The successor is stored and was read back; the rescue is removed.
    Stored,
    /// The successor was stored, and another program has replaced it since; the rescue is removed.
    ReplacedSince,
    /// The store does not hold the spent token; nothing was written, and the rescue stays.
    Changed,
}

impl Writer<'_> {
    /// Completes every rescue. The holder of the lease calls this before anything else.
    ///
    /// A rescue is committed if its store still holds the token that was spent for it, and removed if it is committed
    /// already. One that cannot be used now and belongs to no stored login is set aside under another name and tried
    /// again later. Returns the usable rescues whose tokens belong to no stored login, for the caller to revoke.
    ///
    /// # Errors
    /// A store or the rescue cannot be read, or the merged document cannot be stored. The rescue stays, and no token may be
    /// spent.
    pub fn recover(&mut self) -> Result<Vec<OrphanRescue>, Error> {
        // Temporary files of a killed writer may hold tokens.
        private_file::remove_leftovers(&self.lease().target().document(), Links::Refuse);
        private_file::remove_leftovers(&self.lease().home().config(), Links::Follow);
        let mut orphans = Vec::new();
        for records in self.records_to_recover() {
            let path = records.rescue();
            private_file::remove_leftovers(&path, Links::Refuse);
            match rescue::read(&path)? {
                None => {}
                // The reserved space of a request that got no response.
                Some(bytes) if private_file::is_blank(&bytes) => {
                    private_file::remove(&path, Links::Refuse)?;
                    self.recoveries.push(RescueRecovery::Unanswered);
                }
                Some(bytes) => match self.open_rescue(bytes, &records)? {
                    Ok(content) => orphans.extend(self.complete(path, content)?),
                    Err(reason) => self.set_aside(&path, reason)?,
                },
            }
            let limit = orphans.len() + MAX_SET_ASIDE_ORPHANS;
            for path in rescues_set_aside(&records)? {
                // One that still cannot be used is tried again by the next holder of the lease.
                let Ok(Some(bytes)) = rescue::read(&path) else { continue };
                if private_file::is_blank(&bytes) {
                    private_file::remove(&path, Links::Refuse)?;
                } else if let Ok(Ok(content)) = self.open_rescue(bytes, &records)
                    && self.is_of_this_home(&content)
                    && let Ok(orphan) = self.complete(path, content)
                    && orphans.len() < limit
                {
                    orphans.extend(orphan);
                }
            }
        }
        Ok(orphans)
    }

    /// Returns the records with rescues to complete: those of the document and, if `auth.json` is a link, those of the
    /// home, which were in use while `auth.json` was a file.
    fn records_to_recover(&self) -> Vec<RecordPaths> {
        let (records, own) = (self.lease().records(), self.lease().home().own_records());
        if records == own { vec![records] } else { vec![records, own] }
    }

    /// Decrypts and parses the rescue in `bytes`; the inner error says why it cannot be used.
    pub(super) fn open_rescue(
        &self,
        bytes: Zeroizing<Vec<u8>>,
        records: &RecordPaths,
    ) -> Result<Result<RescueContent, &'static str>, Error> {
        let path = records.rescue();
        Ok(match seal::open(bytes, records, &self.stores.keychain(), self.stores.timeout())? {
            OpenOutcome::Plain(plain) => {
                let tokens = rescue::decode(&plain).map(|rescue| RescueContent::Tokens(Box::new(rescue)));
                tokens
                    .or_else(|| {
                        login_record::decode(&plain).map(|record| RescueContent::Login(Box::new(record)))
                    })
                    .ok_or("it is not a complete token response")
            }
            OpenOutcome::NoKey => Err("the keychain has no key that decrypts it"),
            // The one in the file has replaced the login that it belongs to.
            OpenOutcome::Unavailable(_) if self.is_login_in_file() => Err(KEYCHAIN_UNUSABLE),
            OpenOutcome::Unavailable(source) => return Err(Error::RescueSealed { path, source }),
        })
    }

    fn is_login_in_file(&self) -> bool {
        let is_in_file = |stored: StoredDocument| stored.location.kind() == StoreKind::File;
        self.stores.find_readable().is_ok_and(|found| found.stored.is_some_and(is_in_file))
    }

    /// Completes the rescue at `path`, or returns it as an orphan.
    fn complete(&mut self, path: PathBuf, content: RescueContent) -> Result<Option<OrphanRescue>, Error> {
        if !self.is_of_this_home(&content) {
            self.set_aside(&path, "it belongs to another home that shares this document")?;
            return Ok(None);
        }
        match content {
            RescueContent::Tokens(rescue) => {
                tracing::info!(parent = %rescue.parent, child = ?rescue.child(), "recovery: completing a rescue");
                self.complete_rescue(path, *rescue)
            }
            RescueContent::Login(record) => {
                tracing::info!("recovery: completing a login that was killed");
                match self.complete_login(&path, *record) {
                    Ok(LoginRemainder::Exchange(exchange)) => {
                        Ok(Some(OrphanRescue { content: OrphanContent::Exchange(exchange), path }))
                    }
                    Ok(LoginRemainder::SetAside) => Ok(None),
                    Err(Error::Keychain(_)) if self.is_login_in_file() => {
                        self.set_aside(&path, KEYCHAIN_UNUSABLE)?;
                        Ok(None)
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Commits `rescue`, removes it, or returns it as an orphan.
    fn complete_rescue(&mut self, path: PathBuf, rescue: Rescue) -> Result<Option<OrphanRescue>, Error> {
        let content = match self.read(rescue.kind()) {
            Err(Error::Keychain(_)) if self.is_login_in_file() => {
                self.set_aside(&path, KEYCHAIN_UNUSABLE)?;
                return Ok(None);
            }
            content => content?,
        };
        let stored = content.document();
        let is_completed = match rescue.purpose {
            // The login is still stored; the logout is completed from there.
            RescuePurpose::Revoke
                if rescue.document.as_ref().map(AuthDocument::revision)
                    == stored.map(AuthDocument::revision) =>
            {
                true
            }
            // The stored login may descend from the tokens in the rescue: it was restored, or refreshed by another
            // program. Revoking them could end it. An interrupted logout continues with the stored document.
            RescuePurpose::Revoke if !rescue.is_foreign_to(stored) => {
                if let Some(document) = stored
                    && self.state.logging_out == Some(rescue.parent)
                {
                    self.record(|state| state.mark_logout(document))?;
                }
                true
            }
            // If it is still stored, it was not replaced.
            RescuePurpose::Replaced => {
                if !self.is_stored(&rescue)? {
                    return Ok(Some(OrphanRescue { content: OrphanContent::Tokens(Box::new(rescue)), path }));
                }
                true
            }
            RescuePurpose::Commit if stored.is_some_and(|document| rescue.is_in(document)) => {
                // The holder may have died after the commit and before recording it.
                let current = stored.cloned();
                self.record(|state| {
                    state.committed(&rescue);
                    current.iter().for_each(|document| state.mark_current(document));
                })?;
                true
            }
            RescuePurpose::Commit if stored.is_some_and(|document| self.can_merge(document, &rescue)) => {
                self.commit_rescue_at(&path, &rescue)? != CommitOutcome::Changed
            }
            _ => false,
        };
        if !is_completed {
            return self.abandon(path, rescue);
        }
        private_file::remove(&path, Links::Refuse)?;
        if rescue.purpose == RescuePurpose::Commit {
            let (spent, received) = (rescue.parent, rescue.child());
            self.recoveries.push(RescueRecovery::Stored { spent, received });
        }
        Ok(None)
    }

    /// Merges `rescue` into the document that it descends from, keeping all other changes of that document, and reads
    /// it back. Then records the commit and removes the rescue.
    ///
    /// The document's file is the one that the lease found, even if the link has been changed since.
    ///
    /// # Errors
    /// The store cannot be used; the rescue stays.
    pub fn commit_rescue(&mut self, rescue: &Rescue) -> Result<CommitOutcome, Error> {
        self.commit_rescue_at(&self.lease().records().rescue(), rescue)
    }

    /// As [`Self::commit_rescue`], for a rescue in the file `path`.
    fn commit_rescue_at(&mut self, path: &Path, rescue: &Rescue) -> Result<CommitOutcome, Error> {
        let store = self.stores.store(rescue.kind());
        let Some(successor) = self.merge(&*store, rescue)? else { return Ok(CommitOutcome::Changed) };
        let revision = successor.revision();
        failpoint::at("committed");
        let now = store.read(self.stores.timeout())?;
        // If the state cannot be written, the rescue stays, and the next holder of the lease records the commit.
        let recorded = self.record(|state| {
            state.committed(rescue);
            state.mark_current(&successor);
        });
        if recorded.is_ok() {
            failpoint::at("recorded");
            let _ = private_file::remove(path, Links::Refuse);
        }
        failpoint::at("cleared");
        let is_it = matches!(&now, StoreContent::Document(stored) if stored.document.revision() == revision);
        Ok(if is_it { CommitOutcome::Stored } else { CommitOutcome::ReplacedSince })
    }

    fn merge(&self, store: &dyn Store, rescue: &Rescue) -> Result<Option<AuthDocument>, Error> {
        let commit = CommitLocks::acquire(self.lease(), WriteIntent::Save)?;
        // If a link has replaced the file, the read fails; the rescue stays for a process with the lease of the link's
        // target.
        let StoreContent::Document(stored) = store.read(commit.remaining()?)? else { return Ok(None) };
        if !self.can_merge(&stored.document, rescue) {
            return Ok(None);
        }
        let successor = stored
            .document
            .with_new_tokens(&rescue.tokens, rescue.received_at)
            .map_err(|source| Error::Document { location: stored.location.clone(), source })?;
        store.write(&commit, &successor)?;
        Ok(Some(successor))
    }

    /// Returns whether `document` holds the token that was spent for `rescue`, or is an older state of that login that
    /// was restored.
    fn can_merge(&self, document: &AuthDocument, rescue: &Rescue) -> bool {
        let Some(fingerprint) = document.fingerprint() else { return false };
        let old = fingerprint == rescue.parent || self.state.spent.contains(&fingerprint);
        old && !rescue.is_foreign_to(Some(document)) && !rescue.is_in(document)
    }

    /// Records that the parent of `rescue` is spent, so that a restored copy of it is not sent again. Returns the
    /// rescue if its tokens have to be revoked, and removes it otherwise.
    fn abandon(&mut self, path: PathBuf, rescue: Rescue) -> Result<Option<OrphanRescue>, Error> {
        if rescue.purpose != RescuePurpose::Revoke {
            self.record(|state| state.mark_spent(rescue.parent))?;
        }
        if rescue.purpose == RescuePurpose::Commit {
            let (spent, received) = (rescue.parent, rescue.child());
            self.recoveries.push(RescueRecovery::Overtaken { spent, received });
        }
        let stored = self.stores.find_readable()?.stored;
        let is_foreign = rescue.is_foreign_to(stored.as_ref().map(|stored| &stored.document));
        if is_foreign || rescue.purpose != RescuePurpose::Commit {
            return Ok(Some(OrphanRescue { content: OrphanContent::Tokens(Box::new(rescue)), path }));
        }
        private_file::remove(&path, Links::Refuse)?;
        Ok(None)
    }

    /// Gives up committing `rescue`, which this process has just written: the store has changed meanwhile, or the
    /// response is for another account.
    ///
    /// # Errors
    /// The state or the rescue cannot be written.
    pub fn abandon_rescue(&mut self, rescue: Rescue) -> Result<Option<OrphanRescue>, Error> {
        self.record(|state| state.committed(&rescue))?;
        let path = self.lease().records().rescue();
        self.abandon(path, rescue)
    }

    /// Copies the successor of `parent` from the document at `from` into the home's document, if that still holds
    /// `parent`: `auth.json` was replaced by a copy, or by a link to one, during the request. `at` is when the
    /// successor arrived.
    ///
    /// # Errors
    /// As [`Self::commit_rescue`].
    pub fn update_copy(
        &mut self,
        from: &DocumentTarget,
        parent: Fingerprint,
        at: Timestamp,
    ) -> Result<(), Error> {
        let StoreContent::Document(here) = self.read(StoreKind::File)? else { return Ok(()) };
        let there = FileStore::new(self.lease().home().clone(), Some(from.clone()));
        // Without a readable document there is no successor to copy.
        let Ok(Some(there)) = there.load(self.stores.timeout()) else { return Ok(()) };
        let is_spent = |stored: &StoredDocument| stored.document.fingerprint() == Some(parent);
        if from == self.lease().target() || !is_spent(&here) || is_spent(&there) {
            return Ok(());
        }
        let Some(tokens) = there.document.tokens() else { return Ok(()) };
        let tokens = NewTokens {
            id_token: None,
            access_token: tokens.access_token.clone(),
            refresh_token: tokens.refresh_token.clone(),
        };
        let rescue = Rescue::new(&here, parent, tokens, at);
        if !rescue.is_foreign_to(Some(&there.document)) {
            let _ = self.commit_rescue(&rescue)?;
        }
        Ok(())
    }

    pub(super) fn is_of_this_home(&self, content: &RescueContent) -> bool {
        match (content.item(), self.stores.keychain().location()) {
            (None, _) => true,
            (Some(item), DocumentLocation::Keychain { account, .. }) => *item == account,
            (Some(_), DocumentLocation::File(_)) => false,
        }
    }
}

impl HomeState {
    /// Records that `rescue` is committed.
    pub(super) fn committed(&mut self, rescue: &Rescue) {
        if rescue.child().is_some_and(|child| child != rescue.parent) {
            self.mark_spent(rescue.parent);
        }
        self.received_at = Some(rescue.received_at);
        self.poison = None;
        self.outcome = Some(SpendRecord::committed(rescue.parent, rescue.received_at));
    }
}
