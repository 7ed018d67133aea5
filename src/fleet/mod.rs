//! A fleet: hosts that share one login through etcd (feature `fleet`).
//!
//! [`SharedStore`] reaches etcd 3.4 and later through its JSON gateway.

mod endpoint;
mod error;
mod gateway;
mod key_watch;
mod shared_store;
mod wire;

pub use self::endpoint::{EtcdEndpoint, EtcdEndpointError};
pub use self::error::{Error, EtcdFailure};
pub use self::gateway::{EtcdLimits, EtcdUser};
pub use self::key_watch::{Continuity, KeyWatch, Observation};
pub use self::shared_store::{
    Change, ClusterState, Comparison, EtcdSettings, SharedLease, SharedRead, SharedStore, SharedValue,
    TransactionOutcome,
};
