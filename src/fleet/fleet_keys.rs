//! The sealing keys of one fleet that a host has: the present one, and the next one while it is being introduced.

use std::sync::Arc;

use super::record::SharedRecord;
use super::record_error::InvalidRecord;
use super::sealed::{FleetKey, SealedRecord};

/// The keys of one fleet that this host has, one for each epoch. Clones share them.
#[derive(Clone, Debug)]
pub struct FleetKeys {
    fleet: String,
    /// The newest one last; never empty.
    keys: Vec<Arc<FleetKey>>,
}

impl FleetKeys {
    /// Returns the key ring of the fleet of this name.
    #[must_use]
    pub fn new(fleet: &str, key: FleetKey) -> Self {
        Self { fleet: fleet.to_owned(), keys: vec![Arc::new(key)] }
    }

    /// Adds `key`, which replaces one of the same epoch.
    #[must_use]
    pub fn with(mut self, key: FleetKey) -> Self {
        self.keys.retain(|other| other.epoch() != key.epoch());
        self.keys.push(Arc::new(key));
        self.keys.sort_by_key(|key| key.epoch());
        self
    }

    /// Returns the name of the fleet.
    #[must_use]
    pub fn fleet(&self) -> &str {
        &self.fleet
    }

    /// Returns the key of `epoch`, if this host has it.
    #[must_use]
    pub fn of_epoch(&self, epoch: u64) -> Option<&FleetKey> {
        self.keys.iter().find(|key| key.epoch() == epoch).map(AsRef::as_ref)
    }

    /// Returns the newest epoch.
    #[must_use]
    pub fn newest_epoch(&self) -> u64 {
        self.keys.last().map_or(0, |key| key.epoch())
    }

    /// Seals `record` with the key of its epoch.
    ///
    /// # Errors
    /// [`InvalidRecord::OtherEpoch`]: this host does not have the key. [`InvalidRecord::Cipher`].
    pub fn seal(&self, record: SharedRecord) -> Result<SealedRecord, InvalidRecord> {
        let epoch = record.order().epoch;
        SealedRecord::seal(record, self.required(epoch)?, &self.fleet)
    }

    /// Opens a sealed record with the key of its epoch.
    ///
    /// # Errors
    /// As [`SealedRecord::open`].
    pub fn open(&self, bytes: Vec<u8>) -> Result<SealedRecord, InvalidRecord> {
        let key = self.required(SealedRecord::epoch_of(&bytes)?)?;
        SealedRecord::open(bytes, key, &self.fleet)
    }

    pub(super) fn required(&self, epoch: u64) -> Result<&FleetKey, InvalidRecord> {
        let missing = || InvalidRecord::OtherEpoch { sealed: epoch, key: self.newest_epoch() };
        self.of_epoch(epoch).ok_or_else(missing)
    }
}
