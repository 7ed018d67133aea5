//! How a rescue is protected on the disk: by its mode alone, or with a key from the keychain that holds the document.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::{Error, KeychainError, KeychainStore, Lease};
use crate::config::StoreKind;
use crate::home::RecordPaths;

/// In front of a sealed rescue; a plain one starts with a brace.
const MAGIC: &[u8] = b"codex-auth sealed 1\n";
const KEY_LENGTH: usize = 32;

/// The protection of a rescue.
#[derive(Debug)]
#[non_exhaustive]
pub enum Seal {
    /// The file's mode alone, as for the document beside it.
    Plain,
    /// A key from the keychain that holds the document.
    Key(Box<LessSafeKey>),
}

/// What became of opening a rescue.
pub(super) enum OpenOutcome {
    /// It was not sealed, or its key fits.
    Plain(Zeroizing<Vec<u8>>),
    /// The keychain can be read, and has no key that fits.
    NoKey,
    /// The keychain cannot be read now.
    Unavailable(KeychainError),
}

impl Seal {
    /// The protection for a document in the store of `kind`. The key is made under the lease if there is none, and shared
    /// by all homes whose document has the same files.
    ///
    /// # Errors
    /// - [`Error::Keychain`]: the keychain cannot be used now.
    /// - [`Error::Random`].
    pub fn make(
        lease: &Lease,
        kind: StoreKind,
        keychain: &KeychainStore,
        within: Duration,
    ) -> Result<Self, Error> {
        if kind == StoreKind::File {
            return Ok(Self::Plain);
        }
        let records = lease.records();
        if let Some(key) = keychain.sealing_key(&records, within)?.and_then(|text| decode(&text)) {
            return Ok(Self::Key(Box::new(key)));
        }
        let mut key = Zeroizing::new([0; KEY_LENGTH]);
        getrandom::fill(key.as_mut()).map_err(Error::Random)?;
        let text = Zeroizing::new(STANDARD.encode(key.as_ref()).into_bytes());
        keychain.set_sealing_key(lease, &text, within)?;
        decode(&text).map(|key| Self::Key(Box::new(key))).ok_or(Error::Sealing)
    }

    /// `plain` as it goes to the disk.
    pub(super) fn close(
        &self,
        plain: Zeroizing<Vec<u8>>,
        records: &RecordPaths,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let Self::Key(key) = self else { return Ok(plain) };
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(Error::Random)?;
        let mut tail = plain;
        let tag = key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), associated(records), &mut tail)
            .map_err(|_| Error::Sealing)?;
        let length = u32::try_from(tail.len()).map_err(|_| Error::Sealing)?.to_be_bytes();
        Ok(Zeroizing::new([MAGIC, &length, &nonce, &tail, tag.as_ref()].concat()))
    }
}

/// What lies in `bytes`, which are sealed or not.
pub(super) fn open(
    bytes: Zeroizing<Vec<u8>>,
    records: &RecordPaths,
    keychain: &KeychainStore,
    within: Duration,
) -> Result<OpenOutcome, Error> {
    let Some(sealed) = bytes.strip_prefix(MAGIC) else { return Ok(OpenOutcome::Plain(bytes)) };
    let key = match keychain.sealing_key(records, within) {
        Ok(key) => key.and_then(|text| decode(&text)),
        Err(Error::Keychain(error)) => return Ok(OpenOutcome::Unavailable(error)),
        Err(error) => return Err(error),
    };
    let plain = key.and_then(|key| {
        let (length, sealed) = sealed.split_first_chunk::<4>()?;
        let (nonce, tail) = sealed.split_first_chunk::<NONCE_LEN>()?;
        // What is behind it fills the space that was set aside.
        let length =
            usize::try_from(u32::from_be_bytes(*length)).ok()?.checked_add(CHACHA20_POLY1305.tag_len())?;
        let mut tail = Zeroizing::new(tail.get(..length)?.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = key.open_in_place(nonce, associated(records), &mut tail).ok()?;
        Some(Zeroizing::new(plain.to_vec()))
    });
    Ok(plain.map_or(OpenOutcome::NoKey, OpenOutcome::Plain))
}

fn decode(text: &[u8]) -> Option<LessSafeKey> {
    let key = Zeroizing::new(STANDARD.decode(text).ok()?);
    UnboundKey::new(&CHACHA20_POLY1305, &key).ok().map(LessSafeKey::new)
}

/// A rescue opens only where it was sealed.
fn associated(records: &RecordPaths) -> Aad<&[u8]> {
    Aad::from(records.folder().as_os_str().as_encoded_bytes())
}
