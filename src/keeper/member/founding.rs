//! Founds a fleet from the login of a home, invites other hosts, and joins.

use std::path::{Path, PathBuf};
use std::time::Duration;

use codex_auth_platform::machine::host_name;
use codex_auth_platform::private_file::{self, Links};

use super::error::FleetError;
use super::host::blocking;
use super::perform::perform;
use crate::config::Environment;
use crate::document::{AuthDocument, AuthMode};
use crate::fleet::membership::{
    self, FleetName, FleetSecrets, Invite, MemberId, Membership, MembershipError, SecretPlace, Standing,
};
use crate::fleet::{
    EtcdEndpoint, FleetKey, MemberName, SealedRecord, SharedRecord, SharedStore, SharedValue,
};
use crate::home::Home;
use crate::keeper::member_task::MemberTask;
use crate::keeper::singleton::RunningKeeper;
use crate::manager;
use crate::secret::Secret;
use crate::store::{StoredDocument, Stores};

/// The maximum length of a file with certificates.
const MAX_CERTIFICATES: u64 = 1024 * 1024;
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// A fleet that is founded.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "settings that a caller gives in full")]
pub struct NewFleet {
    /// Its name.
    pub fleet: FleetName,
    /// The name of this host in it; by default that of the machine.
    pub member: Option<MemberName>,
    /// The members of etcd.
    pub endpoints: Vec<EtcdEndpoint>,
    /// A PEM file with the certificates of a private CA.
    pub ca: Option<PathBuf>,
    /// The name and the password of the etcd user.
    pub user: Option<(String, Secret)>,
}

/// Founds a fleet from the login of the home of `stores`, which is the first member. Blocks.
///
/// # Errors
/// - [`FleetError::NotLoggedIn`], [`FleetError::HandedIn`], [`FleetError::NotShareable`]: the login cannot be shared.
/// - [`MembershipError::MemberAlready`], [`MembershipError::FleetExists`], [`FleetError::OlderKeeper`].
/// - The others: the login is still stored here, or in the fleet.
pub fn found(stores: &Stores, environment: &Environment, fleet: NewFleet) -> Result<Membership, FleetError> {
    let home = stores.home();
    let id = new_member_id(home, None)?;
    check_keeper(home)?;
    let stored = stores.find()?.stored.ok_or(FleetError::NotLoggedIn)?;
    check_shareable(&stored.document)?;
    let NewFleet { fleet, member, endpoints, ca, user } = fleet;
    let (user, password) = user.unzip();
    let key = FleetKey::random(1).map_err(MembershipError::from)?;
    let membership = Membership {
        fleet,
        member: member_name(member)?,
        id,
        endpoints,
        ca: ca.as_deref().map(certificates).transpose()?,
        user,
        secrets: SecretPlace::from(stored.location.kind()),
        epoch: key.epoch(),
        standing: Standing::Joining,
    };
    let secrets = FleetSecrets { keys: vec![key], password };
    if let Err(error) = check_new(home, environment, &membership, &secrets) {
        // The certificates of etcd.
        if Membership::of(home)?.is_none() {
            Membership::remove(home)?;
        }
        return Err(error);
    }
    membership.secret_slot(home, environment).write(&secrets)?;
    membership.save(home)?;
    if let Err(error) = perform(home, environment, MemberTask::Settle) {
        // As long as the login is here, the home stays as it was.
        let stored = stores.find()?.stored;
        if stored.is_some_and(|stored| !stored.document.is_handed_in()) {
            forget(home, environment, &membership)?;
        }
        return Err(error);
    }
    Ok(membership)
}

/// Checks that etcd can be used, and holds no fleet of this name.
fn check_new(
    home: &Home,
    environment: &Environment,
    membership: &Membership,
    secrets: &FleetSecrets,
) -> Result<(), FleetError> {
    let store = SharedStore::open(membership.etcd(home, secrets)?, &environment.network)?;
    match manager::block_on(store.read(&membership.fleet.record_key()))??.value {
        Some(_) => Err(MembershipError::FleetExists { fleet: membership.fleet.clone() }.into()),
        None => Ok(()),
    }
}

/// Makes an invite to the fleet of `home`. Blocks.
///
/// # Errors
/// [`MembershipError::NotAMember`], and as [`membership::invite`].
pub fn invite(home: &Home, environment: &Environment, ttl: Duration) -> Result<Invite, FleetError> {
    let membership = Membership::of(home)?.ok_or(MembershipError::NotAMember)?;
    let secrets = membership.secret_slot(home, environment).read()?;
    let store = SharedStore::open(membership.etcd(home, &secrets)?, &environment.network)?;
    let work = async {
        let value = store.read(&membership.fleet.record_key()).await?.value;
        let epoch = value.map(|value| SealedRecord::epoch_of(&value.bytes)).transpose();
        let epoch = epoch.map_err(MembershipError::from)?;
        let key = epoch.map_or_else(|| secrets.latest_key(), |epoch| secrets.key_of(epoch));
        let key = key.ok_or(MembershipError::KeyChanged)?;
        Ok(membership::invite(&store, &membership, key, ttl).await?)
    };
    manager::block_on(work)?
}

/// What a home that joined a fleet had before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a caller must handle every case")]
pub enum JoinOutcome {
    /// It is a new member.
    New,
    /// It is a new member, and its login of the same account is that of the fleet now.
    LoginReplaced,
    /// It was a member, and has the new key now.
    KeyReplaced,
}

/// Joins the fleet of `invite`, or replaces the key of a member of it. Blocks. The password is that of the etcd user that
/// the invite names.
///
/// # Errors
/// - [`FleetError::OtherLogin`]: the home has a login that is not the fleet's; the invite is not used.
/// - [`FleetError::HandedIn`], [`FleetError::OlderKeeper`], [`MembershipError::MemberAlready`]: likewise.
/// - As [`membership::redeem`].
pub fn join(
    stores: &Stores,
    environment: &Environment,
    invite: &Invite,
    password: Option<Secret>,
    member: Option<MemberName>,
) -> Result<(Membership, JoinOutcome), FleetError> {
    let home = stores.home();
    let before = Membership::of(home)?.filter(|before| before.standing != Standing::Invited);
    let id = match &before {
        Some(before) if before.fleet == *invite.fleet() => before.id,
        _ => new_member_id(home, Some(invite.fleet()))?,
    };
    check_keeper(home)?;
    let stored = stores.find()?.stored;
    if before.is_none() && stored.as_ref().is_some_and(|stored| stored.document.is_handed_in()) {
        return Err(FleetError::HandedIn);
    }
    let (member, secrets, standing) = match &before {
        Some(before) => (before.member.clone(), before.secrets, before.standing),
        None => (member_name(member)?, secret_place(stores, stored.as_ref())?, Standing::Invited),
    };
    let mut membership = invite.membership(member, id, secrets, standing);
    let slot = membership.secret_slot(home, environment);
    let mut secrets = match &before {
        Some(_) => slot.read()?,
        None => FleetSecrets::default(),
    };
    secrets.password = password.or(secrets.password);
    if let (Some(user), None) = (invite.user(), &secrets.password) {
        return Err(FleetError::NoPassword { user: user.to_owned() });
    }
    let store = SharedStore::open(membership.etcd(home, &secrets)?, &environment.network)?;
    let work = async {
        let value = store.read(&invite.fleet().record_key()).await?.value;
        let key = match membership::open_invite(&store, invite).await {
            Err(MembershipError::InviteEnded) if has_key(before.as_ref(), value.as_ref()) => {
                let fleet = invite.fleet().clone();
                return Err(MembershipError::MemberAlready { fleet }.into());
            }
            key => key?,
        };
        let record = value.map(|value| SealedRecord::open(value.bytes, &key, invite.fleet().as_str()));
        let record = record.transpose().map_err(MembershipError::from)?;
        let local = check_local(stored.as_ref(), record.as_ref().map(SealedRecord::record))?;
        membership.epoch = key.epoch();
        secrets.add(key);
        let (write, saved, folder) = (slot.clone(), membership.clone(), home.clone());
        blocking(move || {
            write.write(&secrets)?;
            Ok(saved.save(&folder)?)
        })
        .await?;
        membership::redeem(&store, invite, &membership.member, id).await?;
        Ok::<_, FleetError>(local)
    };
    let local = match manager::block_on(work)? {
        Ok(local) => local,
        Err(error) => {
            let is_unclear = matches!(&error, FleetError::Membership(error) if matches!(**error, MembershipError::Unclear(_)));
            if before.is_none() && !is_unclear {
                forget(home, environment, &membership)?;
            }
            return Err(error);
        }
    };
    if membership.standing == Standing::Invited {
        membership.change_standing(home, Standing::Joining)?;
    }
    if membership.standing.is_served() {
        perform(home, environment, MemberTask::Settle)?;
    }
    let outcome = if before.is_some() { JoinOutcome::KeyReplaced } else { local };
    Ok((membership, outcome))
}

/// Removes the membership and the keys of `home`.
pub(super) fn forget(
    home: &Home,
    environment: &Environment,
    membership: &Membership,
) -> Result<(), FleetError> {
    membership.secret_slot(home, environment).remove()?;
    Membership::remove(home)?;
    Ok(())
}

/// Returns the id of a home that is in no fleet yet.
fn new_member_id(home: &Home, joins: Option<&FleetName>) -> Result<MemberId, FleetError> {
    match Membership::of(home)? {
        None => Ok(MemberId::random()?),
        // Its invite was being redeemed when it was killed.
        Some(before) if before.standing == Standing::Invited => match joins == Some(&before.fleet) {
            true => Ok(before.id),
            false => Ok(MemberId::random()?),
        },
        Some(before) => Err(MembershipError::MemberAlready { fleet: before.fleet }.into()),
    }
}

/// Refuses a home whose keeper would refresh its login without the fleet.
pub(super) fn check_keeper(home: &Home) -> Result<(), FleetError> {
    match RunningKeeper::of(home) {
        Some(keeper) if keeper.is_older() => Err(FleetError::OlderKeeper { keeper: keeper.holder }),
        _ => Ok(()),
    }
}

fn check_shareable(document: &AuthDocument) -> Result<(), FleetError> {
    if document.is_handed_in() {
        return Err(FleetError::HandedIn);
    }
    let Some(mode) = document.mode() else { return Err(FleetError::NotLoggedIn) };
    match document.fingerprint() {
        Some(_) if mode == AuthMode::ChatGpt => Ok(()),
        _ => Err(FleetError::NotShareable(mode)),
    }
}

/// Whether a member has the key of the record, which `value` is.
fn has_key(member: Option<&Membership>, value: Option<&SharedValue>) -> bool {
    let epoch = value.and_then(|value| SealedRecord::epoch_of(&value.bytes).ok());
    member.is_some_and(|member| epoch.is_none_or(|epoch| epoch == member.epoch))
}

/// Refuses a stored login that is not of the account of `record`, and returns what joining does with it.
fn check_local(
    stored: Option<&StoredDocument>,
    record: Option<&SharedRecord>,
) -> Result<JoinOutcome, FleetError> {
    let Some(stored) = stored.filter(|stored| !stored.document.is_handed_in()) else {
        return Ok(JoinOutcome::New);
    };
    let is_same = record.is_some_and(|record| {
        stored.document.fingerprint().is_some()
            && stored.document.identity().is_same_login_as(&record.document().identity())
    });
    if !is_same {
        return Err(FleetError::OtherLogin { location: stored.location.clone() });
    }
    let token = stored.document.fingerprint();
    let is_copy = record.zip(token).is_some_and(|(record, token)| {
        record.has_spent(token) || record.document().fingerprint() == Some(token)
    });
    Ok(if is_copy { JoinOutcome::New } else { JoinOutcome::LoginReplaced })
}

/// Returns where the secrets are put: where the login is, or will be.
fn secret_place(stores: &Stores, stored: Option<&StoredDocument>) -> Result<SecretPlace, FleetError> {
    let kind = match stored {
        Some(stored) => stored.location.kind(),
        None => stores.resolve(stores.choose(None)?.selection).0,
    };
    Ok(SecretPlace::from(kind))
}

/// Returns `named`, or the name of this machine.
fn member_name(named: Option<MemberName>) -> Result<MemberName, FleetError> {
    let machine = || host_name().and_then(|name| name.parse().ok());
    named.or_else(machine).ok_or(FleetError::NoMemberName)
}

/// Returns the certificates in the file at `path`, and nothing else of it: it may have a private key, too.
fn certificates(path: &Path) -> Result<String, FleetError> {
    let missing = || FleetError::NoCertificates { path: path.to_owned() };
    let contents =
        private_file::read(path, MAX_CERTIFICATES, Links::Follow).map_err(FleetError::Certificates)?;
    let contents = contents.ok_or_else(missing)?;
    let text = std::str::from_utf8(&contents.bytes).map_err(|_| missing())?;
    let mut found = String::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let Some((body, behind)) = after.split_once(END) else { break };
        found.push_str(&format!("{BEGIN}{body}{END}\n"));
        rest = behind;
    }
    if found.is_empty() { Err(missing()) } else { Ok(found) }
}
