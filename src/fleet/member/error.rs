//! The error type of a member.

use codex_auth_platform::{lock, private_file};

use crate::authority;
use crate::fleet::error::Error;
use crate::fleet::intent::MemberName;
use crate::fleet::record::FleetPoison;
use crate::fleet::record_error::{CopyError, InvalidRecord, RefusedChange};
use crate::remedy::{ErrorKind, Remedy};

/// An error of a [`Member`](super::Member). The message contains no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemberError {
    /// Another process of this host takes part in the fleet, or the lock cannot be acquired.
    #[error("another process takes part in the fleet: {0}")]
    Lock(#[from] lock::Error),
    /// A file of the member cannot be read or written.
    #[error(transparent)]
    File(#[from] private_file::Error),
    /// A file of the member is damaged, or sealed with a key that this host does not have.
    #[error("cannot read {}: {source}", path.display())]
    Damaged {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: InvalidRecord,
    },
    /// The copy of the record cannot be read or written.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// etcd cannot be used.
    #[error(transparent)]
    Etcd(#[from] Error),
    /// The record in etcd cannot be used; nothing is spent.
    #[error("the record of the fleet '{fleet}' in etcd cannot be used: {source}")]
    Record {
        /// The name of the fleet.
        fleet: String,
        /// Why.
        source: InvalidRecord,
    },
    /// There is no login in the fleet yet.
    #[error("the fleet has no login yet")]
    NoRecord,
    /// The login cannot be shared.
    #[error("this login cannot be shared: {0}")]
    NotShareable(#[source] InvalidRecord),
    /// A new login of this host is not in the record yet, or the one that it replaced is not revoked yet.
    #[error("a login on this host is not complete yet")]
    LoginIncomplete,
    /// The fleet was logged out.
    #[error("the fleet is logged out")]
    LoggedOut,
    /// No member sends the refresh token any more.
    #[error("the login of the fleet does not work any more: {}", reason(*.0))]
    Poisoned(FleetPoison),
    /// The present state of the record does not allow the change.
    #[error("the record of the fleet cannot be changed now: {0}")]
    Refused(#[source] RefusedChange),
    /// etcd was restored from a backup, and the wait for the other members is not over.
    #[error(
        "etcd was restored from a backup; waiting until the other hosts have put back what they have seen"
    )]
    Restored,
    /// The outcome of a request to the authority is not known yet, so nothing is spent until the access token has ended.
    #[error("{member} has sent the refresh token, and the outcome is not known yet")]
    Unsettled {
        /// The member that sent it.
        member: MemberName,
    },
    /// The refresher did not refresh in time.
    #[error("the refresher of the fleet, {leader}, did not respond in time")]
    NoAnswer {
        /// The refresher.
        leader: MemberName,
    },
    /// Another member is the refresher, and only the refresher can do this.
    #[error("only the refresher of the fleet can do this now, which is {leader}")]
    OtherRefresher {
        /// The refresher.
        leader: MemberName,
    },
    /// Another member became the refresher, or changed the record, again and again.
    #[error("other hosts of the fleet changed the record again and again")]
    Contended,
    /// The request would not have ended before the lease in etcd, so nothing was sent.
    #[error("the request to the authority would not have ended before the lease in etcd; nothing was sent")]
    TooLate,
    /// The authority sent a token of another user, which is revoked.
    #[error("the authority issued tokens of another user")]
    OtherUser,
    /// The authority sent no new refresh token, so the present one is still the only one.
    #[error("the authority sent no new refresh token, which a fleet needs")]
    NotRotated,
    /// The request to the authority failed.
    #[error(transparent)]
    Authority(#[from] authority::Error),
    /// The operating system has no random bytes.
    #[error("cannot read random bytes from the operating system: {0}")]
    Random(#[source] std::io::Error),
    /// A task ended unexpectedly.
    #[error("the refresh failed unexpectedly (internal error); run with -v and report it")]
    Internal,
}

fn reason(poison: FleetPoison) -> &'static str {
    match poison {
        FleetPoison::Refused => "the authority refuses its refresh token",
        FleetPoison::Lost => "the response to its last refresh was lost",
    }
}

impl MemberError {
    /// Whether a request to the authority failed, or was not made in time.
    pub(super) fn is_of_authority(&self) -> bool {
        matches!(self, Self::Authority(_) | Self::OtherUser | Self::NotRotated | Self::TooLate)
    }

    /// Returns the kind of error, for callers that react to it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Lock(lock::Error::Held { .. }) => ErrorKind::LockTimeout,
            Self::Lock(_) | Self::File(_) | Self::Copy(CopyError::File(_)) => ErrorKind::StoreUnavailable,
            Self::Etcd(error) => error.kind(),
            Self::NoRecord | Self::LoggedOut => ErrorKind::NotLoggedIn,
            Self::Poisoned(_) | Self::OtherUser => ErrorKind::LogInAgain,
            Self::Refused(_)
            | Self::LoginIncomplete
            | Self::Restored
            | Self::Unsettled { .. }
            | Self::NoAnswer { .. }
            | Self::OtherRefresher { .. }
            | Self::Contended
            | Self::TooLate
            | Self::Internal => ErrorKind::TryAgain,
            Self::Authority(error) => match error.kind() {
                authority::RetryAdvice::NotSent => ErrorKind::Failed,
                // One refusal is not the fleet's word: another member confirms it.
                _ => ErrorKind::TryAgain,
            },
            Self::Damaged { .. }
            | Self::Copy(_)
            | Self::Record { .. }
            | Self::NotShareable(_)
            | Self::NotRotated
            | Self::Random(_) => ErrorKind::Failed,
        }
    }

    /// Returns the action that fixes the error, if there is one.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::Lock(lock::Error::Held { .. }) => Some(Remedy::Wait),
            Self::Restored => Some(Remedy::TryAgainSoon),
            Self::Poisoned(_) | Self::OtherUser | Self::LoggedOut => Some(Remedy::LogInAgain),
            Self::Record { source: InvalidRecord::OtherEpoch { .. }, .. } => Some(Remedy::JoinAgain),
            _ => None,
        }
    }
}
