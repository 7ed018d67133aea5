//! Whether a keeper runs, as other processes see it.

use codex_auth_platform::lock::Holder;

use super::client::{Client, ClientError};
use super::response::KeeperStatus;
use super::singleton::RunningKeeper;
use crate::config::Environment;
use crate::home::Home;

/// The keeper of a login.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum KeeperState {
    /// It responds.
    Responding(KeeperStatus),
    /// It runs but does not respond, because it was stopped, for example.
    Silent {
        /// The process, by the note in its lock; `None` behind a socket of another home.
        holder: Option<Holder>,
    },
    /// None runs.
    Absent,
}

impl KeeperState {
    /// Asks the keeper of `home`. Blocks for up to a second.
    ///
    /// # Errors
    /// [`ClientError`], except [`ClientError::Unreachable`].
    pub fn of(home: &Home, environment: &Environment) -> Result<Self, ClientError> {
        let status = Client::of(home, environment).map(|client| client.status());
        match (status, RunningKeeper::of(home)) {
            (Some(Ok(status)), _) => Ok(Self::Responding(status)),
            (Some(Err(error)), _) if !matches!(error, ClientError::Unreachable { .. }) => Err(error),
            (_, Some(keeper)) => Ok(Self::Silent { holder: Some(keeper.holder) }),
            (_, None) => Ok(Self::Absent),
        }
    }

    /// Asks the keeper behind a socket. Blocks for up to a second.
    ///
    /// # Errors
    /// [`ClientError`], except [`ClientError::Unreachable`].
    pub fn behind(client: &Client) -> Result<Self, ClientError> {
        match client.status() {
            Ok(status) => Ok(Self::Responding(status)),
            Err(error) if error.is_timeout() => Ok(Self::Silent { holder: None }),
            Err(ClientError::Unreachable { .. }) => Ok(Self::Absent),
            Err(error) => Err(error),
        }
    }

    /// Returns its status, if it responds.
    #[must_use]
    pub fn status(&self) -> Option<&KeeperStatus> {
        match self {
            Self::Responding(status) => Some(status),
            _ => None,
        }
    }

    /// Returns its process id, in its own PID namespace.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::Responding(status) => Some(status.pid),
            Self::Silent { holder } => holder.as_ref().map(|holder| holder.pid),
            Self::Absent => None,
        }
    }

    /// Returns whether it runs but does not respond.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        matches!(self, Self::Silent { .. })
    }
}
