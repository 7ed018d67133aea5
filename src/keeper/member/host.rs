//! A host that takes part in its fleet: carries out tasks, and keeps the stored login in step with the record.

use std::time::Duration;

use tokio::sync::Mutex;

use super::error::FleetError;
use crate::clock::Clock;
use crate::config::Environment;
use crate::document::AuthDocument;
use crate::fleet::membership::{
    LocalChange, LocalFinding, LocalLogin, LocalPlace, Membership, MembershipError, Standing,
    report_generation,
};
use crate::fleet::{
    FleetLogout, InvalidRecord, Member, MemberError, MemberParts, MemberTimings, SharedRecord, SharedStore,
};
use crate::history::{FleetChange, History, HistoryEvent};
use crate::home::Home;
use crate::keeper::member_task::MemberTask;
use crate::manager;
use crate::secret::{Fingerprint, Secret};
use crate::store::{DocumentTarget, LockDeadline};

/// How long another process may take part before a command gives up.
pub(super) const OPEN_LIMIT: Duration = Duration::from_secs(20);
/// How long the refresher may take for a refresh.
const REFRESH_LIMIT: Duration = Duration::from_secs(90);
/// How often a stored login is examined that other programs change meanwhile.
const MAX_ATTEMPTS: usize = 6;

/// A host that takes part. One process of a host does so at a time.
#[derive(Debug)]
pub(super) struct MemberHost {
    home: Home,
    environment: Environment,
    clock: Clock,
    store: SharedStore,
    member: Member,
    /// Held while the stored login is compared with the record.
    membership: Mutex<Membership>,
}

/// What makes a member, without the lock of the process that takes part.
pub(super) fn parts(
    home: &Home,
    membership: &Membership,
    environment: &Environment,
    clock: &Clock,
) -> Result<MemberParts, FleetError> {
    let secrets = membership.secret_slot(home, environment).read()?;
    let settings = membership.etcd(home, &secrets)?;
    let keys = secrets.key_ring(&membership.fleet).map_err(MembershipError::from)?;
    Ok(MemberParts {
        folder: home.fleet().join("member"),
        prefix: membership.fleet.prefix(),
        name: membership.member.clone(),
        keys,
        store: SharedStore::open(settings, &environment.network)?,
        environment: environment.clone(),
        clock: clock.clone(),
        timings: MemberTimings::default(),
    })
}

impl MemberHost {
    /// Takes part for `home`, which must be served by its fleet, once no other process does.
    pub(super) async fn open(
        home: &Home,
        environment: &Environment,
        clock: &Clock,
        limit: Duration,
    ) -> Result<Self, FleetError> {
        let (folder, settings, time) = (home.clone(), environment.clone(), clock.clone());
        let read = move || {
            let membership = Membership::of(&folder)?.ok_or(MembershipError::NotAMember)?;
            if !membership.standing.is_served() {
                return Err(MembershipError::SetAside { standing: membership.standing }.into());
            }
            Ok((parts(&folder, &membership, &settings, &time)?, membership))
        };
        let (parts, membership) = blocking(read).await?;
        let store = parts.store.clone();
        let member = Member::open(parts, limit).await?;
        Ok(Self {
            home: home.clone(),
            environment: environment.clone(),
            clock: clock.clone(),
            store,
            member,
            membership: Mutex::new(membership),
        })
    }

    /// Returns the member.
    pub(super) fn member(&self) -> &Member {
        &self.member
    }

    /// Returns the membership as this process has read or written it last.
    pub(super) async fn membership(&self) -> Membership {
        self.membership.lock().await.clone()
    }

    /// Carries out `task`, and brings the stored login in step.
    pub(super) async fn perform(&self, task: MemberTask) -> Result<(), FleetError> {
        let done = self.attempt(task).await;
        // Also after a failure, which may have changed the record.
        let settled = self.settle().await;
        done.map_err(explained).and(settled)
    }

    async fn attempt(&self, task: MemberTask) -> Result<(), FleetError> {
        match task {
            MemberTask::Settle => self.member.recover().await.map(drop)?,
            MemberTask::Refresh { known } => self.refresh(known).await?,
            MemberTask::Rekey => {
                let (membership, home) = (self.membership().await, self.home.clone());
                let slot = membership.secret_slot(&home, &self.environment);
                let secrets = blocking(move || Ok(slot.read()?)).await?;
                let key = secrets.keys.into_iter().next_back();
                let key = key.ok_or(MembershipError::KeyChanged)?;
                self.member.rekey(key).await.map(drop)?;
            }
            MemberTask::LogOut => match self.member.log_out().await? {
                FleetLogout::Revoked => {}
                FleetLogout::NotRevoked(error) => return Err(error.into()),
            },
        }
        Ok(())
    }

    async fn refresh(&self, known: Option<Fingerprint>) -> Result<(), FleetError> {
        let state = self.member.recover().await?;
        let record = state.record.as_ref().ok_or(MemberError::NoRecord)?;
        let (document, now) = (record.document(), self.clock.now());
        let bearer = document.bearer().map(Secret::fingerprint);
        let has_expired = document.expires_at(now).is_some_and(|end| end <= now);
        if !record.is_logged_out() && bearer != known && !has_expired {
            // The fleet has another token already.
            return Ok(());
        }
        self.member.refresh(record.order().generation, REFRESH_LIMIT).await?;
        Ok(())
    }

    /// Brings the stored login in step with the newest record that this host has seen: writes the access token, takes over
    /// a new login of the same account, and sets the membership aside if another program has logged out or logged in to
    /// another account.
    pub(super) async fn settle(&self) -> Result<(), FleetError> {
        let mut membership = self.membership.lock().await;
        for _ in 0..MAX_ATTEMPTS {
            let state = self.member.state();
            if state.record.is_none() && state.contact.is_none() {
                // Whether the fleet has a login is not known.
                return Ok(());
            }
            let record = state.record;
            let step = self.compare(&membership, record).await?;
            match step {
                Step::Written if membership.standing == Standing::Active => {
                    self.record(FleetChange::Received);
                    return Ok(());
                }
                Step::Written | Step::Done(_) => {
                    let standing = if let Step::Done(standing) = step { standing } else { Standing::Active };
                    if membership.standing != standing {
                        membership.change_standing(&self.home, standing)?;
                        self.record(change_of(standing));
                        tracing::info!(standing = standing.as_str(), "{}", standing.explanation());
                    }
                    return Ok(());
                }
                Step::Again => {}
                Step::Import(found) => {
                    let (local, place, document) = *found;
                    self.import(local, place, document).await?;
                }
            }
        }
        Err(FleetError::Contended)
    }

    /// Compares the stored login with `record`, and writes it.
    async fn compare(
        &self,
        membership: &Membership,
        record: Option<SharedRecord>,
    ) -> Result<Step, FleetError> {
        let (home, environment, clock) = (self.home.clone(), self.environment.clone(), self.clock.clone());
        let standing = membership.standing;
        blocking(move || {
            let deadline = LockDeadline::after(environment.lock_timeout);
            let local = LocalLogin::open(&home, &environment, &clock, &deadline)?;
            manager::finish_rescue(local.lease(), &environment)?;
            step(local, standing, record.as_ref())
        })
        .await
    }

    /// Makes the stored login that of the fleet. At every moment it is in the store, or sealed on the disk of this host, or
    /// in the record. The lease keeps other processes from spending its token.
    async fn import(
        &self,
        local: LocalLogin,
        place: LocalPlace,
        document: AuthDocument,
    ) -> Result<(), FleetError> {
        tracing::info!("the login of this home becomes that of the fleet");
        self.member.save_login(document.clone()).await?;
        let change = blocking(move || Ok(local.write(place, &document)?)).await?;
        if change == LocalChange::Done {
            self.member.complete_login().await?;
            self.record(FleetChange::Shared);
        }
        Ok(())
    }

    /// Records what happened in the history of the login.
    pub(super) fn record(&self, change: FleetChange) {
        let target = DocumentTarget::of(&self.home);
        let Ok(records) = target.map(|target| target.records()) else { return };
        let history = History::open(&records, self.environment.history, self.clock.clone());
        history.record(HistoryEvent::Fleet { change });
    }

    /// Tells the fleet, for its list of members, which token this host has.
    pub(super) async fn report(&self) {
        let Some(order) = self.member.state().order() else { return };
        let membership = self.membership().await;
        if let Err(error) = report_generation(&self.store, &membership, order.epoch, order.generation).await {
            tracing::debug!(%error, "cannot report the generation");
        }
    }
}

/// Returns the event of a new standing.
fn change_of(standing: Standing) -> FleetChange {
    match standing {
        Standing::Active => FleetChange::Joined,
        Standing::Left => FleetChange::Left,
        Standing::Detached => FleetChange::Detached,
        Standing::Joining | Standing::Invited => FleetChange::LoggedOut,
    }
}

/// What one comparison led to.
enum Step {
    /// The stored login is as it should be, and the membership has this standing.
    Done(Standing),
    /// The access token of the record was stored.
    Written,
    /// The store was changed meanwhile.
    Again,
    /// The stored login becomes that of the fleet.
    Import(Box<(LocalLogin, LocalPlace, AuthDocument)>),
}

impl From<LocalChange> for Step {
    fn from(change: LocalChange) -> Self {
        match change {
            LocalChange::Done => Self::Written,
            LocalChange::Overtaken => Self::Again,
        }
    }
}

fn step(local: LocalLogin, standing: Standing, record: Option<&SharedRecord>) -> Result<Step, FleetError> {
    let has_ended = record.is_some_and(SharedRecord::is_logged_out);
    let finding = local.examine(record)?;
    tracing::debug!(?standing, has_ended, finding = finding.name(), "compared the login with the record");
    Ok(match (finding, record) {
        (LocalFinding::InStep, Some(_)) if has_ended => match local.remove()? {
            LocalChange::Done => Step::Done(Standing::Joining),
            LocalChange::Overtaken => Step::Again,
        },
        (LocalFinding::InStep, _) => Step::Done(Standing::Active),
        (LocalFinding::Outdated(place), Some(record)) => local.write(place, record.document())?.into(),
        (LocalFinding::Login(place, document), _) => Step::Import(Box::new((local, place, *document))),
        (LocalFinding::OtherAccount, _) => Step::Done(Standing::Detached),
        (LocalFinding::Nothing, Some(_)) if has_ended => Step::Done(Standing::Joining),
        (LocalFinding::Nothing, Some(record)) if standing == Standing::Joining => {
            local.write_first(record.document())?.into()
        }
        (LocalFinding::Nothing, Some(_)) if standing == Standing::Active => Step::Done(Standing::Left),
        (LocalFinding::Nothing | LocalFinding::Outdated(_), _) => Step::Done(standing),
    })
}

/// Says that the key was changed where that is why the record cannot be opened.
pub(super) fn explained(error: FleetError) -> FleetError {
    let is_newer = |error: &MemberError| match error {
        MemberError::Record { source: InvalidRecord::OtherEpoch { sealed, key }, .. } => sealed > key,
        _ => false,
    };
    match error {
        FleetError::Member(error) if is_newer(&error) => MembershipError::KeyChanged.into(),
        error => error,
    }
}

/// Runs `work`, which reads files and keychains, on a thread of the runtime.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FleetError> + Send + 'static,
) -> Result<T, FleetError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(manager::Error::Internal.into()),
        },
    }
}
