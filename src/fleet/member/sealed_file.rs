//! Files of a member that have tokens: sealed with the key of the fleet, and replaced as a whole.

use std::path::{Path, PathBuf};

use codex_auth_platform::private_file::{self, FileMode, Links, MountPolicy};
use zeroize::Zeroizing;

use super::error::MemberError;
use crate::fleet::fleet_keys::FleetKeys;
use crate::fleet::record_error::InvalidRecord;
use crate::fleet::sealed::epoch_of;

/// The maximum length of a file.
const MAX_BYTES: u64 = 1024 * 1024;

/// A file whose content is sealed. Nothing is said about its content but the first bytes, which name its kind.
#[derive(Debug)]
pub(super) struct SealedFile {
    path: PathBuf,
    magic: &'static [u8],
}

impl SealedFile {
    pub(super) fn new(path: PathBuf, magic: &'static [u8]) -> Self {
        Self { path, magic }
    }

    /// Returns the content; `None` without a file.
    pub(super) fn read(&self, keys: &FleetKeys) -> Result<Option<Zeroizing<Vec<u8>>>, MemberError> {
        let Some(contents) = read(&self.path)? else { return Ok(None) };
        unseal(self.magic, &contents, keys).map(Some).map_err(|source| self.damaged(source))
    }

    /// Replaces the content, which is on the disk when this returns.
    pub(super) fn write(
        &self,
        content: Zeroizing<Vec<u8>>,
        epoch: u64,
        keys: &FleetKeys,
    ) -> Result<(), MemberError> {
        let sealed = seal(self.magic, content, epoch, keys).map_err(|source| self.damaged(source))?;
        Ok(replace(&self.path, &sealed)?)
    }

    pub(super) fn remove(&self) -> Result<(), MemberError> {
        private_file::remove(&self.path, Links::Refuse)?;
        Ok(())
    }

    pub(super) fn damaged(&self, source: InvalidRecord) -> MemberError {
        MemberError::Damaged { path: self.path.clone(), source }
    }
}

/// Reads a file of a member.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, private_file::Error> {
    Ok(private_file::read(path, MAX_BYTES, Links::Refuse)?.map(|contents| contents.bytes))
}

/// Replaces a file of a member. The content is on the disk when this returns.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), private_file::Error> {
    private_file::replace(path, bytes, Links::Refuse, MountPolicy::Refuse, FileMode::Private).map(drop)
}

pub(super) fn seal(
    magic: &[u8],
    content: Zeroizing<Vec<u8>>,
    epoch: u64,
    keys: &FleetKeys,
) -> Result<Vec<u8>, InvalidRecord> {
    keys.required(epoch)?.seal(magic, content, keys.fleet())
}

pub(super) fn unseal(
    magic: &[u8],
    bytes: &[u8],
    keys: &FleetKeys,
) -> Result<Zeroizing<Vec<u8>>, InvalidRecord> {
    keys.required(epoch_of(magic, bytes)?)?.open(magic, bytes, keys.fleet())
}
