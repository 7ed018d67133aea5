//! What a member is made of, given by its caller.

use std::path::PathBuf;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::Environment;
use crate::fleet::fleet_keys::FleetKeys;
use crate::fleet::intent::MemberName;
use crate::fleet::shared_store::SharedStore;

/// What a [`Member`](super::Member) is made of.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "settings that a caller gives in full")]
pub struct MemberParts {
    /// The folder of the member's own files, mode 0700; its parent exists. Only one process at a time takes part with it.
    pub folder: PathBuf,
    /// What the names of the fleet's keys in etcd begin with, for example `codex-auth/team/`.
    pub prefix: String,
    /// The name of this member.
    pub name: MemberName,
    /// The sealing keys of the fleet.
    pub keys: FleetKeys,
    /// The connection to etcd.
    pub store: SharedStore,
    /// The addresses, proxy and certificates of the authority.
    pub environment: Environment,
    /// The wall clock.
    pub clock: Clock,
    /// The time limits.
    pub timings: MemberTimings,
}

/// The time limits of a member. All members of a fleet use the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "settings that a caller gives in full")]
pub struct MemberTimings {
    /// The lifetime of the refresher's lease in etcd, in whole seconds. Longer than `request` and `margin` together.
    pub lease: Duration,
    /// For a request to the authority, from the last check to the last byte of the response.
    pub request: Duration,
    /// What is left for clocks and processors that are not exact.
    pub margin: Duration,
    /// Between two reads after etcd was restored from a backup; a member spends nothing for two of them.
    pub poll: Duration,
}

impl Default for MemberTimings {
    /// 30, 20, 5 and 10 seconds.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { lease: seconds(30), request: seconds(20), margin: seconds(5), poll: seconds(10) }
    }
}

/// The names of the keys of a fleet in etcd.
#[derive(Clone, Debug)]
pub(super) struct KeyNames {
    pub(super) record: String,
    /// The refresher; it ends with the refresher's lease.
    pub(super) leader: String,
    /// The generation that a member wants to have replaced.
    pub(super) ask: String,
}

impl KeyNames {
    pub(super) fn of(prefix: &str) -> Self {
        let name = |key: &str| format!("{prefix}{key}");
        Self { record: name("record"), leader: name("leader"), ask: name("ask") }
    }
}
