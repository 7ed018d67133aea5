//! The text of an invite, which brings one new member into a fleet.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::super::endpoint::EtcdEndpoint;
use super::super::intent::{MemberName, is_name};
use super::super::sealed::FleetKey;
use super::error::{InvalidInvite, MembershipError};
use super::fleet_name::FleetName;
use super::member_id::MemberId;
use super::membership_file::Membership;
use super::secrets::SecretPlace;
use super::standing::Standing;
use crate::secret::{Secret, digest, write_exact};
use crate::store::cipher::{Key, NONCE_LENGTH, TAG_LENGTH};

/// The start of an invite.
const PREFIX: &str = "codex-fleet-1.";
/// The start of what etcd holds for an invite. A nonce follows, and the encrypted key with its tag.
const MAGIC: &[u8] = b"codex-auth invite 1\n";
/// The length of the random parts, in bytes.
const ID_BYTES: usize = 9;
const SECRET_BYTES: usize = 32;
/// The maximum length of an invite with the certificates of a private CA.
const MAX_LENGTH: usize = 64 * 1024;

/// An invite: where etcd is, and a secret that opens the key of the fleet once.
///
/// Its text is one line, as secret as the key until it was used or its time is over. It does not contain the password of
/// the etcd user: that works for longer than the invite.
#[derive(Clone)]
pub struct Invite {
    pub(super) fleet: FleetName,
    pub(super) endpoints: Vec<EtcdEndpoint>,
    pub(super) user: Option<String>,
    pub(super) ca: Option<String>,
    pub(super) id: String,
    secret: Secret,
}

/// The JSON of an invite.
#[derive(Serialize, Deserialize)]
struct InviteFile {
    fleet: FleetName,
    endpoints: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca: Option<String>,
    id: String,
    secret: String,
}

impl Drop for InviteFile {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl Invite {
    /// Returns a new invite, which etcd does not hold yet.
    pub(super) fn random(
        fleet: FleetName,
        endpoints: Vec<EtcdEndpoint>,
        user: Option<String>,
        ca: Option<String>,
    ) -> Result<Self, MembershipError> {
        let id = random_text::<ID_BYTES>()?.expose().to_owned();
        Ok(Self { fleet, endpoints, user, ca, id, secret: random_text::<SECRET_BYTES>()? })
    }

    /// Reads what [`Self::to_line`] returned.
    ///
    /// # Errors
    /// [`InvalidInvite`].
    pub fn parse(line: &Secret) -> Result<Self, InvalidInvite> {
        let text = line.expose().strip_prefix(PREFIX).filter(|text| text.len() <= MAX_LENGTH);
        let json =
            Zeroizing::new(URL_SAFE_NO_PAD.decode(text.ok_or(InvalidInvite)?).map_err(|_| InvalidInvite)?);
        let mut file: InviteFile = serde_json::from_slice(&json).map_err(|_| InvalidInvite)?;
        let endpoints =
            file.endpoints.iter().map(|url| url.parse().ok()).collect::<Option<Vec<EtcdEndpoint>>>();
        let endpoints = endpoints.filter(|all| !all.is_empty()).ok_or(InvalidInvite)?;
        if !is_name(&file.id) || file.secret.is_empty() {
            return Err(InvalidInvite);
        }
        Ok(Self {
            fleet: file.fleet.clone(),
            endpoints,
            user: file.user.take(),
            ca: file.ca.take(),
            id: std::mem::take(&mut file.id),
            secret: Secret::new(std::mem::take(&mut file.secret)),
        })
    }

    /// Returns the invite as one line.
    #[must_use]
    pub fn to_line(&self) -> Secret {
        let file = InviteFile {
            fleet: self.fleet.clone(),
            endpoints: self.endpoints.iter().map(ToString::to_string).collect(),
            user: self.user.clone(),
            ca: self.ca.clone(),
            id: self.id.clone(),
            secret: self.secret.expose().to_owned(),
        };
        let json = write_exact(|writer| serde_json::to_writer(writer, &file));
        let encoded = Zeroizing::new(URL_SAFE_NO_PAD.encode(&*json));
        Secret::new([PREFIX, &encoded].concat())
    }

    /// Returns the fleet.
    #[must_use]
    pub fn fleet(&self) -> &FleetName {
        &self.fleet
    }

    /// Returns the etcd user, whose password the new member gives.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Returns the membership of a home that has this invite. The number of the key is not known yet.
    #[must_use]
    pub fn membership(
        &self,
        member: MemberName,
        id: MemberId,
        secrets: SecretPlace,
        standing: Standing,
    ) -> Membership {
        let Self { fleet, endpoints, ca, user, .. } = self.clone();
        Membership { fleet, member, id, endpoints, ca, user, secrets, epoch: 0, standing }
    }

    /// Returns the key in etcd.
    pub(super) fn etcd_key(&self) -> String {
        self.fleet.invite_key(&self.id)
    }

    /// Encrypts `key` for the host that gets the invite.
    pub(super) fn wrap(&self, key: &FleetKey) -> Result<Vec<u8>, MembershipError> {
        let mut nonce = [0; NONCE_LENGTH];
        getrandom::fill(&mut nonce).map_err(|error| MembershipError::Random(error.into()))?;
        let mut content = Zeroizing::new(key.to_secret().expose().as_bytes().to_vec());
        let tag = self.cipher().and_then(|cipher| cipher.seal(nonce, &self.associated(), &mut content));
        let tag = tag.ok_or(super::super::record_error::InvalidRecord::Cipher)?;
        Ok([MAGIC, &nonce, &content, &tag].concat())
    }

    /// Decrypts what [`Self::wrap`] returned.
    pub(super) fn unwrap(&self, wrapped: &[u8]) -> Result<FleetKey, MembershipError> {
        let opened = || {
            let sealed = wrapped.strip_prefix(MAGIC)?;
            let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LENGTH>()?;
            let mut content = Zeroizing::new(sealed.to_vec());
            if content.len() < TAG_LENGTH {
                return None;
            }
            let plain = self.cipher()?.open(*nonce, &self.associated(), &mut content)?;
            Some(Secret::from(std::str::from_utf8(plain).ok()?))
        };
        let text = opened().ok_or(MembershipError::InviteChanged)?;
        FleetKey::from_secret(&text).map_err(|_| MembershipError::InviteChanged)
    }

    fn cipher(&self) -> Option<Key> {
        let key = Zeroizing::new(digest([MAGIC, self.secret.expose().as_bytes()]));
        Key::parse(key.as_ref())
    }

    /// Binds a wrapped key to its fleet and invite.
    fn associated(&self) -> Vec<u8> {
        [MAGIC, self.fleet.as_str().as_bytes(), b"/", self.id.as_bytes()].concat()
    }
}

impl fmt::Debug for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invite").field("fleet", &self.fleet).field("id", &self.id).finish_non_exhaustive()
    }
}

/// Returns `N` random bytes as base64url.
fn random_text<const N: usize>() -> Result<Secret, MembershipError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(|error| MembershipError::Random(error.into()))?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(*bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invite() -> Invite {
        let endpoints = vec!["https://etcd.example:2379".parse().unwrap()];
        Invite::random("work".parse().unwrap(), endpoints, Some("ada".to_owned()), Some("PEM".to_owned()))
            .unwrap()
    }

    #[test]
    fn an_invite_is_one_line_that_opens_the_key_and_another_one_does_not() {
        let invite = invite();
        let line = invite.to_line();
        assert!(!line.expose().contains(char::is_whitespace));
        let read = Invite::parse(&line).unwrap();
        assert_eq!(
            (read.fleet(), read.user(), read.ca.as_deref()),
            (invite.fleet(), Some("ada"), Some("PEM"))
        );
        let key = FleetKey::random(7).unwrap();
        let wrapped = invite.wrap(&key).unwrap();
        assert_eq!(read.unwrap(&wrapped).unwrap().to_secret(), key.to_secret());
        assert_eq!(read.etcd_key(), invite.etcd_key());
        let other = super::tests::invite();
        for (invite, wrapped) in [(&other, &wrapped[..]), (&read, &wrapped[1..]), (&read, b"")] {
            assert!(matches!(invite.unwrap(wrapped), Err(MembershipError::InviteChanged)));
        }
        assert!(!format!("{invite:?}").contains(invite.secret.expose()));
    }

    #[test]
    fn a_text_that_is_no_invite_is_refused() {
        let line = invite().to_line();
        let changed = [
            "",
            "codex-fleet-1.",
            "codex-fleet-1.e30",
            &line.expose()[1..],
            &line.expose()[..line.expose().len() - 4],
            &line.expose().replace("fleet-1", "fleet-2"),
        ];
        for text in changed {
            assert_eq!(Invite::parse(&Secret::from(text)).unwrap_err(), InvalidInvite, "{text}");
        }
    }
}
