//! The error type of what a host does in its fleet.

use std::path::PathBuf;

use crate::config;
use crate::document::AuthMode;
use crate::fleet::membership::{FleetName, MembershipError, Standing};
use crate::fleet::{self, MemberError};
use crate::manager::{self, JobFailure};
use crate::remedy::{ErrorKind, Remedy};
use crate::store::{self, DocumentLocation, FileError, Holder};

/// An error of what a host does in its fleet. The message contains no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// The membership, a key or an invite cannot be used.
    #[error(transparent)]
    Membership(Box<MembershipError>),
    /// The member cannot take part, or what it was asked for failed.
    #[error(transparent)]
    Member(Box<MemberError>),
    /// The stored login cannot be read or replaced.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// What a killed process left behind cannot be completed.
    #[error(transparent)]
    Manager(#[from] manager::Error),
    /// The configuration cannot be read.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The keeper of this home, which takes part, could not do it.
    #[error("{}", .0.message)]
    Keeper(Box<JobFailure>),
    /// The keeper did not answer.
    #[error("the keeper of this home, which takes part in the fleet, did not respond: {0}")]
    NoAnswer(String),
    /// The keeper is of a version that knows no fleets.
    #[error("the keeper of this home ({keeper}) is older than this program")]
    OlderKeeper {
        /// The keeper.
        keeper: Holder,
    },
    /// There is no login to share.
    #[error("there is no login in this home that a fleet could share")]
    NotLoggedIn,
    /// The login has its refresh token elsewhere.
    #[error("the login of this home is handed in by a keeper elsewhere, which has its refresh token")]
    HandedIn,
    /// The login is of a kind that is not refreshed.
    #[error("a login with {0} is not refreshed, so a fleet cannot share it")]
    NotShareable(AuthMode),
    /// The home has a login that the fleet does not have.
    #[error("this home has another login than the fleet, {location}")]
    OtherLogin {
        /// Where it is.
        location: DocumentLocation,
    },
    /// A member that leaves would take the last key with it.
    #[error("this is the last host of the fleet '{fleet}', and only its key opens the login in etcd")]
    LastMember {
        /// The fleet.
        fleet: FleetName,
    },
    /// There is nothing to resume.
    #[error("the fleet serves this home already")]
    ServedAlready,
    /// This host has tokens that no other host has, and cannot hand them over now.
    #[error(
        "this host has new tokens that are not in etcd yet; without them the login of the fleet would be lost"
    )]
    Unfinished,
    /// The etcd user of an invite has a password, and none was given.
    #[error("the invite needs the password of the etcd user '{user}'")]
    NoPassword {
        /// The user.
        user: String,
    },
    /// A file has no certificates.
    #[error("{} is missing, or has no certificates in PEM", path.display())]
    NoCertificates {
        /// The file.
        path: PathBuf,
    },
    /// A file of the user cannot be read.
    #[error("cannot read the certificates: {0}")]
    Certificates(#[source] FileError),
    /// The name of this machine cannot be the name of a member.
    #[error("this machine has no name that a member of a fleet could have")]
    NoMemberName,
    /// The stored login was changed by other programs again and again.
    #[error("other programs changed the login of this home again and again")]
    Contended,
}

impl FleetError {
    /// Returns the kind of error, for callers that react to it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Membership(error) => error.kind(),
            Self::Member(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Manager(error) => error.kind(),
            Self::Keeper(failure) => failure.kind,
            Self::NotLoggedIn => ErrorKind::NotLoggedIn,
            Self::NoAnswer(_) | Self::Contended | Self::Unfinished => ErrorKind::TryAgain,
            _ => ErrorKind::Failed,
        }
    }

    /// Returns the action that fixes the error, if there is one.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::Member(error) => error.remedy(),
            Self::Membership(error) if matches!(**error, MembershipError::KeyChanged) => {
                Some(Remedy::JoinAgain)
            }
            Self::Membership(error)
                if matches!(**error, MembershipError::SetAside { standing: Standing::Left }) =>
            {
                Some(Remedy::ResumeFleet)
            }
            Self::Store(error) => error.remedy(),
            Self::Manager(error) => error.remedy(),
            Self::Keeper(failure) => failure.remedy,
            _ => None,
        }
    }
}

impl From<MembershipError> for FleetError {
    fn from(error: MembershipError) -> Self {
        Self::Membership(Box::new(error))
    }
}

impl From<MemberError> for FleetError {
    fn from(error: MemberError) -> Self {
        Self::Member(Box::new(error))
    }
}

impl From<fleet::Error> for FleetError {
    fn from(error: fleet::Error) -> Self {
        MembershipError::from(error).into()
    }
}

impl From<&FleetError> for JobFailure {
    fn from(error: &FleetError) -> Self {
        let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
        let mut failure = Self::new(error.kind(), error.to_string());
        failure.causes = causes.map(ToString::to_string).collect();
        failure.remedy = error.remedy();
        failure
    }
}
