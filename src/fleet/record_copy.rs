//! The newest record that this host has seen, sealed, on its disk.

use std::path::{Path, PathBuf};

use codex_auth_platform::private_file::{self, FileMode, Links, MountPolicy};

use super::fleet_keys::FleetKeys;
use super::record_error::{CopyError, InvalidRecord};
use super::sealed::SealedRecord;

/// The maximum length of the file.
const MAX_BYTES: u64 = 512 * 1024;

/// The copy of the record. A member writes it before it acts on a record, and puts it back when etcd was restored from
/// a backup.
#[derive(Debug)]
pub struct RecordCopy {
    path: PathBuf,
    newest: Option<SealedRecord>,
}

impl RecordCopy {
    /// Reads the copy at `path`, if there is one. One that is sealed with an older key than `keys` counts as none.
    ///
    /// # Errors
    /// [`CopyError::File`], [`CopyError::Invalid`].
    pub fn load(path: &Path, keys: &FleetKeys) -> Result<Self, CopyError> {
        let contents = private_file::read(path, MAX_BYTES, Links::Refuse)?;
        let newest = match contents.map(|contents| keys.open(contents.bytes.to_vec())).transpose() {
            // The host has left, and joined again with a later key.
            Err(InvalidRecord::OtherEpoch { sealed, key }) if sealed < key => Ok(None),
            newest => newest,
        };
        let newest = newest.map_err(|source| CopyError::Invalid { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), newest })
    }

    /// Returns the newest record that was seen.
    #[must_use]
    pub fn newest(&self) -> Option<&SealedRecord> {
        self.newest.as_ref()
    }

    /// Saves `record`, which is on the disk when this returns.
    ///
    /// # Errors
    /// - [`CopyError::Older`]: it is older than the copy, which is unchanged.
    /// - [`CopyError::File`]: it may not be on the disk; do not act on it.
    pub fn save(&mut self, record: SealedRecord) -> Result<(), CopyError> {
        if let Some(newest) = &self.newest {
            if newest.bytes() == record.bytes() {
                return Ok(());
            }
            if record.record().order() < newest.record().order() {
                return Err(CopyError::Older);
            }
        }
        private_file::replace(
            &self.path,
            record.bytes(),
            Links::Refuse,
            MountPolicy::Refuse,
            FileMode::Private,
        )?;
        self.newest = Some(record);
        Ok(())
    }
}
