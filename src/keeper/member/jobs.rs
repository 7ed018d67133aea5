//! Refreshes and logouts in a home that is a member of a fleet.

use std::sync::Arc;

use super::error::FleetError;
use super::perform::perform;
use crate::clock::Clock;
use crate::config::Environment;
use crate::document::AuthDocument;
use crate::fleet::MemberError;
use crate::fleet::membership::{Membership, MembershipError, Standing};
use crate::home::Home;
use crate::keeper::member_task::MemberTask;
use crate::manager::logout::{LogoutReport, LogoutRevocation, LogoutScope};
use crate::manager::{AuthManager, Job, JobFailure, JobOutcome, JobTask, Snapshot, SnapshotStatus, WaitHook};
use crate::store::LockDeadline;

/// Runs `job` for `home`: through its fleet if it is a member, else as [`Job::run_within`] does.
#[must_use]
pub fn run_job(
    job: Job,
    home: Home,
    environment: &Environment,
    deadline: &LockDeadline,
    on_wait: &mut WaitHook<'_>,
) -> JobOutcome {
    let outcome = match Membership::served(&home) {
        Ok(None) => return job.run_within(home, environment, deadline, on_wait),
        Ok(Some(membership)) => run(&job, &home, environment, deadline, on_wait, membership),
        Err(error) => Err(error.into()),
    };
    if !matches!(job.task(), JobTask::Logout { .. }) && is_detached(&home) {
        // By now the home has a login of its own.
        return job.run_within(home, environment, deadline, on_wait);
    }
    outcome.unwrap_or_else(|error| JobOutcome::Failed(JobFailure::from(&error)))
}

fn is_detached(home: &Home) -> bool {
    matches!(Membership::of(home), Ok(Some(Membership { standing: Standing::Detached, .. })))
}

fn run(
    job: &Job,
    home: &Home,
    environment: &Environment,
    deadline: &LockDeadline,
    on_wait: &mut WaitHook<'_>,
    mut membership: Membership,
) -> Result<JobOutcome, FleetError> {
    let task = job.task().clone();
    let now = Clock::system().now();
    match task {
        JobTask::Freshen => {
            let snapshot = snapshot(home, environment)?;
            if matches!(snapshot.status(now), SnapshotStatus::Stale | SnapshotStatus::Expired) {
                perform(home, environment, MemberTask::Refresh { known: snapshot.bearer_fingerprint() })?;
            }
            Ok(JobOutcome::Served)
        }
        JobTask::Refresh { reason, base } => {
            let snapshot = snapshot(home, environment)?;
            let known = snapshot.bearer_fingerprint();
            let changed = base.bearer.is_some() && base.bearer != known;
            let is_served = |document| reason.is_served_by(document, changed, now);
            if !snapshot.document().is_some_and(is_served) {
                let refresh =
                    known.map_or(MemberTask::Settle, |known| MemberTask::Refresh { known: Some(known) });
                perform(home, environment, refresh)?;
            }
            check_login(home, self::snapshot(home, environment)?.document())?;
            Ok(JobOutcome::Served)
        }
        JobTask::Logout { scope } => {
            let revocation = end_login(scope, home, environment, &mut membership)?;
            // The rest of the login is on this host alone.
            let local = Job::logout(if scope == LogoutScope::Force { scope } else { LogoutScope::Local });
            Ok(match local.run_within(home.clone(), environment, deadline, on_wait) {
                JobOutcome::LoggedOut(report) => JobOutcome::LoggedOut(with(report, revocation)),
                outcome => outcome,
            })
        }
    }
}

fn snapshot(home: &Home, environment: &Environment) -> Result<Arc<Snapshot>, FleetError> {
    Ok(AuthManager::builder(home.clone(), environment.clone()).open()?.current())
}

/// Says why a home has no login after it has asked its fleet.
fn check_login(home: &Home, document: Option<&AuthDocument>) -> Result<(), FleetError> {
    match Membership::of(home)? {
        Some(Membership { standing: standing @ Standing::Left, .. }) => {
            Err(MembershipError::SetAside { standing }.into())
        }
        Some(_) if document.is_none() => Err(MemberError::LoggedOut.into()),
        _ => Ok(()),
    }
}

/// Ends the login of the fleet, or with [`LogoutScope::Local`] the membership.
fn end_login(
    scope: LogoutScope,
    home: &Home,
    environment: &Environment,
    membership: &mut Membership,
) -> Result<LogoutRevocation, FleetError> {
    let leave = |membership: &mut Membership| -> Result<(), MembershipError> {
        membership.change_standing(home, Standing::Left)
    };
    if scope == LogoutScope::Local {
        leave(membership)?;
        return Ok(LogoutRevocation::NotTried);
    }
    match perform(home, environment, MemberTask::LogOut) {
        Ok(()) => Ok(LogoutRevocation::Revoked),
        Err(error) if scope == LogoutScope::Force => {
            leave(membership)?;
            Ok(LogoutRevocation::Failed(error.to_string()))
        }
        Err(error) => Err(error),
    }
}

fn with(report: LogoutReport, revocations: LogoutRevocation) -> LogoutReport {
    LogoutReport { revocations, handed_in: false, ..report }
}
