//! The rescue: a token response on disk from the moment it arrives until it is committed.
//!
//! A single-use token was spent for it, so it must survive whatever happens to the store, the machine's patience or this
//! process. Its space is reserved before the token is spent ([`Reservation::make`]), and writing it is the first thing
//! done with the answer ([`Reservation::keep`]). Whoever holds the lease next finds it ([`read`]).
//!
//! Where the document is in a keychain the rescue is sealed with a key from that keychain, so that no token lies on the
//! disk in the open. The key is made at login and migration and never on a read; without it nothing may be spent.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use codex_auth_platform::private_file::{self, Links, OverMount, Replacement};
use jiff::Timestamp;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Error, KeychainStore, Lease};
use crate::config::StoreKind;
use crate::document::{AuthDocument, Identity, NewTokens, Provenance};
use crate::secret::{Fingerprint, Secret};

/// What is reserved: more than any token response that is accepted.
const SPACE: u64 = 320 * 1024;
const LIMIT: u64 = 1024 * 1024;
/// In front of a sealed rescue; a plain one starts with a brace.
const MAGIC: &[u8] = b"codex-auth sealed 1\n";
const KEY_LENGTH: usize = 32;

/// A token response that is not committed yet.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rescue {
    /// What is to become of it.
    pub purpose: Purpose,
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
}

/// What is to become of a rescue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Purpose {
    /// It is to be merged into the document that it descends from.
    Commit,
    /// It belongs to another account and is to be taken back.
    Refused,
}

impl Rescue {
    /// A response to the spending of `parent`, to be committed.
    #[must_use]
    pub fn new(
        document: &AuthDocument,
        parent: Fingerprint,
        tokens: NewTokens,
        received_at: Timestamp,
    ) -> Self {
        let provenance = document.tokens().map(|tokens| tokens.provenance.clone()).unwrap_or_default();
        let login = document.tokens().and_then(|tokens| tokens.login.clone());
        let identity = document.identity();
        Self { purpose: Purpose::Commit, parent, identity, login, provenance, tokens, received_at }
    }

    /// Whether `stored` is of another login than this, so that nothing it holds can descend from what is in here. Where
    /// that cannot be told it is not: revoking an ancestor of the live token could end the whole login.
    #[must_use]
    pub fn is_foreign_to(&self, stored: Option<&AuthDocument>) -> bool {
        let Some(document) = stored else { return true };
        let logins = (&self.login, document.tokens().and_then(|tokens| tokens.login.as_ref()));
        !document.identity().matches(&self.identity)
            || matches!(logins, (Some(ours), Some(theirs)) if ours != theirs)
            || document.tokens().is_none()
    }

    /// The same, to be taken back and never committed.
    #[must_use]
    pub fn refused(self) -> Self {
        Self { purpose: Purpose::Refused, ..self }
    }

    /// The fingerprint of the refresh token in it.
    #[must_use]
    pub fn child(&self) -> Option<Fingerprint> {
        self.tokens.refresh_token.as_ref().map(Secret::fingerprint)
    }
}

/// How a rescue is protected on the disk.
#[derive(Debug)]
#[non_exhaustive]
pub enum Seal {
    /// By the file's mode alone, as the document beside it.
    Plain,
    /// By a key from the keychain that holds the document.
    Key(Box<LessSafeKey>),
}

impl Seal {
    /// The protection for a document in the store of `kind`.
    ///
    /// # Errors
    /// - [`Error::NoSealingKey`]: the keychain has no key of ours; a login or migration makes one.
    /// - [`Error::Keychain`]: the keychain cannot be used now.
    pub fn of(kind: StoreKind, keychain: &KeychainStore, within: std::time::Duration) -> Result<Self, Error> {
        if kind != StoreKind::Keychain {
            return Ok(Self::Plain);
        }
        let text = keychain.sealing_key(within)?.ok_or(Error::NoSealingKey)?;
        let key = STANDARD.decode(text.as_slice()).map(Zeroizing::new).map_err(|_| Error::NoSealingKey)?;
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key).map_err(|_| Error::NoSealingKey)?;
        Ok(Self::Key(Box::new(LessSafeKey::new(key))))
    }

    /// A new key, as it is kept in the keychain.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub(super) fn new_key() -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut key = Zeroizing::new([0; KEY_LENGTH]);
        getrandom::fill(key.as_mut()).map_err(Error::Random)?;
        Ok(Zeroizing::new(STANDARD.encode(key.as_ref()).into_bytes()))
    }
}

/// The proof that a token response can be saved: its space is on the disk, and its key in memory.
#[derive(Debug)]
#[must_use = "the space is given back on drop"]
pub struct Reservation {
    replacement: Replacement,
    seal: Seal,
    home: PathBuf,
}

impl Reservation {
    /// Reserves the space beside the records of the lease's place.
    ///
    /// # Errors
    /// [`Error::File`]: there is no space or no permission; nothing may be spent.
    pub fn make(lease: &Lease, seal: Seal) -> Result<Self, Error> {
        let path = lease.residence().rescue();
        let replacement = Replacement::reserve(&path, SPACE, Links::Refuse, OverMount::Refuse)?;
        Ok(Self { replacement, seal, home: lease.residence().path().to_owned() })
    }

    /// Writes `rescue` and makes it durable. When this returns the tokens survive anything but the disk's own death.
    ///
    /// # Errors
    /// [`Error::File`]: against the promise of the reservation, it could not be written.
    pub fn keep(self, rescue: &Rescue) -> Result<(), Error> {
        let bytes = encode(rescue, &self.seal, &self.home)?;
        self.replacement.commit(&bytes)?;
        Ok(())
    }
}

/// What is found where a rescue would be.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "every case is the caller's to handle")]
pub enum Left {
    /// A rescue.
    Rescue(Box<Rescue>),
    /// A rescue that is sealed, and the keychain can be looked into and has no key of ours.
    Sealed,
    /// Something that cannot be read as one: cut off before it was durable, so that its tokens are lost, or sealed with
    /// another key.
    Unreadable,
}

/// The rescue of the lease's place, if there is one.
///
/// # Errors
/// - [`Error::File`]: it is there and cannot be read.
/// - [`Error::Keychain`]: it is sealed, and the keychain cannot be looked into now.
pub fn read(
    lease: &Lease,
    keychain: &KeychainStore,
    within: std::time::Duration,
) -> Result<Option<Left>, Error> {
    let Some(contents) = private_file::read(&lease.residence().rescue(), LIMIT, Links::Refuse)? else {
        return Ok(None);
    };
    let plain = match contents.bytes.strip_prefix(MAGIC) {
        None => Some(contents.bytes),
        Some(sealed) => match Seal::of(StoreKind::Keychain, keychain, within) {
            Ok(Seal::Key(key)) => open(sealed, &key, lease.residence().path()),
            Ok(Seal::Plain) => None,
            Err(Error::NoSealingKey) => return Ok(Some(Left::Sealed)),
            Err(error) => return Err(error),
        },
    };
    let written = plain.and_then(|plain| serde_json::from_slice::<Written>(&plain).ok());
    Ok(Some(written.map_or(Left::Unreadable, |written| Left::Rescue(Box::new(written.into())))))
}

/// Whether there is a rescue. One look, no lock.
///
/// # Errors
/// [`Error::File`]: it cannot be looked at.
pub fn is_there(lease: &Lease) -> Result<bool, Error> {
    Ok(private_file::stamp(&lease.residence().rescue(), Links::Refuse)?.is_some())
}

/// Removes the rescue: what was in it is stored, or taken back.
///
/// # Errors
/// [`Error::File`]: it is still there.
pub fn clear(lease: &Lease) -> Result<(), Error> {
    private_file::remove(&lease.residence().rescue(), Links::Refuse)?;
    Ok(())
}

/// The form on the disk.
#[derive(Serialize, Deserialize)]
struct Written {
    purpose: Purpose,
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
}

impl Drop for Written {
    fn drop(&mut self) {
        for token in [&mut self.id_token, &mut self.access_token, &mut self.refresh_token] {
            token.zeroize();
        }
    }
}

impl From<&Rescue> for Written {
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
        }
    }
}

impl From<Written> for Rescue {
    fn from(mut written: Written) -> Self {
        let secret = |token: &mut Option<String>| token.take().map(Secret::new);
        Self {
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
        }
    }
}

fn encode(rescue: &Rescue, seal: &Seal, home: &std::path::Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let written = Written::from(rescue);
    let length = [&written.id_token, &written.access_token, &written.refresh_token]
        .into_iter()
        .flatten()
        .map(|token| token.len() * 2)
        .sum::<usize>();
    // Large enough from the start: a buffer that grew would leave unwiped copies behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(length + 4096));
    serde_json::to_writer(&mut *plain, &written).map_err(|_| Error::Sealing)?;
    let Seal::Key(key) = seal else { return Ok(plain) };
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce).map_err(Error::Random)?;
    let mut tail = plain.clone();
    let tag = key
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(home.as_os_str().as_encoded_bytes()),
            &mut tail,
        )
        .map_err(|_| Error::Sealing)?;
    Ok(Zeroizing::new([MAGIC, &nonce, &tail, tag.as_ref()].concat()))
}

/// What was sealed for `home` with `key`; nothing when it was not, or is not whole.
fn open(sealed: &[u8], key: &LessSafeKey, home: &std::path::Path) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, tail) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut tail = Zeroizing::new(tail.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let plain = key.open_in_place(nonce, Aad::from(home.as_os_str().as_encoded_bytes()), &mut tail).ok()?;
    Some(Zeroizing::new(plain.to_vec()))
}
