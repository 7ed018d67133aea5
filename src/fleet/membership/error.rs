//! The error type of memberships and invites.

use std::io;
use std::path::PathBuf;

use codex_auth_platform::private_file;

use super::super::error::Error;
use super::super::intent::MemberName;
use super::super::record_error::InvalidRecord;
use super::fleet_name::FleetName;
use super::standing::Standing;
use crate::remedy::ErrorKind;
use crate::store::KeychainError;

/// The error of a membership or an invite. No message contains a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// The home is in no fleet.
    #[error("this home is in no fleet")]
    NotAMember,
    /// The home is in a fleet already.
    #[error("this home is in the fleet '{fleet}' already")]
    MemberAlready {
        /// That fleet.
        fleet: FleetName,
    },
    /// The home is not served by its fleet.
    #[error("{}", standing.explanation())]
    SetAside {
        /// Why.
        standing: Standing,
    },
    /// A file of the fleet cannot be used.
    #[error(transparent)]
    File(#[from] private_file::Error),
    /// A file of the fleet has a content that this version does not write.
    #[error("{} is damaged, or of a newer version", path.display())]
    Unparsable {
        /// The file.
        path: PathBuf,
    },
    /// The keychain cannot be used.
    #[error("the key of the fleet is in the keychain, which cannot be used: {0}")]
    Keychain(#[from] KeychainError),
    /// The keys are gone.
    #[error("the key of the fleet is missing in {place}")]
    NoKey {
        /// Where it should be.
        place: String,
    },
    /// The fleet has another key by now.
    #[error("the key of the fleet was changed")]
    KeyChanged,
    /// etcd failed.
    #[error(transparent)]
    Etcd(#[from] Error),
    /// The operating system has no random bytes.
    #[error("cannot read random bytes from the operating system: {0}")]
    Random(#[from] io::Error),
    /// The record, or a name, is not valid.
    #[error(transparent)]
    Record(#[from] InvalidRecord),
    /// The text is no invite.
    #[error(transparent)]
    Invite(#[from] InvalidInvite),
    /// The invite was used, or its time is over.
    #[error("the invite was used already, or its time is over")]
    InviteEnded,
    /// The invite is of a fleet with another key, or was changed in etcd.
    #[error("the invite does not open what etcd holds for it: it was changed")]
    InviteChanged,
    /// Another member has that name.
    #[error("the fleet has a member '{member}' already")]
    NameTaken {
        /// The name.
        member: MemberName,
    },
    /// The fleet exists already.
    #[error("etcd holds a fleet '{fleet}' already")]
    FleetExists {
        /// The name.
        fleet: FleetName,
    },
    /// Whether the invite was used is not known.
    #[error("the connection to etcd broke off; whether the invite was used is not known: {0}")]
    Unclear(#[source] Error),
}

impl MembershipError {
    /// Returns the kind of error, for callers that react to it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Etcd(error) => error.kind(),
            Self::Unclear(_) => ErrorKind::TryAgain,
            Self::File(_) | Self::Keychain(_) | Self::NoKey { .. } => ErrorKind::StoreUnavailable,
            _ => ErrorKind::Failed,
        }
    }
}

/// Why a text is no invite. The text is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no invite to a fleet, which is one line, or a part of it is missing")]
#[non_exhaustive]
pub struct InvalidInvite;
