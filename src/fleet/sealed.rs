//! Records that only members can read: sealed before they leave a host.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::record::SharedRecord;
use super::record_error::InvalidRecord;
use crate::secret::Secret;
use crate::store::cipher::{Key, NONCE_LENGTH, TAG_LENGTH};

/// The start of a sealed record. The epoch follows, a nonce, and the encrypted JSON with its tag.
const MAGIC: &[u8] = b"codex-auth record 1\n";
const KEY_LENGTH: usize = 32;
/// The maximum length of a sealed record.
const MAX_LENGTH: usize = 256 * 1024;

/// A key that seals the records of one fleet during one epoch.
pub struct FleetKey {
    epoch: u64,
    bytes: Zeroizing<[u8; KEY_LENGTH]>,
    key: Key,
}

/// A sealed record with its content. Two sealings of one content differ, so the value in etcd never returns.
#[derive(Clone, Debug)]
pub struct SealedRecord {
    bytes: Vec<u8>,
    record: SharedRecord,
}

impl FleetKey {
    /// Returns a new key for `epoch`.
    ///
    /// # Errors
    /// The operating system has no random bytes.
    pub fn random(epoch: u64) -> Result<Self, std::io::Error> {
        let mut bytes = Zeroizing::new([0; KEY_LENGTH]);
        getrandom::fill(bytes.as_mut())?;
        Self::of(epoch, bytes).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
    }

    /// Reads what [`Self::to_secret`] returned.
    ///
    /// # Errors
    /// [`InvalidRecord::WrongKey`]: it is not a key.
    pub fn from_secret(text: &Secret) -> Result<Self, InvalidRecord> {
        let (epoch, key) = text.expose().split_once(':').ok_or(InvalidRecord::WrongKey)?;
        let epoch = epoch.parse().map_err(|_| InvalidRecord::WrongKey)?;
        let decoded = Zeroizing::new(STANDARD.decode(key).map_err(|_| InvalidRecord::WrongKey)?);
        let mut bytes = Zeroizing::new([0; KEY_LENGTH]);
        if decoded.len() != KEY_LENGTH {
            return Err(InvalidRecord::WrongKey);
        }
        bytes.copy_from_slice(&decoded);
        Self::of(epoch, bytes).ok_or(InvalidRecord::WrongKey)
    }

    /// Returns the key as one line of text, for the keychain or a file that only its user can read.
    #[must_use]
    pub fn to_secret(&self) -> Secret {
        let key = Zeroizing::new(STANDARD.encode(self.bytes.as_ref()));
        Secret::new(format!("{}:{}", self.epoch, *key))
    }

    /// Returns its number.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Encrypts `content`. The result begins with `magic` and the epoch.
    pub(super) fn seal(
        &self,
        magic: &[u8],
        mut content: Zeroizing<Vec<u8>>,
        fleet: &str,
    ) -> Result<Vec<u8>, InvalidRecord> {
        let mut nonce = [0; NONCE_LENGTH];
        getrandom::fill(&mut nonce).map_err(|_| InvalidRecord::Cipher)?;
        let tag = self.key.seal(nonce, &associated(magic, self.epoch, fleet), &mut content);
        let tag = tag.ok_or(InvalidRecord::Cipher)?;
        Ok([magic, &self.epoch.to_be_bytes(), &nonce, &content, &tag].concat())
    }

    /// Decrypts what [`Self::seal`] returned.
    pub(super) fn open(
        &self,
        magic: &[u8],
        bytes: &[u8],
        fleet: &str,
    ) -> Result<Zeroizing<Vec<u8>>, InvalidRecord> {
        let epoch = epoch_of(magic, bytes)?;
        if epoch != self.epoch {
            return Err(InvalidRecord::OtherEpoch { sealed: epoch, key: self.epoch });
        }
        let sealed = bytes.get(magic.len() + size_of::<u64>()..).filter(|_| bytes.len() <= MAX_LENGTH);
        let (nonce, sealed) =
            sealed.and_then(|sealed| sealed.split_first_chunk()).ok_or(InvalidRecord::Unsealed)?;
        if sealed.len() < TAG_LENGTH {
            return Err(InvalidRecord::Unsealed);
        }
        let mut content = Zeroizing::new(sealed.to_vec());
        let plain = self.key.open(*nonce, &associated(magic, epoch, fleet), &mut content);
        let length = plain.ok_or(InvalidRecord::WrongKey)?.len();
        content.truncate(length);
        Ok(content)
    }

    fn of(epoch: u64, bytes: Zeroizing<[u8; KEY_LENGTH]>) -> Option<Self> {
        let key = Key::parse(bytes.as_ref())?;
        Some(Self { epoch, bytes, key })
    }
}

impl fmt::Debug for FleetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetKey").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl SealedRecord {
    /// Seals `record` for the fleet of this name.
    ///
    /// # Errors
    /// [`InvalidRecord::OtherEpoch`], [`InvalidRecord::Cipher`].
    pub fn seal(record: SharedRecord, key: &FleetKey, fleet: &str) -> Result<Self, InvalidRecord> {
        let epoch = record.order().epoch;
        if epoch != key.epoch {
            return Err(InvalidRecord::OtherEpoch { sealed: epoch, key: key.epoch });
        }
        let bytes = key.seal(MAGIC, record.to_json(), fleet)?;
        Ok(Self { bytes, record })
    }

    /// Opens what [`Self::seal`] made for the fleet of this name.
    ///
    /// # Errors
    /// Every [`InvalidRecord`] but [`InvalidRecord::Name`] and [`InvalidRecord::Cipher`].
    pub fn open(bytes: Vec<u8>, key: &FleetKey, fleet: &str) -> Result<Self, InvalidRecord> {
        let record = SharedRecord::parse(&key.open(MAGIC, &bytes, fleet)?)?;
        if record.order().epoch != key.epoch {
            return Err(InvalidRecord::Malformed);
        }
        Ok(Self { bytes, record })
    }

    /// Returns the epoch of the key that sealed `bytes`, by their own account.
    ///
    /// # Errors
    /// [`InvalidRecord::Unsealed`].
    pub fn epoch_of(bytes: &[u8]) -> Result<u64, InvalidRecord> {
        epoch_of(MAGIC, bytes)
    }

    /// Returns the value in etcd.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the content.
    #[must_use]
    pub fn record(&self) -> &SharedRecord {
        &self.record
    }
}

/// Binds what is sealed to its kind, fleet and epoch.
fn associated(magic: &[u8], epoch: u64, fleet: &str) -> Vec<u8> {
    [magic, &epoch.to_be_bytes(), fleet.as_bytes()].concat()
}

/// Returns the epoch of the key that sealed `bytes`, which begin with `magic`.
pub(super) fn epoch_of(magic: &[u8], bytes: &[u8]) -> Result<u64, InvalidRecord> {
    let epoch = bytes.strip_prefix(magic).and_then(|sealed| sealed.first_chunk());
    epoch.map(|epoch| u64::from_be_bytes(*epoch)).ok_or(InvalidRecord::Unsealed)
}
