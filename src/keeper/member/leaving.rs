//! Leaves a fleet, returns to it, and changes its key.

use std::time::Duration;

use super::error::FleetError;
use super::founding::forget;
use super::host::{blocking, parts};
use super::perform::perform;
use crate::clock::Clock;
use crate::config::Environment;
use crate::fleet::membership::{LocalLogin, Membership, MembershipError, Standing, roster, withdraw_member};
use crate::fleet::{FleetKey, Member, MemberActivity, MemberError, MemberParts, SharedRecord};
use crate::home::Home;
use crate::keeper::member_task::MemberTask;
use crate::manager;
use crate::store::{LockDeadline, Stores};

/// How long a keeper may take to notice that it does not take part any more.
const KEEPER_LIMIT: Duration = Duration::from_secs(10);

/// What is left after a home has left its fleet.
#[derive(Debug)]
#[non_exhaustive]
pub struct LeaveReport {
    /// The membership that has ended.
    pub membership: Membership,
    /// Why the list of members may still name the home.
    pub not_withdrawn: Option<String>,
}

/// Ends the membership of `home`, and removes the login that its fleet has stored there. Blocks.
///
/// # Errors
/// - [`MembershipError::NotAMember`].
/// - [`FleetError::LastMember`]: no other host has the key of a login that works.
/// - [`FleetError::Unfinished`]: this host has tokens that no other host has.
/// - [`FleetError::Member`]: another process takes part. In all these cases nothing was changed.
/// - The others: a part of the membership may be left; leave again.
pub fn leave(home: &Home, environment: &Environment) -> Result<LeaveReport, FleetError> {
    let mut membership = Membership::of(home)?.ok_or(MembershipError::NotAMember)?;
    let clock = Clock::system();
    let parts = match parts(home, &membership, environment, &clock) {
        Ok(parts) => Some(parts),
        // Without its key the host is no member any more.
        Err(FleetError::Membership(error)) if matches!(*error, MembershipError::NoKey { .. }) => None,
        Err(error) => return Err(error),
    };
    if let Some(parts) = &parts {
        manager::block_on(check_last(&membership, parts))??;
    }
    // From now on no process writes the login or takes part.
    let before = membership.standing;
    membership.change_standing(home, Standing::Left)?;
    let withdrawn = parts.map(|parts| manager::block_on(withdraw(&membership, parts)));
    let not_withdrawn = match withdrawn.map(|done| done.map_err(FleetError::from).flatten()) {
        None => None,
        Some(Ok(why)) => why,
        Some(Err(error)) => {
            // The home is still a member.
            membership.change_standing(home, before)?;
            return Err(error);
        }
    };
    let deadline = LockDeadline::after(environment.lock_timeout);
    LocalLogin::open(home, environment, &clock, &deadline)?.remove()?;
    forget(home, environment, &membership)?;
    Ok(LeaveReport { membership, not_withdrawn })
}

/// Refuses to leave where the login would be lost. Where etcd cannot be reached, other hosts may exist.
async fn check_last(membership: &Membership, parts: &MemberParts) -> Result<(), FleetError> {
    let Ok(members) = roster(&parts.store, &membership.fleet).await else { return Ok(()) };
    let has_others = members.iter().any(|member| member.name != membership.member);
    let state = Member::read(parts).await;
    let works = |record: &SharedRecord| !record.is_logged_out();
    match state {
        Ok(state) if !has_others && state.record.as_ref().is_some_and(works) => {
            Err(FleetError::LastMember { fleet: membership.fleet.clone() })
        }
        _ => Ok(()),
    }
}

/// Completes what this host has begun, and removes it from the list of members. Returns why it may still be listed.
async fn withdraw(membership: &Membership, parts: MemberParts) -> Result<Option<String>, FleetError> {
    let store = parts.store.clone();
    let member = Member::open(parts, KEEPER_LIMIT).await?;
    // Also the role of the refresher.
    let recovered = member.recover().await;
    if matches!(member.state().activity, MemberActivity::Uncommitted | MemberActivity::LoggingIn) {
        return Err(recovered.err().map_or(FleetError::Unfinished, FleetError::from));
    }
    let _ = member.resign().await;
    Ok(withdraw_member(&store, membership).await.err().map(|error| error.to_string()))
}

/// Lets the fleet serve `home` again, after a program has logged out there or logged in to another account. Blocks.
///
/// # Errors
/// - [`MembershipError::NotAMember`], [`FleetError::ServedAlready`].
/// - [`MemberError::LoggedOut`]: the home gets the next login of the fleet.
/// - [`FleetError::OtherLogin`]: log out of it first.
pub fn resume(stores: &Stores, environment: &Environment) -> Result<Membership, FleetError> {
    let home = stores.home();
    let mut membership = Membership::of(home)?.ok_or(MembershipError::NotAMember)?;
    let stored = stores.find()?.stored;
    match membership.standing {
        Standing::Active if stored.is_some() => return Err(FleetError::ServedAlready),
        _ => {}
    }
    super::founding::check_keeper(home)?;
    if let Some(stored) = stored.filter(|stored| !stored.document.is_handed_in()) {
        return Err(FleetError::OtherLogin { location: stored.location });
    }
    let standing = membership.standing;
    membership.change_standing(home, Standing::Joining)?;
    if let Err(error) = perform(home, environment, MemberTask::Settle) {
        // It is as it was, and the user tries again.
        membership.change_standing(home, standing)?;
        return Err(error);
    }
    match Membership::of(home)? {
        // The next login of the fleet is written here.
        Some(Membership { standing: Standing::Joining, .. }) => Err(MemberError::LoggedOut.into()),
        _ => Ok(membership),
    }
}

/// Seals the record of the fleet with a new key, which the other members do not have. Returns its number. Blocks.
///
/// # Errors
/// [`MembershipError::NotAMember`], [`MembershipError::SetAside`], and as [`perform`]: the record may be sealed with the
/// new key, which this host has.
pub fn rekey(home: &Home, environment: &Environment) -> Result<u64, FleetError> {
    let mut membership = Membership::of(home)?.ok_or(MembershipError::NotAMember)?;
    if !membership.standing.is_served() {
        return Err(MembershipError::SetAside { standing: membership.standing }.into());
    }
    let slot = membership.secret_slot(home, environment);
    let mut secrets = slot.read()?;
    let parts = parts(home, &membership, environment, &Clock::system())?;
    let state = manager::block_on(Member::read(&parts))??;
    let epoch = state.order().map_or(membership.epoch, |order| order.epoch) + 1;
    // The key is on the disk before a record is sealed with it.
    secrets.keys.retain(|key| key.epoch() < epoch);
    secrets.add(FleetKey::random(epoch).map_err(MembershipError::from)?);
    slot.write(&secrets)?;
    perform(home, environment, MemberTask::Rekey)?;
    membership = Membership::of(home)?.unwrap_or(membership);
    membership.epoch = epoch;
    membership.save(home)?;
    Ok(epoch)
}

/// What is known of the fleet of a home.
#[derive(Debug)]
#[non_exhaustive]
pub struct FleetReport {
    /// The membership.
    pub membership: Membership,
    /// The record, the refresher and the members in etcd, or why they cannot be read.
    pub etcd: Result<FleetView, FleetError>,
}

/// What etcd holds of a fleet.
#[derive(Debug)]
#[non_exhaustive]
pub struct FleetView {
    /// The record and the refresher.
    pub state: crate::fleet::FleetState,
    /// The members, by name.
    pub members: Vec<crate::fleet::membership::ListedMember>,
}

/// Reads the fleet of `home` from etcd, without taking part. Blocks.
///
/// # Errors
/// [`MembershipError::NotAMember`]; the membership or the stored login cannot be read.
pub fn fleet_report(home: &Home, environment: &Environment) -> Result<FleetReport, FleetError> {
    let mut membership = Membership::of(home)?.ok_or(MembershipError::NotAMember)?;
    if Stores::open(home.clone(), environment)?.find()?.stored.is_none() {
        membership.standing = membership.standing.without_login();
    }
    let (folder, settings, known) = (home.clone(), environment.clone(), membership.clone());
    let work = async {
        let parts = blocking(move || parts(&folder, &known, &settings, &Clock::system())).await?;
        let members = roster(&parts.store, &membership.fleet).await?;
        Ok(FleetView { state: Member::read(&parts).await?, members })
    };
    let etcd = manager::block_on(work)?;
    let etcd = etcd.map_err(super::host::explained);
    Ok(FleetReport { membership, etcd })
}
