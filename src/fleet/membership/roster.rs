//! The members of a fleet, each with an entry of its own in etcd.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::gateway::Repetition;
use super::super::intent::MemberName;
use super::super::shared_store::{Change, Comparison, SharedStore, TransactionOutcome};
use super::super::wire::{Base64, RangeReply};
use super::error::MembershipError;
use super::fleet_name::FleetName;
use super::member_id::MemberId;
use super::membership_file::Membership;

/// The maximum number of members that are listed.
const MAX_MEMBERS: i64 = 1000;

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "an entry has these")]
pub struct MemberEntry {
    /// The home.
    pub id: MemberId,
    /// When it joined, by its own clock.
    pub joined: Timestamp,
    /// The key that it has.
    pub epoch: u64,
    /// The newest token that it has seen.
    pub generation: u64,
}

/// A member in the list. Anyone who may write to the keys of the fleet can change it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedMember {
    /// Its name.
    pub name: MemberName,
    /// What it says of itself; `None` if that is not readable.
    pub entry: Option<MemberEntry>,
}

impl MemberEntry {
    /// Returns the value in etcd.
    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a value in etcd.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// A linearizable read of all keys from one up to another.
#[derive(Serialize)]
struct ListRequest {
    key: Base64,
    range_end: Base64,
    limit: String,
}

/// Returns the members of `fleet` by name, at most a thousand.
///
/// # Errors
/// [`MembershipError::Etcd`].
pub async fn roster(store: &SharedStore, fleet: &FleetName) -> Result<Vec<ListedMember>, MembershipError> {
    let prefix = fleet.members_prefix();
    // '0' follows '/'.
    let end = [&prefix.as_bytes()[..prefix.len() - 1], b"0"].concat();
    let request = ListRequest {
        key: Base64(prefix.clone().into_bytes()),
        range_end: Base64(end),
        limit: MAX_MEMBERS.to_string(),
    };
    let reply: RangeReply = store.gateway().call("kv/range", &request, Repetition::Harmless).await?;
    let listed = reply.kvs.into_iter().filter_map(|pair| {
        let key = String::from_utf8(pair.key.0).ok()?;
        let name = key.strip_prefix(&prefix)?.parse().ok()?;
        Some(ListedMember { name, entry: MemberEntry::parse(&pair.value.0) })
    });
    Ok(listed.collect())
}

/// Reports to the fleet which key and token the member has. The report is only for the eyes of people.
///
/// # Errors
/// [`MembershipError::Etcd`]; [`MembershipError::NameTaken`]: another home has its name by now.
pub async fn report_generation(
    store: &SharedStore,
    membership: &Membership,
    epoch: u64,
    generation: u64,
) -> Result<(), MembershipError> {
    let key = membership.fleet.member_key(&membership.member);
    let there = store.read(&key).await?.value;
    let entry = there.as_ref().and_then(|value| MemberEntry::parse(&value.bytes));
    if entry.as_ref().is_some_and(|entry| entry.id != membership.id) {
        return Err(MembershipError::NameTaken { member: membership.member.clone() });
    }
    let joined = entry.map_or_else(Timestamp::now, |entry| entry.joined);
    let entry = MemberEntry { id: membership.id, joined, epoch, generation };
    let comparison = match there {
        Some(value) if value.bytes == entry.to_json() => return Ok(()),
        Some(value) => Comparison::Is { key: key.clone(), bytes: value.bytes },
        None => Comparison::Absent { key: key.clone() },
    };
    let put = Change::Put { key, bytes: entry.to_json(), lease: None };
    match store.commit(&[comparison], &[put]).await? {
        TransactionOutcome::Committed(_) | TransactionOutcome::Mismatched(_) => Ok(()),
    }
}
