//! Completes what a killed process left behind: rescues, and a logout.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use codex_auth_platform::lock;
use codex_auth_platform::private_file::{self, Links};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::rescue::{self, LIMIT, Rescue, RescuePurpose, RescueReservation};
use super::seal::{self, OpenOutcome};
use super::{
    AdvanceOutcome, DocumentLocation, DocumentTarget, Error, FileStore, Seal, SeenRevision, StorageNote,
    Store as _, StoreContent, StoredDocument, Stores, Writer,
};
use crate::config::StoreKind;
use crate::document::{AuthDocument, NewTokens};
use crate::home::RecordPaths;
use crate::secret::{Fingerprint, Secret};

/// The file name of a rescue; one that was set aside has a time behind it.
const NAME: &str = "rescue";
/// How many rescues that were set aside are looked at again.
const MOST_SET_ASIDE: usize = 16;

/// A rescue whose tokens belong to no stored login. It stays until they are revoked and [`Writer::clear_orphan`] is called.
#[derive(Debug)]
#[must_use = "its tokens have to be revoked"]
pub struct OrphanRescue {
    /// What is in it.
    pub rescue: Rescue,
    path: PathBuf,
}

impl Writer<'_> {
    /// Completes the rescues that are there. A holder of the lease does this before anything else.
    ///
    /// A rescue is merged if its store still holds what was spent for it, and dropped if the store holds it already. One
    /// that cannot be used now and belongs to no login that is stored is set aside under another name, and dealt with when
    /// it can be. The rest are orphans.
    ///
    /// # Errors
    /// A store or the rescue cannot be read, or the merged document cannot be stored. The rescue stays, and nothing may be
    /// spent.
    pub fn recover(&mut self) -> Result<Vec<OrphanRescue>, Error> {
        // What a killed writer left beside them may hold tokens.
        private_file::sweep(&self.lease().target().document(), Links::Refuse);
        private_file::sweep(&self.lease().home().config(), Links::Follow);
        let mut orphans = Vec::new();
        for records in self.recoverable() {
            let path = records.rescue();
            let read = private_file::read(&path, LIMIT, Links::Refuse)?;
            match read.map(|contents| contents.bytes) {
                None => {}
                // The space of a request that was never answered.
                Some(bytes) if private_file::is_blank(&bytes) => {
                    private_file::remove(&path, Links::Refuse)?;
                }
                Some(bytes) => match self.opened(bytes, &records)? {
                    Ok(rescue) => orphans.extend(self.complete(path, rescue)?),
                    Err(reason) => self.put_aside(&path, reason)?,
                },
            }
            for path in set_aside(&records)? {
                // What cannot be dealt with now is tried again by the next holder.
                let read = private_file::read(&path, LIMIT, Links::Refuse);
                let Some(bytes) = read.ok().flatten().map(|contents| contents.bytes) else { continue };
                if let Ok(Ok(rescue)) = self.opened(bytes, &records)
                    && self.is_ours(&rescue)
                    && let Ok(orphan) = self.complete(path, rescue)
                {
                    orphans.extend(orphan);
                }
            }
        }
        Ok(orphans)
    }

    /// Whose rescues are completed: those of the document, and those of an `auth.json` that a link has taken the place of
    /// since, as happens when a user moves the document elsewhere and links to it.
    fn recoverable(&self) -> Vec<RecordPaths> {
        let (records, own) = (self.lease().records(), self.lease().home().own_records());
        if records == own { vec![records] } else { vec![records, own] }
    }

    /// The rescue in `bytes`, or why it cannot be used.
    fn opened(
        &self,
        bytes: Zeroizing<Vec<u8>>,
        records: &RecordPaths,
    ) -> Result<Result<Rescue, &'static str>, Error> {
        let path = records.rescue();
        Ok(match seal::open(bytes, records, &self.stores.keychain(), self.stores.deadline())? {
            OpenOutcome::Plain(plain) => match rescue::decode(&plain) {
                Some(rescue) => Ok(rescue),
                None => Err("it is not a whole token response"),
            },
            OpenOutcome::NoKey => Err("the keychain has no key that fits it"),
            OpenOutcome::Unavailable(source) => match self.stores.find() {
                // The login that it belongs to is in the keychain; this one has replaced it.
                Ok(found) if found.stored.as_ref().is_some_and(is_in_file) => {
                    Err("it belongs to a login in the keychain, which cannot be used")
                }
                _ => return Err(Error::RescueSealed { path, source }),
            },
        })
    }

    /// Merges `rescue`, or drops it, or returns it as an orphan.
    fn complete(&mut self, path: PathBuf, rescue: Rescue) -> Result<Option<OrphanRescue>, Error> {
        if !self.is_ours(&rescue) {
            self.put_aside(&path, "it belongs to another home that shares this document")?;
            return Ok(None);
        }
        let content = match self.read(rescue.kind()) {
            Err(Error::Keychain(_))
                if self.stores.find().is_ok_and(|found| found.stored.as_ref().is_some_and(is_in_file)) =>
            {
                self.put_aside(&path, "it belongs to a login in the keychain, which cannot be used")?;
                return Ok(None);
            }
            content => content?,
        };
        let stored = match &content {
            StoreContent::Document(stored) => Some(&stored.document),
            _ => None,
        };
        match rescue.purpose {
            // The logout is completed from the store, where the login still is.
            RescuePurpose::Revoke
                if rescue.document.as_ref().map(AuthDocument::revision)
                    == stored.map(AuthDocument::revision) =>
            {
                private_file::remove(&path, Links::Refuse)?;
                return Ok(None);
            }
            // So it was put back, or another program has refreshed it since: an ancestor is not revoked, and a logout that
            // was begun goes on with what is there.
            RescuePurpose::Revoke if stored.is_some_and(|document| !rescue.is_foreign_to(Some(document))) => {
                if let Some(document) = stored
                    && self.state.logging_out == Some(rescue.parent)
                {
                    self.record(|state| state.mark_logout(document))?;
                }
                private_file::remove(&path, Links::Refuse)?;
                return Ok(None);
            }
            // The new login was not stored.
            RescuePurpose::Replaced
                if stored.is_some_and(|document| document.logout_fingerprint() == Some(rescue.parent)) =>
            {
                private_file::remove(&path, Links::Refuse)?;
                return Ok(None);
            }
            RescuePurpose::Replaced => return Ok(Some(OrphanRescue { rescue, path })),
            RescuePurpose::Commit if stored.is_some_and(|document| holds(document, &rescue)) => {
                // The holder may have died between the commit and the record of it.
                self.record(|state| state.committed(&rescue))?;
                private_file::remove(&path, Links::Refuse)?;
                return Ok(None);
            }
            _ => {}
        }
        let descends = rescue.purpose == RescuePurpose::Commit
            && stored.is_some_and(|document| self.descends(document, &rescue));
        if descends && self.advance_from(&path, &rescue)? != AdvanceOutcome::Moved {
            private_file::remove(&path, Links::Refuse)?;
            return Ok(None);
        }
        self.disown(path, rescue)
    }

    /// Records that the parent of `rescue` is spent: a copy of it that is put back must not be sent again. An orphan is
    /// returned; the tokens of a login that is stored are dropped.
    fn disown(&mut self, path: PathBuf, rescue: Rescue) -> Result<Option<OrphanRescue>, Error> {
        if rescue.purpose != RescuePurpose::Revoke {
            self.record(|state| state.spend(rescue.parent))?;
        }
        let stored = self.stores.find()?.stored;
        let is_foreign = rescue.is_foreign_to(stored.as_ref().map(|stored| &stored.document));
        if is_foreign || rescue.purpose != RescuePurpose::Commit {
            return Ok(Some(OrphanRescue { rescue, path }));
        }
        private_file::remove(&path, Links::Refuse)?;
        Ok(None)
    }

    /// Gives up committing `rescue`, which this process has just written: the store moved meanwhile, or the answer is of
    /// another account.
    ///
    /// # Errors
    /// The state or the rescue cannot be written.
    pub fn give_up(&mut self, rescue: Rescue) -> Result<Option<OrphanRescue>, Error> {
        self.record(|state| state.committed(&rescue))?;
        let path = self.lease().records().rescue();
        self.disown(path, rescue)
    }

    /// Removes an orphan whose tokens are revoked.
    ///
    /// # Errors
    /// [`Error::File`]: it is still there.
    pub fn clear_orphan(&mut self, orphan: &OrphanRescue) -> Result<(), Error> {
        private_file::remove(&orphan.path, Links::Refuse)?;
        Ok(())
    }

    /// Brings the document of the home up to date from that at `from`, if it is a copy of what was spent there: the link to
    /// it was replaced by a file, or by a link to another, during the request. `at` is when the successor arrived.
    ///
    /// # Errors
    /// As [`Self::advance`].
    pub fn catch_up(
        &mut self,
        from: &DocumentTarget,
        parent: Fingerprint,
        at: Timestamp,
    ) -> Result<(), Error> {
        let StoreContent::Document(here) = self.read(StoreKind::File)? else { return Ok(()) };
        let there = FileStore::pinned(self.lease().home().clone(), from.clone());
        // One that is gone or that cannot be read has no successor for us.
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
            let _ = self.advance(&rescue)?;
        }
        Ok(())
    }

    /// Returns what is in the rescue, for a person who forces a logout; the file stays. One that cannot be used now is set
    /// aside.
    ///
    /// # Errors
    /// The rescue cannot be read, or not be set aside.
    pub fn unfinished(&mut self) -> Result<Option<Rescue>, Error> {
        let path = self.lease().records().rescue();
        let contents = private_file::read(&path, LIMIT, Links::Refuse)?;
        let Some(contents) = contents.filter(|contents| !private_file::is_blank(&contents.bytes)) else {
            return Ok(None);
        };
        let reason = match self.opened(contents.bytes, &self.lease().records()) {
            Ok(Ok(rescue)) if self.is_ours(&rescue) => return Ok(Some(rescue)),
            Ok(Ok(_)) => "it belongs to another home that shares this document",
            Ok(Err(reason)) => reason,
            Err(Error::RescueSealed { .. }) => "the keychain cannot be used",
            Err(error) => return Err(error),
        };
        self.put_aside(&path, reason)?;
        Ok(None)
    }

    /// Keeps an orphan whose tokens could not be revoked until the next holder of the lease tries again, under a name
    /// that leaves room for a new rescue.
    ///
    /// # Errors
    /// [`Error::File`]: it cannot be renamed.
    pub fn keep_orphan(&mut self, orphan: &OrphanRescue) -> Result<(), Error> {
        self.put_aside(&orphan.path, "its tokens could not be revoked")
    }

    /// The login whose logout was interrupted, if it is still stored.
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
                && self.state.ending(&stored.document).is_some()
            {
                return Ok(Some((seen, stored)));
            }
        }
        Ok(None)
    }

    /// Holds a login whose logout was interrupted in the rescue, for a login that is about to replace it, so that its tokens
    /// are revoked all the same. Returns the name of its token.
    ///
    /// # Errors
    /// As [`Self::interrupted_logout`] and [`RescueReservation::make`].
    pub fn hold_interrupted_logout(&mut self) -> Result<Option<Fingerprint>, Error> {
        let Some((_, stored)) = self.interrupted_logout()? else { return Ok(None) };
        let path = self.lease().records().rescue();
        if private_file::stamp(&path, Links::Refuse)?.is_some() {
            self.put_aside(&path, "a logout that was interrupted is completed first")?;
        }
        self.hold(&stored, RescuePurpose::Replaced)?;
        Ok(stored.document.logout_fingerprint())
    }

    /// Writes a login that is being ended into the rescue, from which it is put back or revoked.
    ///
    /// # Errors
    /// As [`RescueReservation::make`] and [`RescueReservation::keep`].
    pub fn hold(&self, stored: &StoredDocument, purpose: RescuePurpose) -> Result<(), Error> {
        let Some(named) = stored.document.logout_fingerprint() else { return Ok(()) };
        let kind = stored.location.kind();
        let seal = Seal::make(self.lease(), kind, &self.stores.keychain(), self.stores.deadline())?;
        RescueReservation::make(self.lease(), seal)?.keep(&Rescue::of_login(
            stored,
            named,
            purpose,
            Timestamp::now(),
        ))
    }

    /// Gives the rescue another name, so that a new rescue can be made.
    fn put_aside(&mut self, path: &Path, reason: &'static str) -> Result<(), Error> {
        if path.file_name() != Some(OsStr::new(NAME)) {
            return Ok(());
        }
        // Nanoseconds, so that two have two names.
        let name = format!("{NAME}.{}", Timestamp::now().as_nanosecond());
        private_file::rename(path, OsStr::new(&name))?;
        self.notes.push(StorageNote::RescueSetAside { path: path.with_file_name(name), reason });
        Ok(())
    }

    fn is_ours(&self, rescue: &Rescue) -> bool {
        match (&rescue.item, self.stores.keychain().location()) {
            (None, _) => true,
            (Some(item), DocumentLocation::Keychain { account, .. }) => *item == account,
            (Some(_), DocumentLocation::File(_)) => false,
        }
    }
}

impl Stores {
    /// Names the rescues that were set aside and could not be dealt with so far. Takes no lock.
    #[must_use]
    pub fn set_aside(&self) -> Vec<StorageNote> {
        let found = DocumentTarget::of(self.home()).and_then(|target| set_aside(&target.records()));
        let reason = "it was set aside";
        found
            .unwrap_or_default()
            .into_iter()
            .map(|path| StorageNote::RescueSetAside { path, reason })
            .collect()
    }

    /// What `stored` becomes once its rescue is committed, if a process left one that could not be. Takes no lock, and
    /// leaves a rescue alone while a process holds the lease.
    #[must_use]
    pub fn uncommitted(&self, stored: &StoredDocument) -> Option<StoredDocument> {
        let target = DocumentTarget::of(self.home()).ok()?;
        let records = target.records();
        let bytes = private_file::read(&records.rescue(), LIMIT, Links::Refuse).ok()??.bytes;
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
        let document = stored.document.with_successor(&rescue.tokens, rescue.received_at).ok();
        document.filter(|_| is_its).map(|document| StoredDocument { document, ..stored.clone() })
    }
}

/// The rescues that were set aside, oldest first.
pub(super) fn set_aside(records: &RecordPaths) -> Result<Vec<PathBuf>, Error> {
    let is_one = |name: &OsString| {
        let name = name.to_str().and_then(|name| name.strip_prefix(NAME)?.strip_prefix('.'));
        name.is_some_and(|time| !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut names: Vec<_> = private_file::names(records.folder())?.into_iter().filter(is_one).collect();
    names.sort();
    names.truncate(MOST_SET_ASIDE);
    Ok(names.into_iter().map(|name| records.folder().join(name)).collect())
}

fn is_in_file(stored: &StoredDocument) -> bool {
    stored.location.kind() == StoreKind::File
}

/// Whether every token of `rescue` is in `document`.
pub(super) fn holds(document: &AuthDocument, rescue: &Rescue) -> bool {
    let Some(tokens) = document.tokens() else { return false };
    let same = |given: &Option<Secret>, stored: &Option<Secret>| given.is_none() || given == stored;
    same(&rescue.tokens.access_token, &tokens.access_token)
        && same(&rescue.tokens.refresh_token, &tokens.refresh_token)
}
