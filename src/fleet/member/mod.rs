//! A member: the one process of a host that takes part in a fleet.

mod error;
mod parts;
mod state;

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch::Receiver;

pub use self::error::MemberError;
pub use self::parts::{MemberParts, MemberTimings};
pub use self::state::{FleetLogout, FleetState, MemberActivity};
use super::sealed::FleetKey;
use crate::document::AuthDocument;

/// A member of a fleet: the one process of a host that takes part. Clones share it.
///
/// Its files lie in one folder, which is locked as long as a clone exists. Every operation first completes what a killed
/// process left behind.
///
/// # Cancellation
/// An operation goes on if its future is dropped, as long as the tokio runtime runs. A runtime that is dropped waits
/// until the response to a request that was sent is on the disk.
#[derive(Clone, Debug)]
pub struct Member {
    state: Receiver<FleetState>,
}

impl Member {
    /// Locks the folder within `limit`, creates it if it is missing, and reads the files. Sends nothing.
    ///
    /// # Errors
    /// [`MemberError::Lock`]: another process takes part. [`MemberError::File`], [`MemberError::Damaged`],
    /// [`MemberError::Copy`].
    pub async fn open(parts: MemberParts, limit: Duration) -> Result<Self, MemberError> {
        let _ = (parts, limit);
        Err(MemberError::Internal)
    }

    /// Reads the record and the name of the refresher from etcd, without the lock and without changing a file; also for a
    /// process that does not take part.
    ///
    /// # Errors
    /// [`MemberError::Etcd`], [`MemberError::Record`].
    pub async fn read(parts: &MemberParts) -> Result<FleetState, MemberError> {
        let _ = parts;
        Err(MemberError::Internal)
    }

    /// Returns what this member knows, without a request.
    #[must_use]
    pub fn state(&self) -> FleetState {
        self.state.borrow().clone()
    }

    /// Returns a channel with the present [`FleetState`], which changes whenever a record was saved on this host.
    #[must_use]
    pub fn subscribe(&self) -> Receiver<FleetState> {
        self.state.clone()
    }

    /// Completes what can be completed now, and returns what this member knows then.
    ///
    /// # Errors
    /// [`MemberError::Etcd`], [`MemberError::Record`], and those of the member's files.
    pub async fn recover(&self) -> Result<FleetState, MemberError> {
        Err(MemberError::Internal)
    }

    /// Returns a record with another token than that of generation `seen`: the one in etcd, or a new one. If another
    /// member is the refresher, it is asked and has `limit`.
    ///
    /// # Errors
    /// Any but [`MemberError::Lock`]. [`MemberError::Poisoned`]: only a new login helps.
    pub async fn refresh(&self, seen: u64, limit: Duration) -> Result<FleetState, MemberError> {
        let _ = (seen, limit);
        Err(MemberError::Internal)
    }

    /// Saves a new login for the fleet, sealed, on the disk of this host. Then replace the local document, which has the
    /// refresh token, by the exported one, and call [`Self::complete_login`]. It replaces the login that this member has
    /// seen last, or is the first one of the fleet.
    ///
    /// # Errors
    /// [`MemberError::NotShareable`]: it has no refresh token of its own. [`MemberError::File`],
    /// [`MemberError::Refused`]: another login is not complete.
    pub async fn save_login(&self, document: AuthDocument) -> Result<(), MemberError> {
        let _ = document;
        Err(MemberError::Internal)
    }

    /// Writes the saved login into the record, and revokes the one that it replaced. Every later operation tries again
    /// what failed. If the fleet was logged out or has another login meanwhile, the saved login is revoked.
    ///
    /// # Errors
    /// [`MemberError::Etcd`], [`MemberError::Record`], and those of the member's files; [`MemberError::Refused`]: it was
    /// revoked.
    pub async fn complete_login(&self) -> Result<FleetState, MemberError> {
        Err(MemberError::Internal)
    }

    /// Logs the fleet out, and revokes its login.
    ///
    /// # Errors
    /// [`MemberError::Etcd`], [`MemberError::Record`], and those of the member's files: the fleet may not be logged out.
    pub async fn log_out(&self) -> Result<FleetLogout, MemberError> {
        Err(MemberError::Internal)
    }

    /// Refreshes, and seals the record with `key`, whose epoch is the next one. Save the key before the call: if it fails,
    /// the record may be sealed with it. The other members cannot open the record until they have joined again.
    ///
    /// # Errors
    /// As [`Self::refresh`]; [`MemberError::Record`]: the epoch is not the next one.
    pub async fn rekey(&self, key: FleetKey) -> Result<FleetState, MemberError> {
        let _ = key;
        Err(MemberError::Internal)
    }

    /// Takes part until the future is dropped: follows the record, becomes the refresher if there is none, and refreshes
    /// ahead of time. Errors are in [`FleetState::problem`] and end nothing.
    pub async fn run(&self) -> Infallible {
        std::future::pending().await
    }

    /// Gives up the role of the refresher, so that another member need not wait for the end of the lease.
    ///
    /// # Errors
    /// [`MemberError::Etcd`]: the lease ends by its lifetime.
    pub async fn resign(&self) -> Result<(), MemberError> {
        Err(MemberError::Internal)
    }
}
