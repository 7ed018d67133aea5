//! Completing what a killed process left behind: a rescue or a logout.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use codex_auth_platform::lock;
use codex_auth_platform::private_file::{self, Links};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::rescue::{self, MAX_RESCUE_BYTES, Rescue, RescuePurpose, RescueReservation};
use super::seal::{self, OpenOutcome};
use super::{
    CommitOutcome, DocumentLocation, DocumentTarget, Error, FileStore, Seal, SeenRevision, StorageNote,
    Store as _, StoreContent, StoredDocument, Stores, Writer,
};
use crate::config::StoreKind;
use crate::document::{AuthDocument, NewTokens};
use crate::home::RecordPaths;
use crate::secret::{Fingerprint, Secret};

/// The file name of a rescue; one that was set aside has a dot and a time after it.
const RESCUE_NAME: &str = "rescue";
/// The most rescues that were set aside and are tried again.
const MAX_SET_ASIDE: usize = 16;

/// A rescue whose tokens belong to no stored login. Its file stays until they are revoked and [`Writer::remove_orphan`]
/// is called.
#[derive(Debug)]
#[must_use = "its tokens must be revoked"]
pub struct OrphanRescue {
    /// Its content.
    pub rescue: Rescue,
    path: PathBuf,
}

impl Writer<'_> {
    /// Completes every rescue. The holder of the lease calls this before anything else.
    ///
    /// A rescue is committed if its store still holds the token that was spent for it, and removed if it is committed
    /// already. One that cannot be used now and belongs to no stored login is set aside under another name and tried
    /// again later. The others are returned as orphans.
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
            let read = private_file::read(&path, MAX_RESCUE_BYTES, Links::Refuse)?;
            match read.map(|contents| contents.bytes) {
                None => {}
                // The reserved space of a request that got no response.
                Some(bytes) if private_file::is_blank(&bytes) => {
                    private_file::remove(&path, Links::Refuse)?;
                }
                Some(bytes) => match self.open_rescue(bytes, &records)? {
                    Ok(rescue) => orphans.extend(self.complete_rescue(path, rescue)?),
                    Err(reason) => self.set_aside(&path, reason)?,
                },
            }
            for path in set_aside(&records)? {
                // One that still cannot be used is tried again by the next holder of the lease.
                let read = private_file::read(&path, MAX_RESCUE_BYTES, Links::Refuse);
                let Some(bytes) = read.ok().flatten().map(|contents| contents.bytes) else { continue };
                if let Ok(Ok(rescue)) = self.open_rescue(bytes, &records)
                    && self.is_of_this_home(&rescue)
                    && let Ok(orphan) = self.complete_rescue(path, rescue)
                {
                    orphans.extend(orphan);
                }
            }
        }
        Ok(orphans)
    }

    /// Returns the records with rescues to complete: those of the document and, if `auth.json` is a link now, those of
    /// the `auth.json` that was there before the user moved it and linked to it.
    fn records_to_recover(&self) -> Vec<RecordPaths> {
        let (records, own) = (self.lease().records(), self.lease().home().own_records());
        if records == own { vec![records] } else { vec![records, own] }
    }

    /// Decrypts and parses the rescue in `bytes`; the inner error says why it cannot be used.
    fn open_rescue(
        &self,
        bytes: Zeroizing<Vec<u8>>,
        records: &RecordPaths,
    ) -> Result<Result<Rescue, &'static str>, Error> {
        let path = records.rescue();
        Ok(match seal::open(bytes, records, &self.stores.keychain(), self.stores.deadline())? {
            OpenOutcome::Plain(plain) => match rescue::decode(&plain) {
                Some(rescue) => Ok(rescue),
                None => Err("it is not a complete token response"),
            },
            OpenOutcome::NoKey => Err("the keychain has no key that decrypts it"),
            OpenOutcome::Unavailable(source) => match self.stores.find() {
                // It belongs to a login in the keychain, which the one in the file has replaced.
                Ok(found) if found.stored.as_ref().is_some_and(is_in_file) => {
                    Err("it belongs to a login in the keychain, which cannot be used")
                }
                _ => return Err(Error::RescueSealed { path, source }),
            },
        })
    }

    /// Commits `rescue`, removes it, or returns it as an orphan.
    fn complete_rescue(&mut self, path: PathBuf, rescue: Rescue) -> Result<Option<OrphanRescue>, Error> {
        if !self.is_of_this_home(&rescue) {
            self.set_aside(&path, "it belongs to another home that shares this document")?;
            return Ok(None);
        }
        let content = match self.read(rescue.kind()) {
            Err(Error::Keychain(_))
                if self.stores.find().is_ok_and(|found| found.stored.as_ref().is_some_and(is_in_file)) =>
            {
                self.set_aside(&path, "it belongs to a login in the keychain, which cannot be used")?;
                return Ok(None);
            }
            content => content?,
        };
        let stored = match &content {
            StoreContent::Document(stored) => Some(&stored.document),
            _ => None,
        };
        match rescue.purpose {
            // The login is still stored; the logout is completed from there.
            RescuePurpose::Revoke
                if rescue.document.as_ref().map(AuthDocument::revision)
                    == stored.map(AuthDocument::revision) =>
            {
                private_file::remove(&path, Links::Refuse)?;
                return Ok(None);
            }
            // The login was put back, or another program has refreshed it since: an ancestor of a live token is not
            // revoked, and an interrupted logout continues with the stored document.
            RescuePurpose::Revoke if stored.is_some_and(|document| !rescue.is_foreign_to(Some(document))) => {
                if let Some(document) = stored
                    && self.state.logging_out == Some(rescue.parent)
                {
                    self.record(|state| state.mark_logout(document))?;
                }
                private_file::remove(&path, Links::Refuse)?;
                return Ok(None);
            }
            // The login that was to be replaced is still stored; the new one was not.
            RescuePurpose::Replaced
                if stored.is_some_and(|document| document.logout_fingerprint() == Some(rescue.parent)) =>
            {
                private_file::remove(&path, Links::Refuse)?;
                return Ok(None);
            }
            RescuePurpose::Replaced => return Ok(Some(OrphanRescue { rescue, path })),
            RescuePurpose::Commit if stored.is_some_and(|document| has_tokens_of(document, &rescue)) => {
                // The holder may have died after the commit and before recording it.
                self.record(|state| state.committed(&rescue))?;
                private_file::remove(&path, Links::Refuse)?;
                return Ok(None);
            }
            _ => {}
        }
        let descends = rescue.purpose == RescuePurpose::Commit
            && stored.is_some_and(|document| self.can_merge(document, &rescue));
        if descends && self.commit_rescue_at(&path, &rescue)? != CommitOutcome::Changed {
            private_file::remove(&path, Links::Refuse)?;
            return Ok(None);
        }
        self.abandon(path, rescue)
    }

    /// Records that the parent of `rescue` is spent, so that a restored copy of it is not sent again. Returns an
    /// orphan; removes a rescue of a stored login.
    fn abandon(&mut self, path: PathBuf, rescue: Rescue) -> Result<Option<OrphanRescue>, Error> {
        if rescue.purpose != RescuePurpose::Revoke {
            self.record(|state| state.mark_spent(rescue.parent))?;
        }
        let stored = self.stores.find()?.stored;
        let is_foreign = rescue.is_foreign_to(stored.as_ref().map(|stored| &stored.document));
        if is_foreign || rescue.purpose != RescuePurpose::Commit {
            return Ok(Some(OrphanRescue { rescue, path }));
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

    /// Removes an orphan whose tokens are revoked.
    ///
    /// # Errors
    /// [`Error::File`]: it could not be removed.
    pub fn remove_orphan(&mut self, orphan: &OrphanRescue) -> Result<(), Error> {
        private_file::remove(&orphan.path, Links::Refuse)?;
        Ok(())
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
        let there = FileStore::pinned(self.lease().home().clone(), from.clone());
        // Without a readable document there is no successor to copy.
        let Ok(Some(there)) = there.load(self.stores.deadline()) else { return Ok(()) };
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

    /// Returns the rescue, for a forced logout; the file stays. Sets one aside that cannot be used now.
    ///
    /// # Errors
    /// The rescue cannot be read or set aside.
    pub fn read_rescue(&mut self) -> Result<Option<Rescue>, Error> {
        let path = self.lease().records().rescue();
        let contents = private_file::read(&path, MAX_RESCUE_BYTES, Links::Refuse)?;
        let Some(contents) = contents.filter(|contents| !private_file::is_blank(&contents.bytes)) else {
            return Ok(None);
        };
        let reason = match self.open_rescue(contents.bytes, &self.lease().records()) {
            Ok(Ok(rescue)) if self.is_of_this_home(&rescue) => return Ok(Some(rescue)),
            Ok(Ok(_)) => "it belongs to another home that shares this document",
            Ok(Err(reason)) => reason,
            Err(Error::RescueSealed { .. }) => "the keychain cannot be used",
            Err(error) => return Err(error),
        };
        self.set_aside(&path, reason)?;
        Ok(None)
    }

    /// Renames an orphan whose tokens could not be revoked, to make room for a new rescue. The next holder of the lease
    /// tries again.
    ///
    /// # Errors
    /// [`Error::File`]: it cannot be renamed.
    pub fn set_orphan_aside(&mut self, orphan: &OrphanRescue) -> Result<(), Error> {
        self.set_aside(&orphan.path, "its tokens could not be revoked")
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

    /// Saves a login whose logout was interrupted to the rescue before a new login replaces it, so that its tokens are
    /// still revoked. Returns the fingerprint of its token.
    ///
    /// # Errors
    /// As [`Self::interrupted_logout`] and [`RescueReservation::create`].
    pub fn save_interrupted_logout(&mut self) -> Result<Option<Fingerprint>, Error> {
        let Some((_, stored)) = self.interrupted_logout()? else { return Ok(None) };
        let path = self.lease().records().rescue();
        if private_file::stamp(&path, Links::Refuse)?.is_some() {
            self.set_aside(&path, "a logout that was interrupted is completed first")?;
        }
        self.save_to_rescue(&stored, RescuePurpose::Replaced)?;
        Ok(stored.document.logout_fingerprint())
    }

    /// Saves a login that is being ended to the rescue, from which it is restored or revoked.
    ///
    /// # Errors
    /// As [`RescueReservation::create`] and [`RescueReservation::write`].
    pub fn save_to_rescue(&self, stored: &StoredDocument, purpose: RescuePurpose) -> Result<(), Error> {
        let Some(parent) = stored.document.logout_fingerprint() else { return Ok(()) };
        let kind = stored.location.kind();
        let seal = Seal::for_store(self.lease(), kind, &self.stores.keychain(), self.stores.deadline())?;
        RescueReservation::create(self.lease(), seal)?.write(&Rescue::of_login(
            stored,
            parent,
            purpose,
            Timestamp::now(),
        ))
    }

    /// Renames the rescue at `path`, to make room for a new one.
    fn set_aside(&mut self, path: &Path, reason: &'static str) -> Result<(), Error> {
        if path.file_name() != Some(OsStr::new(RESCUE_NAME)) {
            return Ok(());
        }
        // In nanoseconds, so that two rescues get two names.
        let name = format!("{RESCUE_NAME}.{}", Timestamp::now().as_nanosecond());
        private_file::rename(path, OsStr::new(&name))?;
        self.notes.push(StorageNote::RescueSetAside { path: path.with_file_name(name), reason });
        Ok(())
    }

    fn is_of_this_home(&self, rescue: &Rescue) -> bool {
        match (&rescue.item, self.stores.keychain().location()) {
            (None, _) => true,
            (Some(item), DocumentLocation::Keychain { account, .. }) => *item == account,
            (Some(_), DocumentLocation::File(_)) => false,
        }
    }
}

impl Stores {
    /// Returns a note for each rescue that was set aside. Takes no lock.
    #[must_use]
    pub fn rescues_set_aside(&self) -> Vec<StorageNote> {
        let found = DocumentTarget::of(self.home()).and_then(|target| set_aside(&target.records()));
        let reason = "it was set aside";
        found
            .unwrap_or_default()
            .into_iter()
            .map(|path| StorageNote::RescueSetAside { path, reason })
            .collect()
    }

    /// Returns `stored` as it will be once its rescue is committed, if there is one. Takes no lock. Ignores the rescue
    /// while a process holds the lease.
    #[must_use]
    pub fn with_uncommitted_rescue(&self, stored: &StoredDocument) -> Option<StoredDocument> {
        let target = DocumentTarget::of(self.home()).ok()?;
        let records = target.records();
        let bytes = private_file::read(&records.rescue(), MAX_RESCUE_BYTES, Links::Refuse).ok()??.bytes;
        if private_file::is_blank(&bytes) || lock::holder(&target.folder().refresh_lock()).is_some() {
            return None;
        }
        let Ok(OpenOutcome::Plain(plain)) = seal::open(bytes, &records, &self.keychain(), self.deadline())
        else {
            return None;
        };
        let rescue = rescue::decode(&plain)?;
        let is_its = rescue.purpose == RescuePurpose::Commit
            && rescue.kind() == stored.location.kind()
            && stored.document.fingerprint() == Some(rescue.parent)
            && !rescue.is_foreign_to(Some(&stored.document));
        let document = stored.document.with_new_tokens(&rescue.tokens, rescue.received_at).ok();
        document.filter(|_| is_its).map(|document| StoredDocument { document, ..stored.clone() })
    }
}

/// Returns the rescues that were set aside, oldest first.
pub(super) fn set_aside(records: &RecordPaths) -> Result<Vec<PathBuf>, Error> {
    let is_one = |name: &OsString| {
        let name = name.to_str().and_then(|name| name.strip_prefix(RESCUE_NAME)?.strip_prefix('.'));
        name.is_some_and(|time| !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut names: Vec<_> = private_file::names(records.folder())?.into_iter().filter(is_one).collect();
    names.sort();
    names.truncate(MAX_SET_ASIDE);
    Ok(names.into_iter().map(|name| records.folder().join(name)).collect())
}

fn is_in_file(stored: &StoredDocument) -> bool {
    stored.location.kind() == StoreKind::File
}

/// Returns whether every token of `rescue` is in `document`.
pub(super) fn has_tokens_of(document: &AuthDocument, rescue: &Rescue) -> bool {
    let Some(tokens) = document.tokens() else { return false };
    let same = |given: &Option<Secret>, stored: &Option<Secret>| given.is_none() || given == stored;
    same(&rescue.tokens.access_token, &tokens.access_token)
        && same(&rescue.tokens.refresh_token, &tokens.refresh_token)
}
