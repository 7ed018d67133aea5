//! Decides the cause of a sign-out from the evidence.
//!
//! Every rule that says "known" needs an event or the present state.

use jiff::{SignedDuration, Timestamp};

use super::cause::{Cause, Certainty, Explanation, SignInState};
use super::evidence::{Evidence, OtherHome, StoredLogin};
use crate::accounts::HomeRecord;
use crate::history::{
    FleetChange, ForeignChange, HistoryEvent, RefreshFailure, RefusalCause, RescueLoss, StoreFailure,
};
use crate::secret::Fingerprint;
use crate::store::{Poison, PoisonCause};

/// A clock that differs by less counts as right.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
/// By how much the time of a file may be behind the clock: it is that of the kernel's last tick.
const FILE_CLOCK: SignedDuration = SignedDuration::from_millis(20);
/// How long a wrong clock or a switch of the account is worth mentioning while the login works.
const RECENT: SignedDuration = SignedDuration::from_hours(24);

/// Explains the condition of a login, or its last sign-out if it works.
#[must_use]
pub fn explain(evidence: &Evidence) -> Explanation {
    let explanation = decide(evidence);
    // A cause that is known needs no other event.
    if explanation.certainty == Certainty::Known && !explanation.causes.is_empty() {
        return explanation;
    }
    let events = &evidence.events;
    let unreadable =
        events.unreadable.iter().map(|error| format!("a part of the history is missing: {error}"));
    let skipped = match events.skipped {
        0 => None,
        1 => Some("a part of the history is missing: 1 damaged line was skipped".to_owned()),
        skipped => Some(format!("a part of the history is missing: {skipped} damaged lines were skipped")),
    };
    unreadable.chain(skipped).fold(explanation, Explanation::observing)
}

fn decide(evidence: &Evidence) -> Explanation {
    if let StoredLogin::Unavailable { failure, message } = &evidence.stored {
        let cause = match failure {
            StoreFailure::Locked => Cause::StoreLocked,
            _ => Cause::StoreFailure,
        };
        return known(SignInState::StoreUnavailable, cause).observing(message.clone());
    }
    if evidence.rescue_pending {
        let last =
            evidence.all().rev().find(|of| matches!(of.record.event, HistoryEvent::StoreUnavailable { .. }));
        return known(SignInState::RescuePending, Cause::RescuePending).with_evidence(last);
    }
    if let StoredLogin::Nothing = evidence.stored {
        return logged_out(evidence);
    }
    if let StoredLogin::FleetEnded = evidence.stored {
        return known(SignInState::Refused, Cause::FleetLoginEnded);
    }
    let Some(token) = evidence.token() else { return working(evidence) };
    let poison = evidence.state.poison.as_ref().filter(|poison| poison.fingerprint == token);
    let is_active = |poison: &&Poison| poison.is_active(evidence.now);
    if let Some(poison) = poison.filter(is_active) {
        return refused(evidence, token, poison.cause);
    }
    if evidence.state.spent.contains(&token) {
        return old_copy(evidence, token);
    }
    working(evidence)
}

fn known(condition: SignInState, cause: Cause) -> Explanation {
    Explanation::new(condition, Certainty::Known, &[cause])
}

fn inferred(condition: SignInState, cause: Cause) -> Explanation {
    Explanation::new(condition, Certainty::Inferred, &[cause])
}

fn undecidable(condition: SignInState, causes: [Cause; 2]) -> Explanation {
    Explanation::new(condition, Certainty::Undecidable, &causes)
}

/// There is no login.
fn logged_out(evidence: &Evidence) -> Explanation {
    let condition = SignInState::LoggedOut;
    let last = evidence.own.iter().rev().find(|record| record.event.stored_token().is_some());
    let shown = |evidence: &Evidence| {
        let last = last?;
        evidence.all().rev().find(|of| of.record == *last).cloned()
    };
    // A state that names a login which is gone is later than any event of a logout.
    if evidence.state.current.is_none() {
        match last.map(|record| &record.event) {
            Some(HistoryEvent::Logout { .. }) => {
                return known(condition, Cause::Logout).with_evidence(shown(evidence).as_ref());
            }
            Some(HistoryEvent::Adopted { change: ForeignChange::Removed, .. }) => {
                return inferred(condition, Cause::RemovedByOther).with_evidence(shown(evidence).as_ref());
            }
            None if evidence.state.generation.is_empty() => return known(condition, Cause::NoLogin),
            _ => return inferred(condition, Cause::RemovedByOther).with_evidence(shown(evidence).as_ref()),
        }
    }
    if evidence.state.logging_out.is_some() {
        return known(condition, Cause::Logout)
            .observing("a logout was interrupted after it had removed the login");
    }
    inferred(condition, Cause::RemovedByOther)
        .with_evidence(shown(evidence).as_ref())
        .observing("this program left a login stored, and it is not there any more")
}

/// The authority refused the stored token for good.
fn refused(evidence: &Evidence, token: Fingerprint, cause: PoisonCause) -> Explanation {
    let event = evidence.all().rev().find(
        |of| matches!(of.record.event, HistoryEvent::Poisoned { token: refused, .. } if refused == token),
    );
    match cause {
        PoisonCause::Reused => reused(evidence, token),
        PoisonCause::Revoked => revoked(evidence, token),
        PoisonCause::Expired => known(SignInState::Expired, Cause::TokenExpired),
        _ => known(SignInState::Refused, Cause::UnknownRefusal),
    }
    .with_evidence(event)
}

/// Another request has spent the token.
fn reused(evidence: &Evidence, token: Fingerprint) -> Explanation {
    let condition = SignInState::Reused;
    let spends = |event: &HistoryEvent| matches!(event, HistoryEvent::Refreshed { spent, .. } | HistoryEvent::RescueRecovered { spent, .. } if *spent == token);
    for other in &evidence.others {
        // A poisoned token is recorded as spent, too.
        let refused_there = other.records.iter().any(
            |record| matches!(record.event, HistoryEvent::Poisoned { token: refused, .. } if refused == token),
        );
        let spent_there = other.spent.contains(&token) && !refused_there && other.token != Some(token);
        if other.records.iter().any(|record| spends(&record.event)) || spent_there {
            return known(condition, Cause::TwoHomes)
                .with_evidence(evidence.all().filter(|of| spends(&of.record.event)))
                .observing(format!("{} holds the same login and has refreshed it", other.name));
        }
    }
    let unanswered: Vec<&HomeRecord> = evidence
        .all()
        .filter(|of| match &of.record.event {
            HistoryEvent::NotRefreshed { token: sent, failure: RefreshFailure::NoResponse, .. } => {
                *sent == token
            }
            HistoryEvent::RescueLost { spent: Some(spent), why: RescueLoss::Killed } => *spent == token,
            _ => false,
        })
        .collect();
    if !unanswered.is_empty() {
        return inferred(condition, Cause::AnswerLost).with_evidence(unanswered);
    }
    let owner = match &evidence.stored {
        StoredLogin::Login { owner, .. } => *owner,
        _ => evidence.state.owner,
    };
    let is_twin = |other: &&OtherHome| {
        let same_owner = other.owner.is_some() && other.owner == owner;
        same_owner && other.token.is_some() && other.token != Some(token)
    };
    if let Some(twin) = evidence.others.iter().find(is_twin) {
        return inferred(condition, Cause::TwoHomes)
            .observing(format!("{} holds a login of the same user with another token", twin.name));
    }
    undecidable(condition, [Cause::CopyElsewhere, Cause::AnswerLost])
}

fn revoked(evidence: &Evidence, token: Fingerprint) -> Explanation {
    let condition = SignInState::Revoked;
    let is_ours = |event: &HistoryEvent| matches!(event, HistoryEvent::Revoked { token: Some(revoked), .. } if *revoked == token);
    let other =
        evidence.others.iter().find(|other| other.records.iter().any(|record| is_ours(&record.event)));
    let here: Vec<&HomeRecord> = evidence.all().filter(|of| is_ours(&of.record.event)).collect();
    match (other, here.is_empty()) {
        (None, true) => undecidable(condition, [Cause::LogoutElsewhere, Cause::RevokedByAuthority]),
        (other, _) => {
            let explanation = known(condition, Cause::RevokedHere).with_evidence(here);
            match other {
                Some(other) => explanation.observing(format!("a command in {} revoked it", other.name)),
                None => explanation,
            }
        }
    }
}

/// The stored token was spent by this machine.
fn old_copy(evidence: &Evidence, token: Fingerprint) -> Explanation {
    let condition = SignInState::OldCopy;
    let spending = evidence.all().rev().find(|of| match &of.record.event {
        HistoryEvent::Refreshed { spent, .. } | HistoryEvent::RescueRecovered { spent, .. } => {
            *spent == token
        }
        _ => false,
    });
    let seen = evidence.all().rev().find(|of| {
        matches!(of.record.event, HistoryEvent::Adopted { change: ForeignChange::OldCopy, token: now, .. } if now == Some(token))
    });
    let StoredLogin::Login { written: Some(written), .. } = evidence.stored else {
        return undecidable(condition, [Cause::OldCopyRestored, Cause::WrittenBack])
            .with_evidence(spending)
            .with_evidence(seen);
    };
    let spent_at = spending.map(|of| of.record.at).or(evidence.state.received_at);
    let was_running = seen.is_some_and(|of| match &of.record.event {
        HistoryEvent::Adopted { holder, running, .. } => holder.is_some() || !running.is_empty(),
        _ => false,
    });
    match spent_at {
        // A backup keeps the time of the file; a program that writes sets it.
        Some(spent_at) if spent_at.duration_since(written) > FILE_CLOCK => {
            inferred(condition, Cause::OldCopyRestored)
        }
        _ if was_running => inferred(condition, Cause::WrittenBack),
        _ => undecidable(condition, [Cause::OldCopyRestored, Cause::WrittenBack]),
    }
    .with_evidence(spending)
    .with_evidence(seen)
}

/// There is a login, and no refusal of its token is recorded.
fn working(evidence: &Evidence) -> Explanation {
    if let Some(explanation) = wrong_clock(evidence) {
        return explanation;
    }
    if let Some(explanation) = other_account(evidence) {
        return explanation;
    }
    if let Some(failed) = evidence.state.outcome.as_ref()
        && Some(failed.fingerprint) == evidence.token()
        && failed.remaining_back_off(evidence.now).is_some()
    {
        let last =
            evidence.all().rev().find(|of| matches!(of.record.event, HistoryEvent::NotRefreshed { .. }));
        return known(SignInState::NotRefreshed, Cause::AuthorityUnavailable).with_evidence(last);
    }
    let of_fleet = |event: &HistoryEvent| matches!(event, HistoryEvent::Fleet { .. });
    if let Some(last) = evidence.all().rev().find(|of| of_fleet(&of.record.event))
        && last.record.event == (HistoryEvent::Fleet { change: FleetChange::Unreachable })
    {
        return known(SignInState::NotRefreshed, Cause::FleetUnreachable).with_evidence([last]);
    }
    last_sign_out(evidence)
}

fn wrong_clock(evidence: &Evidence) -> Option<Explanation> {
    let is_recent = |at: Timestamp| evidence.now.duration_since(at).abs() < RECENT;
    let step = evidence.all().rev().find(|of| matches!(of.record.event, HistoryEvent::ClockStepped { .. }));
    if let StoredLogin::Login { issued: Some(issued), .. } = evidence.stored
        && issued.duration_since(evidence.now) > CLOCK_TOLERANCE
    {
        return Some(
            known(SignInState::WrongClock, Cause::WrongClock)
                .with_evidence(step)
                .observing("the stored token was issued in the future, by the clock of this machine"),
        );
    }
    let step = step.filter(|of| is_recent(of.record.at))?;
    Some(known(SignInState::WrongClock, Cause::WrongClock).with_evidence([step]))
}

fn other_account(evidence: &Evidence) -> Option<Explanation> {
    let condition = SignInState::OtherAccount;
    let of_account = |event: &HistoryEvent| {
        matches!(
            event,
            HistoryEvent::AccountSwitched { .. }
                | HistoryEvent::Login { .. }
                | HistoryEvent::Adopted { change: ForeignChange::OtherAccount, .. }
        )
    };
    let last = evidence.all().rev().find(|of| of_account(&of.record.event))?;
    if evidence.now.duration_since(last.record.at) > RECENT {
        return None;
    }
    match &last.record.event {
        HistoryEvent::AccountSwitched { .. } => {
            Some(known(condition, Cause::SwitchedAccount).with_evidence([last]))
        }
        HistoryEvent::Adopted { .. } => Some(inferred(condition, Cause::OtherLogin).with_evidence([last])),
        _ => None,
    }
}

/// The login works; returns its last sign-out.
fn last_sign_out(evidence: &Evidence) -> Explanation {
    let last = evidence.own.iter().rev().find(|record| match &record.event {
        HistoryEvent::Poisoned { .. } | HistoryEvent::Logout { .. } => true,
        HistoryEvent::Adopted { change, .. } => *change == ForeignChange::Removed,
        _ => false,
    });
    let mut explanation = match last.map(|record| &record.event) {
        Some(HistoryEvent::Poisoned { token, cause: RefusalCause::Reused, .. }) => reused(evidence, *token),
        Some(HistoryEvent::Poisoned { token, cause: RefusalCause::Revoked, .. }) => revoked(evidence, *token),
        Some(HistoryEvent::Poisoned { cause: RefusalCause::Expired, .. }) => {
            known(SignInState::Expired, Cause::TokenExpired)
        }
        Some(HistoryEvent::Poisoned { .. }) => known(SignInState::Refused, Cause::UnknownRefusal),
        Some(HistoryEvent::Logout { .. }) => known(SignInState::LoggedOut, Cause::Logout),
        Some(_) => inferred(SignInState::LoggedOut, Cause::RemovedByOther),
        None => Explanation::new(SignInState::Working, Certainty::Known, &[]),
    };
    let shown = last.and_then(|last| evidence.all().rev().find(|of| of.record == *last));
    explanation.condition = SignInState::Working;
    let is_new = evidence.state.current.is_some() && evidence.state.current != evidence.token();
    let explanation = explanation.with_evidence(shown);
    match is_new {
        true => explanation.observing("another program has changed the login since this one last used it"),
        false => explanation,
    }
}
