//! The response to a refresh, sealed on the disk from the moment it arrives until a read shows it in the record.
//!
//! Its space is reserved before the token is announced, and it is written before anything else is done with it.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use codex_auth_platform::private_file::{self, Links, ReservedFile};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::error::MemberError;
use super::sealed_file::{read, seal, unseal};
use crate::document::AuthDocument;
use crate::fleet::fleet_keys::FleetKeys;
use crate::fleet::record_error::InvalidRecord;
use crate::secret::{Fingerprint, write_exact};

const MAGIC: &[u8] = b"codex-auth response 1\n";
/// The reserved space; every accepted response is smaller.
const RESERVED_BYTES: u64 = 512 * 1024;
/// The start of the file's name, which ends with the fingerprint of the token that was sent.
const PREFIX: &str = "rescue.";

/// A response that is not in the record yet.
#[derive(Clone, Debug)]
pub(super) struct SavedResponse {
    /// The login that it belongs to.
    pub(super) login_id: String,
    /// The token that was sent for it.
    pub(super) parent: Fingerprint,
    /// The document of the record with the new tokens.
    pub(super) document: AuthDocument,
}

#[derive(Serialize, Deserialize)]
struct Content<'a> {
    login_id: String,
    parent: Fingerprint,
    #[serde(borrow)]
    document: &'a RawValue,
}

/// The files of responses in the folder of a member.
#[derive(Clone, Debug)]
pub(super) struct ResponseFiles {
    folder: PathBuf,
    keys: FleetKeys,
}

/// Disk space for the response to one token.
#[derive(Debug)]
#[must_use = "the space is released on drop"]
pub(super) struct ResponseReservation {
    file: ReservedFile,
    keys: FleetKeys,
}

impl SavedResponse {
    /// Returns the fingerprint of the new token.
    pub(super) fn child(&self) -> Option<Fingerprint> {
        self.document.fingerprint()
    }
}

impl ResponseFiles {
    pub(super) fn new(folder: PathBuf, keys: FleetKeys) -> Self {
        Self { folder, keys }
    }

    /// Adds the key of a new epoch.
    pub(super) fn set_keys(&mut self, keys: FleetKeys) {
        self.keys = keys;
    }

    /// Reads the newest response. Removes the response that it was asked for with, and space that was not used.
    pub(super) fn load(&self) -> Result<Option<SavedResponse>, MemberError> {
        let mut found: Vec<SavedResponse> = Vec::new();
        for name in private_file::names(&self.folder)? {
            let parent = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
            let Some(parent) = parent else { continue };
            match self.read(parent)? {
                Some(response) => found.push(response),
                None => self.remove(parent)?,
            }
        }
        let newer =
            |response: &SavedResponse| found.iter().any(|other| response.child() == Some(other.parent));
        let (old, mut new): (Vec<_>, Vec<_>) = found.iter().cloned().partition(newer);
        for response in old {
            self.remove(response.parent)?;
        }
        Ok(new.pop())
    }

    /// Reserves space for the response to `parent`.
    pub(super) fn reserve(&self, parent: Fingerprint) -> Result<ResponseReservation, MemberError> {
        let file = ReservedFile::create(&self.path(parent), RESERVED_BYTES)?;
        Ok(ResponseReservation { file, keys: self.keys.clone() })
    }

    /// Removes the response to `parent`.
    pub(super) fn remove(&self, parent: Fingerprint) -> Result<(), MemberError> {
        private_file::remove(&self.path(parent), Links::Refuse)?;
        Ok(())
    }

    fn read(&self, parent: Fingerprint) -> Result<Option<SavedResponse>, MemberError> {
        let path = self.path(parent);
        let Some(bytes) = read(&path)?.filter(|bytes| !private_file::is_blank(bytes)) else {
            return Ok(None);
        };
        let damaged = |source| MemberError::Damaged { path: path.clone(), source };
        // The rest of the reserved space is blank.
        let sealed = STANDARD.decode(bytes.trim_ascii()).map_err(|_| damaged(InvalidRecord::Unsealed))?;
        let plain = unseal(MAGIC, &sealed, &self.keys).map_err(damaged)?;
        let response = decode(&plain).filter(|response| response.parent == parent);
        response.map(Some).ok_or_else(|| damaged(InvalidRecord::Malformed))
    }

    fn path(&self, parent: Fingerprint) -> PathBuf {
        self.folder.join(format!("{PREFIX}{parent}"))
    }
}

impl ResponseReservation {
    /// Writes `response`, sealed with the key of `epoch`. It is on the disk when this returns.
    pub(super) fn write(self, response: &SavedResponse, epoch: u64) -> Result<(), MemberError> {
        let cipher = |source| MemberError::Record { fleet: self.keys.fleet().to_owned(), source };
        let sealed = seal(MAGIC, encode(response), epoch, &self.keys).map_err(cipher)?;
        Ok(self.file.write(STANDARD.encode(sealed).as_bytes())?)
    }
}

fn encode(response: &SavedResponse) -> Zeroizing<Vec<u8>> {
    let SavedResponse { login_id, parent, document } = response;
    let compact = document.to_compact();
    let Ok(document) = serde_json::from_slice(&compact) else { return Zeroizing::default() };
    let content = Content { login_id: login_id.clone(), parent: *parent, document };
    write_exact(|sink| serde_json::to_writer(sink, &content))
}

fn decode(plain: &[u8]) -> Option<SavedResponse> {
    let Content { login_id, parent, document } = serde_json::from_slice(plain).ok()?;
    let document = AuthDocument::parse(document.get().as_bytes()).ok()?;
    Some(SavedResponse { login_id, parent, document })
}
