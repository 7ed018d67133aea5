//! The rescue: a token response on disk from the moment it arrives until it is committed.
//!
//! A single-use token was spent for it, so it must survive a failing store and the death of this process. Its space is
//! reserved before the token is spent ([`RescueReservation::create`]), and it is written before anything else is done
//! with the response ([`RescueReservation::write`]). The next holder of the lease completes it ([`Writer::recover`]).
//!
//! [`Writer::recover`]: super::Writer::recover

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use codex_auth_platform::lock;
use codex_auth_platform::private_file::{self, Links, ReservedFile};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::content::{DocumentLocation, StorageNote, StoredDocument};
use super::error::Error;
use super::find::Stores;
use super::lease::Lease;
use super::seal::{self, OpenOutcome, Seal};
use crate::config::StoreKind;
use crate::document::{AuthDocument, Identity, NewTokens, Provenance};
use crate::home::RecordPaths;
use crate::secret::{Fingerprint, Secret};

/// The reserved space; every accepted token response is smaller.
const RESERVED_BYTES: u64 = 320 * 1024;
/// The file name of a rescue; one that was set aside has a dot and a time after it.
pub(super) const RESCUE_NAME: &str = "rescue";
/// The largest rescue that is read.
const MAX_RESCUE_BYTES: u64 = 4 * 1024 * 1024;

/// A token response that is not committed yet.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rescue {
    /// How it will be completed.
    pub purpose: RescuePurpose,
    /// The refresh token that was spent for it.
    pub parent: Fingerprint,
    /// The identity of the refreshed login.
    pub identity: Identity,
    /// The id of the login, if it has one.
    pub login: Option<String>,
    /// The issuer and client id of the tokens.
    pub provenance: Provenance,
    /// The received tokens.
    pub tokens: NewTokens,
    /// When it arrived.
    pub received_at: Timestamp,
    /// The account attribute of the document's keychain item; `None` for the file store.
    pub item: Option<String>,
    /// The whole document, for [`RescuePurpose::Revoke`] and [`RescuePurpose::Replaced`].
    pub document: Option<AuthDocument>,
}

/// How a rescue will be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RescuePurpose {
    /// Its tokens are committed to the document that they descend from.
    Commit,
    /// Its tokens belong to another account and are revoked.
    Refused,
    /// It holds the document of a login that is being ended, which is revoked, or restored if the logout fails.
    Revoke,
    /// It holds a login that a new one replaced, or one that was not stored; it is revoked unless it is stored.
    Replaced,
}

impl Rescue {
    /// Creates the rescue of a response for which `parent` was spent, to be committed.
    #[must_use]
    pub fn new(
        stored: &StoredDocument,
        parent: Fingerprint,
        tokens: NewTokens,
        received_at: Timestamp,
    ) -> Self {
        let document = &stored.document;
        let provenance = document.tokens().map(|tokens| tokens.provenance.clone()).unwrap_or_default();
        let login = document.tokens().and_then(|tokens| tokens.login_id.clone());
        let identity = document.identity();
        let item = item_of(&stored.location);
        let (purpose, document) = (RescuePurpose::Commit, None);
        Self { purpose, parent, identity, login, provenance, tokens, received_at, item, document }
    }

    /// Creates the rescue of a whole login, to be revoked; `parent` is the fingerprint of one of its tokens.
    #[must_use]
    pub fn of_login(
        stored: &StoredDocument,
        parent: Fingerprint,
        purpose: RescuePurpose,
        at: Timestamp,
    ) -> Self {
        let tokens = stored.document.tokens();
        let tokens = NewTokens {
            id_token: None,
            access_token: tokens.and_then(|tokens| tokens.access_token.clone()),
            refresh_token: tokens.and_then(|tokens| tokens.refresh_token.clone()),
        };
        let rescue = Self::new(stored, parent, tokens, at);
        Self { purpose, document: Some(stored.document.clone()), ..rescue }
    }

    /// Returns whether `stored` is certainly another login, so that its tokens cannot descend from those in the rescue.
    /// In doubt it is not: revoking an ancestor of the live token could end the whole login.
    #[must_use]
    pub fn is_foreign_to(&self, stored: Option<&AuthDocument>) -> bool {
        let Some(document) = stored else { return true };
        let logins = (&self.login, document.tokens().and_then(|tokens| tokens.login_id.as_ref()));
        let theirs = document.identity();
        // Switching to another workspace keeps the user and the refresh token.
        let same_user = theirs.user_id.is_some() && theirs.user_id == self.identity.user_id;
        let descends = same_user || document.fingerprint() == Some(self.parent);
        theirs.is_different_user(&self.identity)
            || (!descends && theirs.contradicts(&self.identity))
            || matches!(logins, (Some(ours), Some(theirs)) if ours != theirs)
            || document.tokens().is_none()
    }

    /// Returns whether every received token is in `document`.
    pub(super) fn is_in(&self, document: &AuthDocument) -> bool {
        let Some(tokens) = document.tokens() else { return false };
        let same =
            |received: &Option<Secret>, stored: &Option<Secret>| received.is_none() || received == stored;
        same(&self.tokens.access_token, &tokens.access_token)
            && same(&self.tokens.refresh_token, &tokens.refresh_token)
    }

    /// Changes the purpose to [`RescuePurpose::Refused`].
    #[must_use]
    pub fn into_refused(self) -> Self {
        Self { purpose: RescuePurpose::Refused, ..self }
    }

    /// Returns the store of the document that it belongs to.
    #[must_use]
    pub fn kind(&self) -> StoreKind {
        if self.item.is_some() { StoreKind::Keychain } else { StoreKind::File }
    }

    /// Returns the fingerprint of the received refresh token.
    #[must_use]
    pub fn child(&self) -> Option<Fingerprint> {
        self.tokens.refresh_token.as_ref().map(Secret::fingerprint)
    }
}

/// Proof that a token response can be saved: its disk space is reserved, and the sealing key is in memory.
#[derive(Debug)]
#[must_use = "the space is released on drop"]
pub struct RescueReservation {
    file: ReservedFile,
    seal: Seal,
    records: RecordPaths,
}

impl RescueReservation {
    /// Reserves disk space beside the state of the lease's document.
    ///
    /// # Errors
    /// [`Error::File`]: there is no space or no permission; no token may be spent.
    pub fn create(lease: &Lease, seal: Seal) -> Result<Self, Error> {
        lease.check_folders()?;
        let records = lease.records();
        let file = ReservedFile::create(&records.rescue(), RESERVED_BYTES)?;
        Ok(Self { file, seal, records })
    }

    /// Checks whether [`Self::create`] could succeed now and an existing rescue can be read. Changes nothing.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub(super) fn check(records: &RecordPaths) -> Result<(), Error> {
        let path = records.rescue();
        read(&path)?;
        Ok(private_file::check_can_reserve(&path, RESERVED_BYTES)?)
    }

    /// Writes and syncs `rescue` into the reserved file. When this returns, the tokens survive a crash of the process
    /// or the machine.
    ///
    /// # Errors
    /// - [`Error::File`]: it could not be written, in spite of the reservation.
    /// - [`Error::Sealing`], [`Error::Random`].
    pub fn write(self, rescue: &Rescue) -> Result<(), Error> {
        let bytes = self.seal.seal(encode(rescue)?, &self.records)?;
        Ok(self.file.write(&bytes)?)
    }
}

impl Stores {
    /// Checks whether a refresh of the document in the store of `kind` could be saved now: in the rescue, under Codex's
    /// commit locks, and in the store itself. Creates, changes and locks nothing, and ignores who holds a lock.
    ///
    /// # Errors
    /// The error that the refresh would return before spending a token, where a check without a trial finds it.
    pub fn check_refresh(&self, kind: StoreKind) -> Result<(), Error> {
        let target = self.file().target()?;
        let store = self.store(kind);
        store.check_write(self.timeout())?;
        if kind == StoreKind::Keychain {
            // A missing sealing key is created by the refresh; one that cannot be read is an error.
            self.keychain().sealing_key(&target.records(), self.timeout())?;
            self.file().check_locks()?;
        }
        RescueReservation::check(&target.records())
    }

    /// Returns a note for each rescue that was set aside. Takes no lock.
    #[must_use]
    pub fn rescues_set_aside(&self) -> Vec<StorageNote> {
        let found = self.file().target().and_then(|target| rescues_set_aside(&target.records()));
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
        let target = self.file().target().ok()?;
        let records = target.records();
        let bytes = read(&records.rescue()).ok()??;
        if private_file::is_blank(&bytes) || lock::holder(&target.folder().refresh_lock()).is_some() {
            return None;
        }
        let Ok(OpenOutcome::Plain(plain)) = seal::open(bytes, &records, &self.keychain(), self.timeout())
        else {
            return None;
        };
        let rescue = decode(&plain)?;
        let is_its = rescue.purpose == RescuePurpose::Commit
            && rescue.kind() == stored.location.kind()
            && stored.document.fingerprint() == Some(rescue.parent)
            && !rescue.is_foreign_to(Some(&stored.document));
        let document = stored.document.with_new_tokens(&rescue.tokens, rescue.received_at).ok();
        document.filter(|_| is_its).map(|document| StoredDocument { document, ..stored.clone() })
    }
}

/// Returns the files that hold tokens which are not stored yet: the rescue and those that were set aside.
pub(crate) fn rescue_files(records: &RecordPaths) -> Vec<PathBuf> {
    // A blank rescue is the reserved space of a running request.
    let is_empty =
        read(&records.rescue()).is_ok_and(|bytes| bytes.is_none_or(|bytes| private_file::is_blank(&bytes)));
    let rescue = (!is_empty).then(|| records.rescue());
    rescue.into_iter().chain(rescues_set_aside(records).unwrap_or_default()).collect()
}

/// Returns the rescues that were set aside, oldest first.
pub(super) fn rescues_set_aside(records: &RecordPaths) -> Result<Vec<PathBuf>, Error> {
    let is_one = |name: &OsString| {
        let name = name.to_str().and_then(|name| name.strip_prefix(RESCUE_NAME)?.strip_prefix('.'));
        name.is_some_and(|time| !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut names: Vec<_> = private_file::names(records.folder())?.into_iter().filter(is_one).collect();
    names.sort();
    Ok(names.into_iter().map(|name| records.folder().join(name)).collect())
}

/// Reads the file of a rescue, which may be blank reserved space, a sealed or a plain rescue.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    Ok(private_file::read(path, MAX_RESCUE_BYTES, Links::Refuse)?.map(|contents| contents.bytes))
}

/// Returns a new file name for a rescue that is set aside.
pub(super) fn aside_name() -> String {
    // In nanoseconds, so that two rescues get two names.
    format!("{RESCUE_NAME}.{}", Timestamp::now().as_nanosecond())
}

/// Parses a decrypted rescue.
pub(super) fn decode(plain: &[u8]) -> Option<Rescue> {
    serde_json::from_slice::<RescueFile>(plain).ok()?.into_rescue()
}

fn item_of(location: &DocumentLocation) -> Option<String> {
    match location {
        DocumentLocation::File(_) => None,
        DocumentLocation::Keychain { account, .. } => Some(account.clone()),
    }
}

/// The JSON of a rescue on disk.
#[derive(Serialize, Deserialize)]
struct RescueFile {
    purpose: RescuePurpose,
    parent: Fingerprint,
    account_id: Option<String>,
    user_id: Option<String>,
    #[serde(default)]
    login: Option<String>,
    issuer: Option<String>,
    client_id: Option<String>,
    received_at: Timestamp,
    id_token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    item: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    document: Option<String>,
}

impl Drop for RescueFile {
    fn drop(&mut self) {
        let Self { id_token, access_token, refresh_token, document, .. } = self;
        for secret in [id_token, access_token, refresh_token, document] {
            secret.zeroize();
        }
    }
}

impl From<&Rescue> for RescueFile {
    fn from(rescue: &Rescue) -> Self {
        let plain = |token: &Option<Secret>| token.as_ref().map(|token| token.expose().to_owned());
        Self {
            purpose: rescue.purpose,
            parent: rescue.parent,
            account_id: rescue.identity.account_id.clone(),
            user_id: rescue.identity.user_id.clone(),
            login: rescue.login.clone(),
            issuer: rescue.provenance.issuer.clone(),
            client_id: rescue.provenance.client_id.clone(),
            received_at: rescue.received_at,
            id_token: plain(&rescue.tokens.id_token),
            access_token: plain(&rescue.tokens.access_token),
            refresh_token: plain(&rescue.tokens.refresh_token),
            item: rescue.item.clone(),
            document: rescue.document.as_ref().map(document_text),
        }
    }
}

impl RescueFile {
    fn into_rescue(mut self) -> Option<Rescue> {
        let written = &mut self;
        let secret = |token: &mut Option<String>| token.take().map(Secret::new);
        let document = match written.document.take().map(Zeroizing::new) {
            Some(text) => Some(AuthDocument::parse(text.as_bytes()).ok()?),
            None => None,
        };
        Some(Rescue {
            purpose: written.purpose,
            parent: written.parent,
            identity: Identity::new(written.account_id.take(), written.user_id.take()),
            login: written.login.take(),
            provenance: Provenance::new(written.issuer.take(), written.client_id.take()),
            tokens: NewTokens {
                id_token: secret(&mut written.id_token),
                access_token: secret(&mut written.access_token),
                refresh_token: secret(&mut written.refresh_token),
            },
            received_at: written.received_at,
            item: written.item.take(),
            document,
        })
    }
}

fn document_text(document: &AuthDocument) -> String {
    String::from_utf8_lossy(&document.to_compact()).into_owned()
}

pub(super) fn encode(rescue: &Rescue) -> Result<Zeroizing<Vec<u8>>, Error> {
    let written = RescueFile::from(rescue);
    let length = [&written.id_token, &written.access_token, &written.refresh_token, &written.document]
        .into_iter()
        .flatten()
        .map(|text| text.len() * 2)
        .sum::<usize>();
    // Allocated in full, because a growing buffer would leave unwiped copies behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(length + 4096));
    serde_json::to_writer(&mut *plain, &written).map_err(|_| Error::Sealing)?;
    Ok(plain)
}
