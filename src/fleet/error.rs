//! The error type of the shared store.

use std::time::Duration;

use super::endpoint::EtcdEndpoint;
use crate::authority::{HttpClientError, Transport};
use crate::remedy::ErrorKind;

/// The error of a call to etcd. The message names the endpoint; it contains neither the password nor a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No endpoint was given.
    #[error("no address of etcd was given")]
    NoEndpoint,
    /// The HTTP client could not be created. Nothing was sent.
    #[error(transparent)]
    Client(#[from] HttpClientError),
    /// No endpoint carried out the call. It had no effect.
    #[error("etcd cannot be reached: {endpoint} {cause}")]
    Unreachable {
        /// The endpoint that was tried last.
        endpoint: EtcdEndpoint,
        /// What it did.
        #[source]
        cause: EtcdFailure,
    },
    /// The call may have taken effect. Read before deciding anything.
    #[error("{endpoint} {cause}; the change may have been made")]
    Unknown {
        /// The endpoint that was called.
        endpoint: EtcdEndpoint,
        /// What it did.
        #[source]
        cause: EtcdFailure,
    },
    /// etcd refused the call, which had no effect.
    #[error("{endpoint} refused the call: {message}")]
    Refused {
        /// The endpoint that was called.
        endpoint: EtcdEndpoint,
        /// etcd's message.
        message: String,
    },
    /// etcd asks for a user, and none was given.
    #[error("{endpoint} asks for a user and a password")]
    UserRequired {
        /// The endpoint that was called.
        endpoint: EtcdEndpoint,
    },
    /// The user or the password is wrong.
    #[error("{endpoint} refused the password of the etcd user '{user}'")]
    WrongPassword {
        /// The endpoint that was called.
        endpoint: EtcdEndpoint,
        /// The user.
        user: String,
    },
    /// The user may not access the key.
    #[error("the etcd user may not access the keys of this fleet at {endpoint}")]
    Denied {
        /// The endpoint that was called.
        endpoint: EtcdEndpoint,
    },
    /// A user was given, but etcd lets everyone in.
    #[error("{endpoint} asks for no password, so anyone who can reach it could change the record")]
    AuthenticationDisabled {
        /// The endpoint that was called.
        endpoint: EtcdEndpoint,
    },
    /// The lease has ended.
    #[error("the etcd lease has ended")]
    LeaseEnded,
    /// The response is not one of etcd.
    #[error("{endpoint} sent a response that is not one of etcd's gateway")]
    NotEtcd {
        /// The endpoint that was called.
        endpoint: EtcdEndpoint,
    },
}

/// What an endpoint did instead of responding.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EtcdFailure {
    /// There was no connection.
    #[error("cannot be connected to ({0})")]
    NotConnected(#[source] Transport),
    /// The connection ended before the response was complete.
    #[error("closed the connection ({0})")]
    BrokenOff(#[source] Transport),
    /// The response did not arrive in time.
    #[error("did not respond within {0:?}")]
    TimedOut(Duration),
    /// etcd has no leader, or is overloaded.
    #[error("is unavailable: {0}")]
    Unavailable(String),
}

impl EtcdFailure {
    /// Returns whether trying again does not help: the certificate of the endpoint is not trusted.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(self, Self::NotConnected(error) if error.to_string().contains("certificate"))
    }
}

impl Error {
    /// Returns whether the call may have taken effect.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    /// Returns the kind of error, for callers that react to it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreachable { .. } | Self::Unknown { .. } | Self::LeaseEnded => ErrorKind::TryAgain,
            _ => ErrorKind::Failed,
        }
    }
}
