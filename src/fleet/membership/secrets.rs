//! The secrets of a member: the keys that seal the record, and the password of the etcd user.

use std::fmt;
use std::time::Duration;

use codex_auth_platform::private_file::{self, FileMode, Links, MountPolicy};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::super::fleet_keys::FleetKeys;
use super::super::record_error::InvalidRecord;
use super::super::sealed::FleetKey;
use super::error::MembershipError;
use super::fleet_name::FleetName;
use crate::config::{Environment, StoreKind};
use crate::home::Home;
use crate::secret::{Secret, write_exact};
use crate::store::{ItemName, ItemSelection, KeychainClient, WriteTarget};

/// The service of keychain items that only this library uses.
const SERVICE: &str = "codex-auth";
/// The maximum length of the file.
const MAX_BYTES: u64 = 64 * 1024;
/// How many keys there are at most: that of the record, and the next one while the key is changed.
const MAX_KEYS: usize = 2;

/// Where the secrets of a member are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "a caller must handle every case")]
pub enum SecretPlace {
    /// In an item of the keychain.
    Keychain,
    /// In a file that only its user can read.
    File,
}

impl From<StoreKind> for SecretPlace {
    /// Returns the place for a login in the store of `kind`.
    fn from(kind: StoreKind) -> Self {
        if kind == StoreKind::Keychain { Self::Keychain } else { Self::File }
    }
}

/// The secrets of a member.
#[derive(Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a member has these")]
pub struct FleetSecrets {
    /// The keys, at most two.
    pub keys: Vec<FleetKey>,
    /// The password of the etcd user.
    pub password: Option<Secret>,
}

impl FleetSecrets {
    /// Returns the key of `epoch`.
    #[must_use]
    pub fn key_of(&self, epoch: u64) -> Option<&FleetKey> {
        self.keys.iter().find(|key| key.epoch() == epoch)
    }

    /// Returns the key of the latest epoch.
    #[must_use]
    pub fn latest_key(&self) -> Option<&FleetKey> {
        self.keys.iter().max_by_key(|key| key.epoch())
    }

    /// Returns the keys for the fleet of this name.
    ///
    /// # Errors
    /// [`InvalidRecord::WrongKey`]: there is none.
    pub fn key_ring(&self, fleet: &FleetName) -> Result<FleetKeys, InvalidRecord> {
        let mut keys = self.keys.iter().map(|key| FleetKey::from_secret(&key.to_secret()));
        let first = FleetKeys::new(fleet.as_str(), keys.next().ok_or(InvalidRecord::WrongKey)??);
        keys.try_fold(first, |ring, key| Ok(ring.with(key?)))
    }

    /// Adds `key`, in place of one of its epoch, and drops the oldest of more than two.
    pub fn add(&mut self, key: FleetKey) {
        self.keys.retain(|known| known.epoch() != key.epoch());
        self.keys.push(key);
        self.keys.sort_by_key(FleetKey::epoch);
        let oldest = self.keys.len().saturating_sub(MAX_KEYS);
        self.keys.drain(..oldest);
    }
}

/// The place of the secrets of one home.
#[derive(Clone)]
pub struct SecretSlot {
    home: Home,
    place: SecretPlace,
    keychain: KeychainClient,
    within: Duration,
}

impl fmt::Debug for SecretSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretSlot")
            .field("home", &self.home)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// The JSON of the secrets.
#[derive(Default, Serialize, Deserialize)]
struct SecretFile {
    keys: Vec<String>,
    password: Option<String>,
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        self.keys.zeroize();
        self.password.zeroize();
    }
}

impl SecretSlot {
    /// Returns the slot of `home` in `place`.
    #[must_use]
    pub fn new(home: &Home, place: SecretPlace, environment: &Environment, keychain: KeychainClient) -> Self {
        Self { home: home.clone(), place, keychain, within: environment.keychain_timeout }
    }

    /// Reads the secrets.
    ///
    /// # Errors
    /// - [`MembershipError::NoKey`]: there are none.
    /// - [`MembershipError::File`], [`MembershipError::Keychain`], [`MembershipError::Unparsable`].
    pub fn read(&self) -> Result<FleetSecrets, MembershipError> {
        let bytes = match self.place {
            SecretPlace::File => private_file::read(&self.path(), MAX_BYTES, Links::Refuse)?
                .map(|contents| Zeroizing::new(contents.bytes.to_vec())),
            SecretPlace::Keychain => {
                let items = self.keychain.read(&self.item(), self.within)?;
                items.into_iter().min_by(|one, other| one.id.cmp(&other.id)).map(|item| item.secret)
            }
        };
        let bytes = bytes.ok_or_else(|| MembershipError::NoKey { place: self.location() })?;
        let unparsable = || MembershipError::Unparsable { path: self.path() };
        let file: SecretFile = serde_json::from_slice(&bytes).map_err(|_| unparsable())?;
        let mut secrets = FleetSecrets::default();
        for text in &file.keys {
            secrets.add(FleetKey::from_secret(&Secret::from(text.as_str())).map_err(|_| unparsable())?);
        }
        secrets.password = file.password.as_deref().map(Secret::from);
        if secrets.keys.is_empty() { Err(unparsable()) } else { Ok(secrets) }
    }

    /// Writes the secrets, which are stored for good when this returns.
    ///
    /// # Errors
    /// [`MembershipError::File`], [`MembershipError::Keychain`].
    pub fn write(&self, secrets: &FleetSecrets) -> Result<(), MembershipError> {
        let file = SecretFile {
            keys: secrets.keys.iter().map(|key| key.to_secret().expose().to_owned()).collect(),
            password: secrets.password.as_ref().map(|password| password.expose().to_owned()),
        };
        let bytes = write_exact(|writer| serde_json::to_writer(writer, &file));
        match self.place {
            SecretPlace::File => {
                private_file::create_directory(&self.home.folder())?;
                private_file::create_directory(&self.home.fleet())?;
                let (links, mounts) = (Links::Refuse, MountPolicy::Refuse);
                private_file::replace(&self.path(), &bytes, links, mounts, FileMode::Private)?;
            }
            SecretPlace::Keychain => {
                self.keychain.write(&self.item(), &WriteTarget::OnlyItem, &bytes, self.within)?;
            }
        }
        Ok(())
    }

    /// Removes the secrets.
    ///
    /// # Errors
    /// [`MembershipError::File`], [`MembershipError::Keychain`].
    pub fn remove(&self) -> Result<(), MembershipError> {
        match self.place {
            SecretPlace::File => {
                private_file::remove(&self.path(), Links::Refuse)?;
            }
            SecretPlace::Keychain => {
                self.keychain.delete(&self.item(), &ItemSelection::All, self.within)?;
            }
        }
        Ok(())
    }

    /// Returns where the secrets are, for messages.
    #[must_use]
    pub fn location(&self) -> String {
        match self.place {
            SecretPlace::File => self.path().display().to_string(),
            SecretPlace::Keychain => {
                let item = self.item();
                format!("the keychain item {}/{}", item.service(), item.account())
            }
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.home.fleet().join("keys")
    }

    fn item(&self) -> ItemName {
        ItemName::new(SERVICE, format!("fleet|{}", self.home.hash()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_a_file_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        let environment = Environment::for_home(folder.path());
        let slot = SecretSlot::new(&home, SecretPlace::File, &environment, KeychainClient::system());
        assert!(matches!(slot.read(), Err(MembershipError::NoKey { .. })));
        let mut secrets = FleetSecrets { password: Some(Secret::from("marked")), ..FleetSecrets::default() };
        (1..4).for_each(|epoch| secrets.add(FleetKey::random(epoch).unwrap()));
        slot.write(&secrets).unwrap();
        let read = slot.read().unwrap();
        assert_eq!(read.keys.iter().map(FleetKey::epoch).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(read.latest_key().unwrap().to_secret(), secrets.keys[1].to_secret());
        assert_eq!((read.key_of(1).is_some(), read.password), (false, Some(Secret::from("marked"))));
        assert!(!format!("{secrets:?}").contains("marked"));
        slot.remove().unwrap();
        assert!(matches!(slot.read(), Err(MembershipError::NoKey { .. })));
    }
}
