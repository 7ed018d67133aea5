//! Makes an invite in etcd, and redeems it.

use std::time::Duration;

use jiff::Timestamp;

use super::super::intent::MemberName;
use super::super::sealed::FleetKey;
use super::super::shared_store::{Change, Comparison, SharedStore, SharedValue, TransactionOutcome};
use super::error::MembershipError;
use super::invite::Invite;
use super::member_id::MemberId;
use super::membership_file::Membership;
use super::roster::MemberEntry;

/// How often a transaction is tried that other members overtake.
const MAX_ATTEMPTS: usize = 5;

/// What a redeemed invite brought.
#[derive(Debug)]
#[non_exhaustive]
pub struct Redeemed {
    /// The key of the fleet.
    pub key: FleetKey,
    /// The new entry in the list of members.
    pub entry: MemberEntry,
}

/// Makes an invite to the fleet of `membership`, which ends after `ttl` or when it was used.
///
/// # Errors
/// [`MembershipError::Etcd`], [`MembershipError::Random`]: there is no invite, or none that anyone knows of.
pub async fn invite(
    store: &SharedStore,
    membership: &Membership,
    key: &FleetKey,
    ttl: Duration,
) -> Result<Invite, MembershipError> {
    let Membership { fleet, endpoints, user, ca, .. } = membership.clone();
    let invite = Invite::random(fleet, endpoints, user, ca)?;
    let (etcd_key, bytes) = (invite.etcd_key(), invite.wrap(key)?);
    let lease = store.grant(ttl).await?;
    let absent = Comparison::Absent { key: etcd_key.clone() };
    let put = Change::Put { key: etcd_key.clone(), bytes: bytes.clone(), lease: Some(lease) };
    match store.commit(&[absent], &[put]).await {
        Ok(_) => {}
        Err(error) if error.is_unknown() => {
            // The reply was lost. An invite that was not printed ends by its time.
            if store.read(&etcd_key).await?.value.is_none_or(|value| value.bytes != bytes) {
                return Err(error.into());
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(invite)
}

/// Reads the key that `invite` opens, without using the invite.
///
/// # Errors
/// [`MembershipError::InviteEnded`], [`MembershipError::InviteChanged`], [`MembershipError::Etcd`].
pub async fn open_invite(store: &SharedStore, invite: &Invite) -> Result<FleetKey, MembershipError> {
    let wrapped = store.read(&invite.etcd_key()).await?.value.ok_or(MembershipError::InviteEnded)?;
    invite.unwrap(&wrapped.bytes)
}

/// Redeems `invite` for the home `id` as `member`, and writes it into the list of members in the same transaction. Of two
/// homes that redeem one invite, exactly one succeeds.
///
/// # Errors
/// - [`MembershipError::InviteEnded`], [`MembershipError::InviteChanged`].
/// - [`MembershipError::NameTaken`]: another home is this member; the invite is not used.
/// - [`MembershipError::Unclear`]: the invite may have been used, and then the entry stays.
/// - [`MembershipError::Etcd`].
pub async fn redeem(
    store: &SharedStore,
    invite: &Invite,
    member: &MemberName,
    id: MemberId,
) -> Result<Redeemed, MembershipError> {
    let (invite_key, member_key) = (invite.etcd_key(), invite.fleet.member_key(member));
    for _ in 0..MAX_ATTEMPTS {
        let wrapped = store.read(&invite_key).await?.value.ok_or(MembershipError::InviteEnded)?;
        let key = invite.unwrap(&wrapped.bytes)?;
        let there = store.read(&member_key).await?.value;
        let old = there.as_ref().map(|value| MemberEntry::parse(&value.bytes));
        if old.as_ref().is_some_and(|old| old.as_ref().is_none_or(|old| old.id != id)) {
            return Err(MembershipError::NameTaken { member: member.clone() });
        }
        let joined = old.flatten().map_or_else(Timestamp::now, |old| old.joined);
        let entry = MemberEntry { id, joined, epoch: key.epoch(), generation: 0 };
        let comparisons = [
            Comparison::Is { key: invite_key.clone(), bytes: wrapped.bytes },
            comparison(&member_key, there),
        ];
        let put = Change::Put { key: member_key.clone(), bytes: entry.to_json(), lease: None };
        match store.commit(&comparisons, &[Change::Remove { key: invite_key.clone() }, put]).await {
            Ok(TransactionOutcome::Committed(_)) => return Ok(Redeemed { key, entry }),
            Ok(TransactionOutcome::Mismatched(_)) => {}
            Err(error) if error.is_unknown() => {
                // The reply was lost: the entry shows whether this home has used the invite.
                let value = store.read(&member_key).await?.value;
                return match value.is_some_and(|value| value.bytes == entry.to_json()) {
                    true => Ok(Redeemed { key, entry }),
                    false => Err(MembershipError::Unclear(error)),
                };
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(MembershipError::InviteEnded)
}

/// Removes the member from the list. An entry of another home stays.
///
/// # Errors
/// [`MembershipError::Etcd`].
pub async fn withdraw_member(store: &SharedStore, membership: &Membership) -> Result<(), MembershipError> {
    let key = membership.fleet.member_key(&membership.member);
    for _ in 0..MAX_ATTEMPTS {
        let Some(value) = store.read(&key).await?.value else { return Ok(()) };
        if MemberEntry::parse(&value.bytes).is_none_or(|entry| entry.id != membership.id) {
            return Ok(());
        }
        let is = Comparison::Is { key: key.clone(), bytes: value.bytes };
        match store.commit(&[is], &[Change::Remove { key: key.clone() }]).await {
            Ok(TransactionOutcome::Committed(_)) => return Ok(()),
            // It was changed meanwhile, or it is removed already.
            Ok(TransactionOutcome::Mismatched(_)) => {}
            Err(error) if error.is_unknown() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn comparison(key: &str, there: Option<SharedValue>) -> Comparison {
    let key = key.to_owned();
    match there {
        Some(value) => Comparison::Is { key, bytes: value.bytes },
        None => Comparison::Absent { key },
    }
}
