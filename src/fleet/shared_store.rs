//! The keys of a fleet in etcd.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::Mutex;

use super::endpoint::EtcdEndpoint;
use super::error::Error;
use super::gateway::{EtcdLimits, EtcdUser, Gateway, Repetition};
use super::wire::{
    Base64, Compare, CompareTarget, GrantRequest, Header, KeyValue, LeaseReply, LeaseRequest, RangeReply,
    RangeRequest, RevokeReply, Streamed, TxnOperation, TxnReply, TxnRequest,
};
use crate::authority::private_client;
use crate::config::{Network, NetworkSetting};

/// How an etcd is reached.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "settings that a caller gives in full")]
pub struct EtcdSettings {
    /// The members, in the order in which they are tried.
    pub endpoints: Vec<EtcdEndpoint>,
    /// A PEM file of the only certificates that are trusted; without it, those of the system and of `network` are.
    pub ca: Option<PathBuf>,
    /// The user; `None` for an etcd without authentication.
    pub user: Option<EtcdUser>,
    /// The time limits.
    pub limits: EtcdLimits,
}

/// A connection to the etcd of a fleet. Clones share it.
///
/// Every call goes to one endpoint at a time, and to the next one after a failure, until [`EtcdLimits::call`] is over.
/// Each request has a new connection: on one that is dead it would be unknown whether it arrived. No proxy is used. A call that may have taken effect is repeated only if that makes no difference, see
/// [`Self::commit`]. A password is sent again when its token has ended.
///
/// The futures need a tokio runtime with its I/O and time drivers. If one is dropped, its call may or may not take
/// effect.
#[derive(Clone)]
pub struct SharedStore(Arc<Gateway>);

/// The state of etcd when it carried out a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterState {
    /// The id of the cluster, which a restore from a backup keeps.
    pub cluster_id: u64,
    /// The id of the member that responded.
    pub member_id: u64,
    /// Counts all changes. It goes back in a restore from a backup only.
    pub revision: i64,
    /// Counts elections.
    pub raft_term: u64,
}

/// The value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedValue {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The revision that wrote it.
    pub mod_revision: i64,
    /// The lease with which it ends.
    pub lease: Option<SharedLease>,
}

/// A read of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedRead {
    /// The state of etcd.
    pub state: ClusterState,
    /// The value, if there is one.
    pub value: Option<SharedValue>,
}

/// The id of a lease, with which keys end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SharedLease(i64);

/// What a transaction compares.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a caller chooses")]
pub enum Comparison {
    /// The key has exactly this value.
    Is {
        /// The key.
        key: String,
        /// The value.
        bytes: Vec<u8>,
    },
    /// There is no such key.
    Absent {
        /// The key.
        key: String,
    },
}

/// What a transaction changes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a caller chooses")]
pub enum Change {
    /// Writes the key.
    Put {
        /// The key.
        key: String,
        /// The new value.
        bytes: Vec<u8>,
        /// The lease with which the key ends.
        lease: Option<SharedLease>,
    },
    /// Removes the key.
    Remove {
        /// The key.
        key: String,
    },
}

/// Whether a transaction was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a caller handles both")]
pub enum TransactionOutcome {
    /// All changes were made.
    Committed(ClusterState),
    /// A comparison failed, so nothing was changed.
    Mismatched(ClusterState),
}

impl SharedStore {
    /// Creates a client. Reads the CA file; sends nothing.
    ///
    /// # Errors
    /// [`Error::NoEndpoint`], [`Error::Client`].
    pub fn open(settings: EtcdSettings, network: &Network) -> Result<Self, Error> {
        let EtcdSettings { endpoints, ca, user, limits } = settings;
        if endpoints.is_empty() {
            return Err(Error::NoEndpoint);
        }
        let ca = ca.map(|path| NetworkSetting::new("--ca", path));
        let client = private_client(ca.as_ref(), network, limits.attempt)?;
        let (current, token) = (AtomicUsize::new(0), Mutex::new(None));
        Ok(Self(Arc::new(Gateway { client, endpoints, current, user, token, limits })))
    }

    /// Reads `key`. The read is linearizable: it sees every change that was acknowledged before the call.
    ///
    /// # Errors
    /// All but [`Error::Unknown`] and [`Error::LeaseEnded`].
    pub async fn read(&self, key: &str) -> Result<SharedRead, Error> {
        let request = RangeRequest { key: bytes_of(key) };
        let reply: RangeReply = self.0.call("kv/range", &request, Repetition::Harmless).await?;
        let value = reply.kvs.into_iter().next().map(SharedValue::from);
        Ok(SharedRead { state: reply.header.into(), value })
    }

    /// Makes all of `changes` if all of `comparisons` hold.
    ///
    /// A request that may have been carried out is not sent again: read, and decide anew.
    ///
    /// # Errors
    /// - [`Error::Unknown`]: the changes may have been made, or may still be.
    /// - The others: nothing was changed.
    pub async fn commit(
        &self,
        comparisons: &[Comparison],
        changes: &[Change],
    ) -> Result<TransactionOutcome, Error> {
        let compare = comparisons.iter().map(Compare::from).collect();
        let request = TxnRequest { compare, success: changes.iter().map(TxnOperation::from).collect() };
        let reply: TxnReply = self.0.call("kv/txn", &request, Repetition::Never).await?;
        let state = reply.header.into();
        Ok(if reply.succeeded {
            TransactionOutcome::Committed(state)
        } else {
            TransactionOutcome::Mismatched(state)
        })
    }

    /// Creates a lease that ends `ttl` after its last renewal, in whole seconds. A restart of etcd begins its time anew.
    ///
    /// # Errors
    /// All but [`Error::Unknown`] and [`Error::LeaseEnded`]. A lease whose id is unknown may be left; it ends by its lifetime.
    pub async fn grant(&self, ttl: Duration) -> Result<SharedLease, Error> {
        let request = GrantRequest { ttl: ttl.as_secs().max(1) };
        let reply: LeaseReply = self.0.call("lease/grant", &request, Repetition::Harmless).await?;
        Ok(SharedLease(reply.id))
    }

    /// Renews `lease` and returns the time that it has left. Count that time from before the call, since the reply may
    /// be late.
    ///
    /// # Errors
    /// - [`Error::LeaseEnded`]: the lease and its keys are gone.
    /// - The others, but not [`Error::Unknown`]: it may have been renewed.
    pub async fn renew(&self, lease: SharedLease) -> Result<Duration, Error> {
        let request = LeaseRequest { id: lease.0 };
        let reply: Streamed<LeaseReply> =
            self.0.call("lease/keepalive", &request, Repetition::Harmless).await?;
        let ttl = reply.result.map_or(0, |lease| lease.ttl);
        match u64::try_from(ttl) {
            Ok(seconds @ 1..) => Ok(Duration::from_secs(seconds)),
            _ => Err(Error::LeaseEnded),
        }
    }

    /// Ends `lease` and removes its keys. A lease that has ended already is not an error.
    ///
    /// # Errors
    /// All but [`Error::Unknown`] and [`Error::LeaseEnded`]. The lease may have ended.
    pub async fn end(&self, lease: SharedLease) -> Result<(), Error> {
        let request = LeaseRequest { id: lease.0 };
        match self.0.call::<RevokeReply>("lease/revoke", &request, Repetition::Harmless).await {
            Ok(_) | Err(Error::LeaseEnded) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn gateway(&self) -> &Gateway {
        &self.0
    }
}

impl fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedStore").field("endpoints", &self.0.endpoints).finish_non_exhaustive()
    }
}

fn bytes_of(key: &str) -> Base64 {
    Base64(key.as_bytes().to_vec())
}

impl From<Header> for ClusterState {
    fn from(header: Header) -> Self {
        let Header { cluster_id, member_id, revision, raft_term } = header;
        Self { cluster_id, member_id, revision, raft_term }
    }
}

impl From<KeyValue> for SharedValue {
    fn from(value: KeyValue) -> Self {
        let KeyValue { value, mod_revision, lease, .. } = value;
        Self { bytes: value.0, mod_revision, lease: (lease != 0).then_some(SharedLease(lease)) }
    }
}

impl From<&Comparison> for Compare {
    fn from(comparison: &Comparison) -> Self {
        let (key, target) = match comparison {
            Comparison::Is { key, bytes } => (key, CompareTarget::Value { value: Base64(bytes.clone()) }),
            Comparison::Absent { key } => (key, CompareTarget::Version { version: "0" }),
        };
        Self { result: "EQUAL", key: bytes_of(key), target }
    }
}

impl From<&Change> for TxnOperation {
    fn from(change: &Change) -> Self {
        match change {
            Change::Put { key, bytes, lease } => Self::Put {
                key: bytes_of(key),
                value: Base64(bytes.clone()),
                lease: lease.map_or(0, |lease| lease.0),
            },
            Change::Remove { key } => Self::Delete { key: bytes_of(key) },
        }
    }
}
