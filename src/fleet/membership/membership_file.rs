//! The file that makes a home a member of a fleet.

use std::path::PathBuf;

use codex_auth_platform::private_file::{self, FileMode, Links, MountPolicy, Removal};
use serde::{Deserialize, Serialize};

use super::super::endpoint::EtcdEndpoint;
use super::super::gateway::{EtcdLimits, EtcdUser};
use super::super::intent::MemberName;
use super::super::record::SharedRecord;
use super::super::record_copy::RecordCopy;
use super::super::shared_store::EtcdSettings;
use super::error::MembershipError;
use super::fleet_name::FleetName;
use super::member_id::MemberId;
use super::secrets::{FleetSecrets, SecretPlace, SecretSlot};
use super::standing::Standing;
use crate::config::Environment;
use crate::home::Home;
use crate::store::KeychainClient;

/// The version of the file.
const SCHEMA: u32 = 1;
/// The maximum length of a file of the fleet.
const MAX_BYTES: u64 = 256 * 1024;

/// The membership of a home in a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a member needs all of it")]
pub struct Membership {
    /// The fleet.
    pub fleet: FleetName,
    /// The name of this home in it.
    pub member: MemberName,
    /// Tells the home from another one with its name.
    pub id: MemberId,
    /// The members of etcd, in the order in which they are tried; at least one.
    pub endpoints: Vec<EtcdEndpoint>,
    /// The certificates of a private CA, in PEM.
    pub ca: Option<String>,
    /// The name of the etcd user.
    pub user: Option<String>,
    /// Where the keys are.
    pub secrets: SecretPlace,
    /// The number of the newest key.
    pub epoch: u64,
    /// Whether the fleet serves the home.
    pub standing: Standing,
}

/// The JSON of the file.
#[derive(Serialize, Deserialize)]
struct MembershipFile {
    schema: u32,
    fleet: FleetName,
    member: MemberName,
    id: MemberId,
    endpoints: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca: Option<String>,
    secrets: SecretPlace,
    epoch: u64,
    standing: Standing,
}

impl Membership {
    /// Reads the membership of `home`; `None` if it is in no fleet.
    ///
    /// # Errors
    /// [`MembershipError::File`], [`MembershipError::Unparsable`].
    pub fn of(home: &Home) -> Result<Option<Self>, MembershipError> {
        let path = Self::path(home);
        let Some(contents) = private_file::read(&path, MAX_BYTES, Links::Refuse)? else { return Ok(None) };
        match serde_json::from_slice(&contents.bytes).ok().and_then(MembershipFile::into_membership) {
            Some(membership) => Ok(Some(membership)),
            None => Err(MembershipError::Unparsable { path }),
        }
    }

    /// Reads the membership of `home` if the fleet serves it. A file that cannot be read counts as one: then no other
    /// program of the home refreshes either.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn served(home: &Home) -> Result<Option<Self>, MembershipError> {
        Ok(Self::of(home)?.filter(|membership| membership.standing.is_served()))
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(home: &Home) -> PathBuf {
        home.fleet().join("membership.json")
    }

    /// Writes the membership of `home`, which is on the disk when this returns.
    ///
    /// # Errors
    /// [`MembershipError::File`].
    pub fn save(&self, home: &Home) -> Result<(), MembershipError> {
        private_file::create_directory(&home.folder())?;
        private_file::create_directory(&home.fleet())?;
        let Self { fleet, member, id, endpoints, ca, user, secrets, epoch, standing } = self.clone();
        let endpoints = endpoints.iter().map(ToString::to_string).collect();
        let file = MembershipFile {
            schema: SCHEMA,
            fleet,
            member,
            id,
            endpoints,
            user,
            ca,
            secrets,
            epoch,
            standing,
        };
        let mut bytes = serde_json::to_vec_pretty(&file).unwrap_or_default();
        bytes.push(b'\n');
        private_file::replace(
            &Self::path(home),
            &bytes,
            Links::Refuse,
            MountPolicy::Refuse,
            FileMode::Private,
        )?;
        Ok(())
    }

    /// Returns the place of the secrets of `home`.
    #[must_use]
    pub fn secret_slot(&self, home: &Home, environment: &Environment) -> SecretSlot {
        SecretSlot::new(home, self.secrets, environment, KeychainClient::system())
    }

    /// Writes the membership with another standing.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub fn change_standing(&mut self, home: &Home, standing: Standing) -> Result<(), MembershipError> {
        let changed = Self { standing, ..self.clone() };
        changed.save(home)?;
        *self = changed;
        Ok(())
    }

    /// Returns the newest record that this host has seen, from its disk; `None` if it cannot be read.
    #[must_use]
    pub fn seen_record(&self, home: &Home, environment: &Environment) -> Option<SharedRecord> {
        let keys = self.secret_slot(home, environment).read().ok()?.key_ring(&self.fleet).ok()?;
        let copy = RecordCopy::load(&home.fleet().join("member").join("record"), &keys).ok()?;
        Some(copy.newest()?.record().clone())
    }

    /// Removes the membership of `home`, its certificates and records. The caller removes the keys first.
    ///
    /// # Errors
    /// [`MembershipError::File`]: the home may still be a member.
    pub fn remove(home: &Home) -> Result<Removal, MembershipError> {
        let removed = private_file::remove(&Self::path(home), Links::Refuse)?;
        private_file::remove_tree(&home.fleet())?;
        Ok(removed)
    }

    /// Returns how etcd is reached, with the password of `secrets`. Writes the certificates of a private CA to a file.
    ///
    /// # Errors
    /// [`MembershipError::File`].
    pub fn etcd(&self, home: &Home, secrets: &FleetSecrets) -> Result<EtcdSettings, MembershipError> {
        let user = self.user.clone().zip(secrets.password.clone());
        let ca = match &self.ca {
            Some(pem) => Some(save_certificates(home, pem)?),
            None => None,
        };
        Ok(EtcdSettings {
            endpoints: self.endpoints.clone(),
            ca,
            user: user.map(|(name, password)| EtcdUser { name, password }),
            limits: EtcdLimits::default(),
        })
    }
}

/// Writes `pem` into the folder of the fleet if it is not there, and returns its path.
pub(super) fn save_certificates(home: &Home, pem: &str) -> Result<PathBuf, MembershipError> {
    let path = home.fleet().join("ca.pem");
    let is_there = private_file::read(&path, MAX_BYTES, Links::Refuse)?
        .is_some_and(|contents| *contents.bytes == *pem.as_bytes());
    if !is_there {
        private_file::create_directory(&home.folder())?;
        private_file::create_directory(&home.fleet())?;
        let (links, mounts) = (Links::Refuse, MountPolicy::Refuse);
        private_file::replace(&path, pem.as_bytes(), links, mounts, FileMode::Private)?;
    }
    Ok(path)
}

impl MembershipFile {
    fn into_membership(self) -> Option<Membership> {
        let Self { schema, fleet, member, id, endpoints, user, ca, secrets, epoch, standing } = self;
        let endpoints =
            endpoints.iter().map(|url| url.parse().ok()).collect::<Option<Vec<EtcdEndpoint>>>()?;
        let is_known = schema == SCHEMA && !endpoints.is_empty();
        is_known.then_some(Membership { fleet, member, id, endpoints, ca, user, secrets, epoch, standing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership() -> Membership {
        Membership {
            fleet: FleetName::default(),
            member: "laptop".parse().unwrap(),
            id: MemberId::random().unwrap(),
            endpoints: vec!["https://etcd.example:2379".parse().unwrap()],
            ca: Some("PEM".to_owned()),
            user: Some("ada".to_owned()),
            secrets: SecretPlace::File,
            epoch: 1,
            standing: Standing::Joining,
        }
    }

    #[test]
    fn a_membership_is_read_as_it_was_written_and_a_home_without_one_is_in_no_fleet() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        assert!(Membership::of(&home).unwrap().is_none());
        let mut written = membership();
        written.save(&home).unwrap();
        written.change_standing(&home, Standing::Left).unwrap();
        let read = Membership::of(&home).unwrap().unwrap();
        assert_eq!(format!("{read:?}"), format!("{written:?}"));
        assert!(Membership::served(&home).unwrap().is_none());
        Membership::remove(&home).unwrap();
        assert!(Membership::of(&home).unwrap().is_none() && !home.fleet().exists());
    }

    #[test]
    fn a_file_that_this_version_does_not_write_is_an_error_and_not_a_home_in_no_fleet() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        membership().save(&home).unwrap();
        let path = Membership::path(&home);
        let contents = private_file::read(&path, MAX_BYTES, Links::Refuse).unwrap().unwrap();
        let text = String::from_utf8(contents.bytes.to_vec()).unwrap();
        for (from, to) in [("\"schema\": 1", "\"schema\": 2"), ("https:", "http:"), ("}", "")] {
            let (changed, links) = (text.replacen(from, to, 1), Links::Refuse);
            private_file::replace(&path, changed.as_bytes(), links, MountPolicy::Refuse, FileMode::Private)
                .unwrap();
            assert!(
                matches!(Membership::of(&home), Err(MembershipError::Unparsable { .. })),
                "{from} -> {to}"
            );
        }
    }
}
