//! What a member knows of its fleet.

use jiff::Timestamp;

use super::error::MemberError;
use crate::fleet::intent::MemberName;
use crate::fleet::record::{RecordOrder, SharedRecord};

/// What a member knows of its fleet, for its local document and for reports.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FleetState {
    /// The newest record that was seen; it is on the disk of this host. `None` before the first login of the fleet.
    pub record: Option<SharedRecord>,
    /// The refresher, if one was seen.
    pub leader: Option<MemberName>,
    /// When etcd responded last, by the wall clock; `None` if not yet.
    pub contact: Option<Timestamp>,
    /// The message of the error that stops this member from taking part, if one does.
    pub problem: Option<String>,
    /// What this member is doing.
    pub activity: MemberActivity,
}

/// What a member is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemberActivity {
    /// It follows the record.
    Following,
    /// It is the refresher.
    Refreshing,
    /// etcd was restored from a backup: it spends nothing until the other members had the time to put back what they
    /// have seen.
    AwaitingOthers,
    /// It has new tokens on its disk that are not in the record yet.
    Uncommitted,
    /// It has a new login on its disk that is not in the record yet, or that replaced one that is not revoked yet.
    LoggingIn,
}

/// What a logout did.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a caller handles both")]
pub enum FleetLogout {
    /// The login is revoked.
    Revoked,
    /// The fleet is logged out, but the authority could not be reached; any member revokes the login later.
    NotRevoked(MemberError),
}

impl FleetState {
    pub(super) fn new() -> Self {
        let (record, leader, contact, problem) = (None, None, None, None);
        Self { record, leader, contact, problem, activity: MemberActivity::Following }
    }

    /// Returns the position of the newest record that was seen.
    #[must_use]
    pub fn order(&self) -> Option<RecordOrder> {
        self.record.as_ref().map(SharedRecord::order)
    }
}
