//! Encrypting a rescue with a key from the keychain, if the document is in the keychain.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use codex_auth_platform::keychain;
use zeroize::Zeroizing;

use super::cipher::{self, NONCE_LENGTH, TAG_LENGTH};
use super::error::Error;
use super::keychain::KeychainStore;
use super::lease::Lease;
use crate::config::StoreKind;
use crate::home::RecordPaths;

/// The prefix of a sealed rescue; a plain one starts with a brace.
const MAGIC: &[u8] = b"codex-auth sealed 1\n";
const KEY_LENGTH: usize = 32;

/// The protection of a rescue on disk.
#[derive(Debug)]
#[non_exhaustive]
pub enum Seal {
    /// Only the file's mode, as for a document in the file store.
    Plain,
    /// Encryption with this key from the keychain that holds the document.
    Key(SealingKey),
}

/// A key that encrypts a rescue.
#[derive(Debug)]
pub struct SealingKey(cipher::Key);

/// The outcome of [`open`].
pub(super) enum OpenOutcome {
    /// The content, which was not sealed or is decrypted.
    Plain(Zeroizing<Vec<u8>>),
    /// The keychain can be read, but has no key that decrypts it.
    NoKey,
    /// The keychain cannot be read now.
    Unavailable(keychain::Error),
}

impl Seal {
    /// Returns the protection for a rescue of a document in the store of `kind`. Creates the key under the lease if
    /// there is none. Homes that share a document share its key.
    ///
    /// # Errors
    /// - [`Error::Keychain`]: the keychain cannot be used now.
    /// - [`Error::Random`], [`Error::Sealing`]: no key could be created.
    pub fn for_store(
        lease: &Lease,
        kind: StoreKind,
        keychain: &KeychainStore,
        within: Duration,
    ) -> Result<Self, Error> {
        if kind == StoreKind::File {
            return Ok(Self::Plain);
        }
        let records = lease.records();
        if let Some(key) = keychain.sealing_key(&records, within)?.and_then(|text| parse_key(&text)) {
            return Ok(Self::Key(key));
        }
        let mut key = Zeroizing::new([0; KEY_LENGTH]);
        getrandom::fill(key.as_mut()).map_err(|error| Error::Random(error.into()))?;
        let text = Zeroizing::new(STANDARD.encode(key.as_ref()).into_bytes());
        keychain.set_sealing_key(lease, &text, within)?;
        parse_key(&text).map(Self::Key).ok_or(Error::Sealing)
    }

    /// Returns `plain` in the form that is written to disk.
    pub(super) fn seal(
        &self,
        plain: Zeroizing<Vec<u8>>,
        records: &RecordPaths,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let Self::Key(key) = self else { return Ok(plain) };
        let mut nonce = [0; NONCE_LENGTH];
        getrandom::fill(&mut nonce).map_err(|error| Error::Random(error.into()))?;
        let mut tail = plain;
        let tag = key.0.seal(nonce, associated(records), &mut tail).ok_or(Error::Sealing)?;
        let length = u32::try_from(tail.len()).map_err(|_| Error::Sealing)?.to_be_bytes();
        Ok(Zeroizing::new([MAGIC, &length, &nonce, &tail, &tag].concat()))
    }
}

/// Decrypts `bytes` if they are sealed.
pub(super) fn open(
    bytes: Zeroizing<Vec<u8>>,
    records: &RecordPaths,
    keychain: &KeychainStore,
    within: Duration,
) -> Result<OpenOutcome, Error> {
    let Some(sealed) = bytes.strip_prefix(MAGIC) else { return Ok(OpenOutcome::Plain(bytes)) };
    let key = match keychain.sealing_key(records, within) {
        Ok(key) => key.and_then(|text| parse_key(&text)),
        Err(Error::Keychain(error)) => return Ok(OpenOutcome::Unavailable(error)),
        Err(error) => return Err(error),
    };
    let plain = key.and_then(|key| {
        let (length, sealed) = sealed.split_first_chunk::<4>()?;
        let (nonce, tail) = sealed.split_first_chunk::<NONCE_LENGTH>()?;
        // The bytes after it are the rest of the reserved space.
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?.checked_add(TAG_LENGTH)?;
        let mut tail = Zeroizing::new(tail.get(..length)?.to_vec());
        let plain = key.0.open(*nonce, associated(records), &mut tail)?;
        Some(Zeroizing::new(plain.to_vec()))
    });
    Ok(plain.map_or(OpenOutcome::NoKey, OpenOutcome::Plain))
}

fn parse_key(text: &[u8]) -> Option<SealingKey> {
    let key = Zeroizing::new(STANDARD.decode(text).ok()?);
    cipher::Key::parse(&key).map(SealingKey)
}

/// Binds a sealed rescue to its folder: it cannot be opened in another one.
fn associated(records: &RecordPaths) -> &[u8] {
    records.folder().as_os_str().as_encoded_bytes()
}
