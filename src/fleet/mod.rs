//! A fleet: hosts that share one login through etcd (feature `fleet`).
//!
//! [`SharedStore`] reaches etcd 3.4 and later through its JSON gateway. The login is in a [`SharedRecord`], which leaves
//! a host as a [`SealedRecord`] only; a [`RecordCopy`] keeps the newest one on the disk of each host. A [`Member`] takes
//! part for a host: it follows the record, refreshes the login, and completes what a killed process left behind.

mod endpoint;
mod error;
mod fleet_keys;
mod gateway;
mod intent;
mod key_watch;
mod member;
pub mod membership;
mod record;
mod record_copy;
mod record_error;
mod sealed;
mod shared_store;
mod wire;

pub use self::endpoint::{EtcdEndpoint, EtcdEndpointError};
pub use self::error::{Error, EtcdFailure};
pub use self::fleet_keys::FleetKeys;
pub use self::gateway::{EtcdLimits, EtcdUser};
pub use self::intent::{IntentId, MemberName, SpendAttempt, SpendIntent};
pub use self::key_watch::{Continuity, KeyWatch, Observation};
pub use self::member::{
    FleetLogout, FleetState, Member, MemberActivity, MemberError, MemberParts, MemberTimings,
};
pub use self::record::{FleetPoison, RecordOrder, SharedRecord};
pub use self::record_copy::RecordCopy;
pub use self::record_error::{CopyError, InvalidRecord, RefusedChange};
pub use self::sealed::{FleetKey, SealedRecord};
pub use self::shared_store::{
    Change, ClusterState, Comparison, EtcdSettings, SharedLease, SharedRead, SharedStore, SharedValue,
    TransactionOutcome,
};
