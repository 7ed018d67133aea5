//! The rescue: a token response on disk from the moment it arrives until it is committed.
//!
//! A single-use token was spent for it, so it must survive whatever happens to the store, the machine's patience or this
//! process. Its space is reserved before the token is spent ([`RescueReservation::make`]), and writing it is the first thing
//! done with the answer ([`RescueReservation::keep`]). The next holder of the lease finds it ([`Writer::recover`]).
//!
//! [`Writer::recover`]: super::Writer::recover

use codex_auth_platform::private_file::{self, Links, ReservedFile};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::{DocumentLocation, Error, Lease, Seal, StoredDocument};
use crate::config::StoreKind;
use crate::document::{AuthDocument, Identity, NewTokens, Provenance};
use crate::home::RecordPaths;
use crate::secret::{Fingerprint, Secret};

/// What is reserved: more than any token response that is accepted.
const SPACE: u64 = 320 * 1024;
/// The most that is read of a rescue.
pub(super) const LIMIT: u64 = 4 * 1024 * 1024;

/// A token response that is not committed yet.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rescue {
    /// What is to become of it.
    pub purpose: RescuePurpose,
    /// The refresh token that was spent for it.
    pub parent: Fingerprint,
    /// Whose login was refreshed.
    pub identity: Identity,
    /// Which login of that identity it was, where that is known.
    pub login: Option<String>,
    /// Who issued it, to which client.
    pub provenance: Provenance,
    /// What it holds.
    pub tokens: NewTokens,
    /// When it arrived.
    pub received_at: Timestamp,
    /// The account name of the keychain item that holds the document; `None` for the file.
    pub item: Option<String>,
    /// The whole document, for [`RescuePurpose::Revoke`] and [`RescuePurpose::Replaced`].
    pub document: Option<AuthDocument>,
}

/// What is to become of a rescue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RescuePurpose {
    /// It is to be merged into the document that it descends from.
    Commit,
    /// It belongs to another account and is to be revoked.
    Refused,
    /// It is the document of a login that is being ended: removed from its store, and to be revoked or put back.
    Revoke,
    /// It is the document of a login that was to be ended and that a new login has replaced: to be revoked.
    Replaced,
}

impl Rescue {
    /// A response to the spending of `parent`, to be committed.
    #[must_use]
    pub fn new(
        stored: &StoredDocument,
        parent: Fingerprint,
        tokens: NewTokens,
        received_at: Timestamp,
    ) -> Self {
        let document = &stored.document;
        let provenance = document.tokens().map(|tokens| tokens.provenance.clone()).unwrap_or_default();
        let login = document.tokens().and_then(|tokens| tokens.login.clone());
        let identity = document.identity();
        let item = item_of(&stored.location);
        let (purpose, document) = (RescuePurpose::Commit, None);
        Self { purpose, parent, identity, login, provenance, tokens, received_at, item, document }
    }

    /// A login whose tokens are to be revoked, `named` by one of them.
    #[must_use]
    pub fn of_login(
        stored: &StoredDocument,
        named: Fingerprint,
        purpose: RescuePurpose,
        at: Timestamp,
    ) -> Self {
        let tokens = stored.document.tokens();
        let tokens = NewTokens {
            id_token: None,
            access_token: tokens.and_then(|tokens| tokens.access_token.clone()),
            refresh_token: tokens.and_then(|tokens| tokens.refresh_token.clone()),
        };
        let rescue = Self::new(stored, named, tokens, at);
        Self { purpose, document: Some(stored.document.clone()), ..rescue }
    }

    /// Whether `stored` is of another login than this, so that nothing it holds can descend from what is in here. Where
    /// that cannot be told it is not: revoking an ancestor of the live token could end the whole login.
    #[must_use]
    pub fn is_foreign_to(&self, stored: Option<&AuthDocument>) -> bool {
        let Some(document) = stored else { return true };
        let logins = (&self.login, document.tokens().and_then(|tokens| tokens.login.as_ref()));
        let theirs = document.identity();
        // A switch to another workspace keeps user and refresh token.
        let same_user = theirs.user_id.is_some() && theirs.user_id == self.identity.user_id;
        let descends = same_user || document.fingerprint() == Some(self.parent);
        theirs.is_another_user_than(&self.identity)
            || (!descends && theirs.contradicts(&self.identity))
            || matches!(logins, (Some(ours), Some(theirs)) if ours != theirs)
            || document.tokens().is_none()
    }

    /// The same, to be revoked and never committed.
    #[must_use]
    pub fn refused(self) -> Self {
        Self { purpose: RescuePurpose::Refused, ..self }
    }

    /// The store of the document that it belongs to.
    #[must_use]
    pub fn kind(&self) -> StoreKind {
        if self.item.is_some() { StoreKind::Keychain } else { StoreKind::File }
    }

    /// The fingerprint of the refresh token in it.
    #[must_use]
    pub fn child(&self) -> Option<Fingerprint> {
        self.tokens.refresh_token.as_ref().map(Secret::fingerprint)
    }
}

/// The proof that a token response can be saved: its space is on the disk, and its key in memory.
#[derive(Debug)]
#[must_use = "the space is given back on drop"]
pub struct RescueReservation {
    file: ReservedFile,
    seal: Seal,
    records: RecordPaths,
}

impl RescueReservation {
    /// Reserves the space beside the state of the lease's document.
    ///
    /// # Errors
    /// [`Error::File`]: there is no space or no permission; nothing may be spent.
    pub fn make(lease: &Lease, seal: Seal) -> Result<Self, Error> {
        lease.check_folders()?;
        let records = lease.records();
        let file = ReservedFile::make(&records.rescue(), SPACE)?;
        Ok(Self { file, seal, records })
    }

    /// Checks whether [`Self::make`] could succeed now, and whether what is there can be read. Changes nothing.
    ///
    /// # Errors
    /// As [`Self::make`].
    pub(super) fn check(records: &RecordPaths) -> Result<(), Error> {
        let path = records.rescue();
        private_file::read(&path, LIMIT, Links::Refuse)?;
        Ok(private_file::may_reserve(&path, SPACE)?)
    }

    /// Writes `rescue`, in one write and one sync of a file that is open and has its space. When this returns the tokens
    /// survive anything but the disk's own death.
    ///
    /// # Errors
    /// [`Error::File`]: against the promise of the reservation, it could not be written.
    pub fn keep(self, rescue: &Rescue) -> Result<(), Error> {
        let bytes = self.seal.close(encode(rescue)?, &self.records)?;
        Ok(self.file.write(&bytes)?)
    }
}

/// What `plain` says, if it is a rescue.
pub(super) fn decode(plain: &[u8]) -> Option<Rescue> {
    serde_json::from_slice::<RescueFile>(plain).ok()?.read()
}

fn item_of(location: &DocumentLocation) -> Option<String> {
    match location {
        DocumentLocation::File(_) => None,
        DocumentLocation::Keychain { account, .. } => Some(account.clone()),
    }
}

/// The form on the disk.
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
            document: rescue.document.as_ref().map(text),
        }
    }
}

impl RescueFile {
    fn read(mut self) -> Option<Rescue> {
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

fn text(document: &AuthDocument) -> String {
    String::from_utf8_lossy(&document.to_compact()).into_owned()
}

fn encode(rescue: &Rescue) -> Result<Zeroizing<Vec<u8>>, Error> {
    let written = RescueFile::from(rescue);
    let length = [&written.id_token, &written.access_token, &written.refresh_token, &written.document]
        .into_iter()
        .flatten()
        .map(|text| text.len() * 2)
        .sum::<usize>();
    // Large enough from the start: a buffer that grew would leave unwiped copies behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(length + 4096));
    serde_json::to_writer(&mut *plain, &written).map_err(|_| Error::Sealing)?;
    Ok(plain)
}
