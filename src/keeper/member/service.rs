//! Takes part in the fleet of a keeper's home for as long as the keeper runs and the fleet serves the home.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch::{self, Receiver, Sender};

use super::error::FleetError;
use super::host::{MemberHost, OPEN_LIMIT, blocking};
use super::problem;
use crate::fleet::membership::{Membership, Standing};
use crate::history::HistoryEvent;
use crate::home::Home;
use crate::keeper::file_watch::FileWatch;
use crate::keeper::member_task::MemberTask;
use crate::keeper::shared::KeeperShared;
use crate::manager::JobFailure;
use crate::remedy::ErrorKind;

/// The pauses after the keeper could not take part: the first, and the longest.
const RETRY_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// How long a task waits until the keeper takes part.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// What the keeper does in the fleet of its home.
#[derive(Clone, Debug)]
enum MemberSlot {
    /// It has not looked yet, or is about to take part.
    Starting,
    /// The home is in no fleet that serves it.
    None,
    /// It takes part.
    TakesPart(Arc<MemberHost>),
    /// It cannot take part with this membership, for this reason.
    Failed(Option<Membership>, JobFailure),
}

/// A handle on the member of a keeper, for its sockets.
#[derive(Clone, Debug)]
pub(in crate::keeper) struct MemberHandle(Sender<MemberSlot>);

impl MemberHandle {
    pub(in crate::keeper) fn new() -> Self {
        Self(watch::channel(MemberSlot::Starting).0)
    }

    /// Carries out `task`, once the keeper takes part.
    pub(in crate::keeper) async fn perform(&self, home: &Home, task: MemberTask) -> Result<(), JobFailure> {
        // A command that has just changed the membership is carried out with that one.
        let folder = home.clone();
        let now = blocking(move || Ok(Membership::of(&folder)?)).await;
        let now = now.map_err(|error| JobFailure::from(&error))?;
        let host = tokio::time::timeout(READY_LIMIT, self.host(now)).await;
        let host = host.unwrap_or_else(|_| {
            Err(JobFailure::new(ErrorKind::TryAgain, "the keeper does not take part in the fleet yet"))
        })?;
        // Dropping the future of a connection that was closed must not stop it.
        let work = tokio::spawn(async move { host.perform(task).await });
        match work.await {
            Ok(outcome) => outcome.map_err(|error| JobFailure::from(&error)),
            Err(error) => Err(JobFailure::new(ErrorKind::TryAgain, error.to_string())),
        }
    }

    async fn host(&self, now: Option<Membership>) -> Result<Arc<MemberHost>, JobFailure> {
        let mut slots = self.0.subscribe();
        loop {
            let slot = slots.borrow_and_update().clone();
            match slot {
                MemberSlot::TakesPart(host) if is_same(Some(&host.membership().await), now.as_ref()) => {
                    return Ok(host);
                }
                MemberSlot::Failed(then, failure) if is_same(then.as_ref(), now.as_ref()) => {
                    return Err(failure);
                }
                _ => {}
            }
            let _ = slots.changed().await;
        }
    }
}

/// Whether a host takes part alike with both: a host that joins and one that has joined do.
fn is_same(one: Option<&Membership>, other: Option<&Membership>) -> bool {
    let normal = |membership: &Membership| {
        let standing = membership.standing;
        let standing = if standing.is_served() { Standing::Active } else { standing };
        Membership { standing, ..membership.clone() }
    };
    one.map(normal) == other.map(normal)
}

/// Takes part for the home of `shared`, whenever its fleet serves it, until the future is dropped.
pub(in crate::keeper) async fn serve(shared: Arc<KeeperShared>, reads: Receiver<u64>) -> Infallible {
    let mut file = FileWatch::of(vec![Membership::path(&shared.home)], &shared.files);
    let [mut pause, longest] = RETRY_PAUSES;
    loop {
        let home = shared.home.clone();
        let served = blocking(move || Ok(Membership::served(&home)?)).await;
        let membership = served.as_ref().ok().cloned().flatten();
        let outcome = match served {
            Ok(None) => {
                shared.member.0.send_replace(MemberSlot::None);
                file.next().await;
                continue;
            }
            Ok(Some(membership)) => take_part(&shared, reads.clone(), &mut file, membership).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => pause = RETRY_PAUSES[0],
            Err(error) => {
                tracing::warn!(%error, "the keeper does not take part in the fleet");
                let event = problem::note(&shared.home, Some(&error.to_string()), &shared.clock);
                if let (Some(change), Ok(history)) = (event, shared.manager.history()) {
                    history.record(HistoryEvent::Fleet { change });
                }
                shared.member.0.send_replace(MemberSlot::Failed(membership, JobFailure::from(&error)));
                tokio::select! {
                    () = tokio::time::sleep(pause) => pause = longest.min(pause * 2),
                    () = file.next() => {}
                }
            }
        }
    }
}

/// Takes part until the membership is changed.
async fn take_part(
    shared: &Arc<KeeperShared>,
    mut reads: Receiver<u64>,
    file: &mut FileWatch,
    membership: Membership,
) -> Result<(), FleetError> {
    let (home, environment, clock) = (&shared.home, shared.manager.environment(), &shared.clock);
    let host = Arc::new(MemberHost::open(home, environment, clock, OPEN_LIMIT).await?);
    shared.member.0.send_replace(MemberSlot::TakesPart(Arc::clone(&host)));
    tracing::info!(fleet = %membership.fleet, member = %membership.member, "taking part in the fleet");
    let member = host.member().clone();
    let (mut states, mut reported) = (member.subscribe(), None);
    let following = async {
        loop {
            let state = states.borrow_and_update().clone();
            if let Some(event) = problem::note(home, state.problem.as_deref(), clock) {
                host.record(event);
            }
            reads.mark_unchanged();
            if let Err(error) = host.settle().await {
                tracing::warn!(%error, "the login of this home is not in step with the fleet");
            }
            let _ = shared.manager.reload().await;
            if reported != state.order() && state.problem.is_none() {
                host.report().await;
                reported = state.order();
            }
            let now = host.membership().await;
            if !now.standing.is_served() {
                return;
            }
            tokio::select! {
                changed = states.changed() => if changed.is_err() { return },
                changed = reads.changed() => if changed.is_err() { return },
                () = file.next() => {
                    let home = home.clone();
                    let read = blocking(move || Ok(Membership::of(&home)?)).await;
                    // Removed, or changed by a command.
                    if read.is_ok_and(|read| read != Some(now)) {
                        return;
                    }
                }
            }
        }
    };
    tokio::select! {
        never = member.run() => match never {},
        () = following => {}
    }
    shared.member.0.send_replace(MemberSlot::Starting);
    if let Err(error) = member.resign().await {
        tracing::debug!(%error, "the role of the refresher ends by its lease");
    }
    Ok(())
}
