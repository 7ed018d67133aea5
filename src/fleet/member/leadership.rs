//! The role of the refresher: a key in etcd that ends with its owner's lease.

use std::time::Duration;

use codex_auth_platform::boot_clock::BootTime;
use serde::{Deserialize, Serialize};

use crate::fleet::error::Error;
use crate::fleet::intent::{IntentId, MemberName};
use crate::fleet::shared_store::{Change, Comparison, SharedLease, SharedStore, TransactionOutcome};

/// The role of the refresher, as far as its owner knows by its own clock.
#[derive(Debug)]
pub(super) struct Leadership {
    key: String,
    value: Vec<u8>,
    lease: SharedLease,
    ttl: Duration,
    /// When the last renewal that succeeded was sent.
    renewed: BootTime,
}

/// The value of the key: unique, so that a transaction that compares it fails after another term.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeaderValue {
    pub(super) member: MemberName,
    pub(super) term: IntentId,
}

impl LeaderValue {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

impl Leadership {
    /// Takes the role if no member has it, or if `former` does: a process of this host that has ended, as the lock of the
    /// member's folder proves. `None` if another member has it.
    pub(super) async fn acquire(
        store: &SharedStore,
        key: &str,
        value: &LeaderValue,
        former: Option<&LeaderValue>,
        ttl: Duration,
    ) -> Result<Option<Self>, Error> {
        let bytes = |value| serde_json::to_vec(value).unwrap_or_default();
        let comparison = match former {
            None => Comparison::Absent { key: key.to_owned() },
            Some(former) => Comparison::Is { key: key.to_owned(), bytes: bytes(former) },
        };
        let renewed = BootTime::now();
        let lease = store.grant(ttl).await?;
        let value = bytes(value);
        let put = Change::Put { key: key.to_owned(), bytes: value.clone(), lease: Some(lease) };
        let outcome = match store.commit(&[comparison], &[put]).await {
            Err(error) if error.is_unknown() => {
                // A read settles it. One that fails leaves a key that ends with its lease.
                let read = store.read(key).await?;
                read.value.is_some_and(|found| found.bytes == value)
            }
            outcome => matches!(outcome?, TransactionOutcome::Committed(_)),
        };
        let leadership = Self { key: key.to_owned(), value, lease, ttl, renewed };
        if outcome {
            return Ok(Some(leadership));
        }
        let _ = leadership.end(store).await;
        Ok(None)
    }

    /// Renews the lease, counted from before the call.
    pub(super) async fn renew(&mut self, store: &SharedStore) -> Result<(), Error> {
        let sent = BootTime::now();
        let left = store.renew(self.lease).await?;
        self.renewed = sent;
        self.ttl = left.min(self.ttl);
        Ok(())
    }

    /// Gives the role up.
    pub(super) async fn end(self, store: &SharedStore) -> Result<(), Error> {
        store.end(self.lease).await
    }

    /// Returns how long the lease lasts at least.
    pub(super) fn remaining(&self) -> Duration {
        (self.renewed + self.ttl).remaining()
    }

    /// Returns when to renew the lease: when a third of it has passed.
    pub(super) fn renewal(&self) -> BootTime {
        self.renewed + self.ttl / 3
    }

    /// Returns the comparison that makes a transaction fail if the role is lost.
    pub(super) fn comparison(&self) -> Comparison {
        Comparison::Is { key: self.key.clone(), bytes: self.value.clone() }
    }

    pub(super) fn value(&self) -> &[u8] {
        &self.value
    }
}
