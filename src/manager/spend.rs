//! What is done with the authority's answer: save it first, commit it, and never mistake silence for a no.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::engine::{AccountPolicy, Engine, block_on};
use super::error::Error;
use super::read_order::ReadTicket;
use super::recover::dispose;
use super::snapshot::{Divergence, Snapshot};
use crate::authority::{
    self, Refresh, RefusalDuration, RefusalReason as Refusal, RetryAdvice, TokenResponse,
};
use crate::config::StoreKind;
use crate::failpoint;
use crate::secret::Fingerprint;
use crate::store::rescue::{Rescue, RescueReservation};
use crate::store::{
    self, AdvanceOutcome, LONGEST_BACK_OFF, Poison, PoisonCause, SpendOutcome, SpendRecord, StoredDocument,
    Writer,
};
use crate::watch::Watch;

/// How long a program that won the race may take to commit: Codex gives up on its lock after five seconds.
const GRACE: Duration = Duration::from_secs(5);
/// How often to look where another program's commit tells nobody.
const KEYCHAIN_LOOK: Duration = Duration::from_millis(500);
/// The first and the longest pause after failures, before jitter.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(2);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(5);

/// One refresh token on its way to the authority, under the lease, with its successor's place reserved.
pub(super) struct TokenSpend<'a> {
    pub(super) engine: &'a Engine,
    pub(super) stored: &'a StoredDocument,
    pub(super) request: Refresh,
    pub(super) writer: Writer<'a>,
}

/// An answer, as it was written into the rescue.
struct SavedResponse {
    rescue: Rescue,
    owner: ResponseOwner,
    /// Whether there is no access token in it.
    barren: bool,
    kept: Result<(), store::Error>,
}

/// A document that is no longer what was spent, and the look that found it.
struct ChangedDocument {
    look: ReadTicket,
    stored: StoredDocument,
}

/// Whose tokens an answer brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ResponseOwner {
    Same,
    AnotherUser,
}

impl TokenSpend<'_> {
    pub(super) fn run(mut self, reservation: RescueReservation) -> Result<Snapshot, Error> {
        // From here on the answer decides, and it has to be kept.
        self.writer.lease().deadline().finish();
        let began = Instant::now();
        let mut reservation = Some(reservation);
        let mut answer = self.send(&mut reservation, Duration::ZERO)?;
        if answer.as_ref().is_err_and(|error| error.kind() == RetryAdvice::Unknown) {
            // It may have been spent, by us or by whoever was quicker. One retry tells, unless the store does.
            if let Some(moved) = self.moved()? {
                return self.adopt(moved);
            }
            answer = self.send(&mut reservation, began.elapsed())?;
        }
        match answer {
            Ok(received) => self.received(received),
            Err(error) => self.failed(error),
        }
    }

    /// Sends the request, and writes the answer into the rescue before anything else happens: the connection, the runtime
    /// and their buffers are dealt with afterwards.
    fn send(
        &self,
        reservation: &mut Option<RescueReservation>,
        passed: Duration,
    ) -> Result<Result<SavedResponse, authority::Error>, Error> {
        // Its life begins before it arrives, and the machine may be suspended until then.
        let asked_at = self.engine.clock.now();
        failpoint::at("sending");
        block_on(async {
            let response = self.engine.authority.refresh_after(&self.request, passed).await?;
            failpoint::at("answered");
            Ok(self.keep(response, asked_at, reservation.take()))
        })
    }

    fn keep(
        &self,
        response: TokenResponse,
        asked_at: Timestamp,
        reservation: Option<RescueReservation>,
    ) -> SavedResponse {
        // Codex's workspace switch leaves another account beside the same user's refresh token, and keeps the answer.
        let spent = self.stored.document.identity();
        let owner = match response.is_another_users_than(&spent) {
            true => ResponseOwner::AnotherUser,
            false => ResponseOwner::Same,
        };
        let barren = response.access_token.is_none();
        let rescue = Rescue::new(self.stored, self.parent(), response.into(), asked_at);
        let rescue = if owner == ResponseOwner::AnotherUser { rescue.refused() } else { rescue };
        let kept = reservation.map_or(Ok(()), |reservation| reservation.keep(&rescue));
        failpoint::at("rescued");
        SavedResponse { rescue, owner, barren, kept }
    }

    fn parent(&self) -> Fingerprint {
        self.request.refresh_token.fingerprint()
    }

    fn received(&mut self, received: SavedResponse) -> Result<Snapshot, Error> {
        // Against its promise the rescue may fail; then the commit is all that is left to try.
        let SavedResponse { rescue, owner, barren, kept } = received;
        if owner == ResponseOwner::AnotherUser {
            self.give_up(rescue)?;
            return Err(Error::WrongAccount);
        }
        match self.writer.advance(&rescue) {
            Ok(AdvanceOutcome::Stored) if barren => Err(Error::NoAccessToken),
            Ok(AdvanceOutcome::Stored | AdvanceOutcome::Overtaken) => {
                self.serve_what_is_there(rescue.child())
            }
            Ok(AdvanceOutcome::Moved) => {
                // A logout, a new login, or a program that won: never over the newer document.
                self.give_up(rescue)?;
                self.serve_what_is_there(None)
            }
            Err(error) => {
                kept?;
                match self.stored.document.with_successor(&rescue.tokens, rescue.received_at) {
                    Ok(document) => {
                        let look = self.engine.looks.begin();
                        let stored = StoredDocument { document, ..self.stored.clone() };
                        Ok(self.snapshot(look, stored).departed(Divergence::Uncommitted(Arc::new(error))))
                    }
                    Err(_) => Err(Error::Uncommitted(Arc::new(error))),
                }
            }
        }
    }

    /// Records what was spent, and revokes what belongs to no stored login.
    fn give_up(&mut self, rescue: Rescue) -> Result<(), Error> {
        match self.writer.give_up(rescue)? {
            Some(orphan) => dispose(self.engine, &mut self.writer, &orphan),
            None => Ok(()),
        }
    }

    fn failed(&mut self, error: authority::Error) -> Result<Snapshot, Error> {
        match &error {
            authority::Error::Permanent { reason, hold, code, .. } => {
                if *reason == Refusal::Reused
                    && let Some(moved) = self.await_successor()?
                {
                    return self.adopt(moved);
                }
                // Whoever is in the middle of a commit has the locks; after this look nobody is.
                let kind = self.stored.location.kind();
                let look = self.engine.looks.begin();
                let stored = self.writer.read_between_commits(kind)?.stored();
                if let Some(moved) = self.judge(look, stored)? {
                    return self.adopt(moved);
                }
                Err(self.poison(*reason, *hold, code.clone()))
            }
            authority::Error::Transient { retry_after, .. } => {
                let asked = *retry_after;
                Err(self.back_off(SpendOutcome::Transient, asked, error))
            }
            authority::Error::Unknown { .. } => {
                if let Some(moved) = self.moved()? {
                    return self.adopt(moved);
                }
                Err(self.back_off(SpendOutcome::Unknown, None, error))
            }
            // Nothing was sent, and nothing that anybody else should know of has happened.
            _ => Err(error.into()),
        }
    }

    /// Somebody has the successor and may not have committed it: looks on every change until it moves or the grace is
    /// over.
    fn await_successor(&self) -> Result<Option<ChangedDocument>, Error> {
        let mut watch = Watch::on(store::watched(self.writer.lease().home()));
        let ends = Instant::now() + GRACE;
        loop {
            if let Some(moved) = self.moved()? {
                return Ok(Some(moved));
            }
            let left = ends.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let _ = match self.stored.location.kind() {
                StoreKind::File => watch.wait(left),
                _ => watch.wait(left.min(KEYCHAIN_LOOK)),
            };
        }
    }

    /// What is stored now, if it is no longer what was spent.
    fn moved(&self) -> Result<Option<ChangedDocument>, Error> {
        let look = self.engine.looks.begin();
        self.judge(look, self.writer.stores().find()?.stored)
    }

    fn judge(
        &self,
        look: ReadTicket,
        stored: Option<StoredDocument>,
    ) -> Result<Option<ChangedDocument>, Error> {
        let stored = self.acceptable(stored, None)?;
        let moved = stored.document.fingerprint() != Some(self.parent());
        Ok(moved.then_some(ChangedDocument { look, stored }))
    }

    fn serve_what_is_there(&self, child: Option<Fingerprint>) -> Result<Snapshot, Error> {
        let look = self.engine.looks.begin();
        let stored = self.acceptable(self.writer.stores().find()?.stored, child)?;
        Ok(self.snapshot(look, stored))
    }

    /// The snapshot of what `look` has found, with the record as it is by now.
    fn snapshot(&self, look: ReadTicket, stored: StoredDocument) -> Snapshot {
        Snapshot::found(look, Some(stored), self.writer.state().clone())
    }

    /// What is stored, if it is the login that was spent. `child` is what this process has put there.
    fn acceptable(
        &self,
        stored: Option<StoredDocument>,
        child: Option<Fingerprint>,
    ) -> Result<StoredDocument, Error> {
        let stored = stored.ok_or(Error::LoggedOut)?;
        let is_child = child.is_some() && stored.document.fingerprint() == child;
        let same = is_child || stored.document.is_same_login_as(&self.stored.document);
        if !same && self.engine.policy == AccountPolicy::Stay {
            return Err(Error::OtherAccount);
        }
        Ok(stored)
    }

    /// Takes over what somebody else committed, and tells those who wait.
    fn adopt(&mut self, moved: ChangedDocument) -> Result<Snapshot, Error> {
        let (parent, now) = (self.parent(), self.engine.clock.now());
        self.writer.record_adopted(|state| {
            state.spend(parent);
            state.poison = None;
            state.outcome = Some(SpendRecord::committed(parent, now));
        })?;
        Ok(self.snapshot(moved.look, moved.stored))
    }

    fn poison(&mut self, reason: Refusal, hold: RefusalDuration, code: Option<String>) -> Error {
        let at = self.engine.clock.now();
        let poison = Poison {
            fingerprint: self.parent(),
            endpoint: self.request.endpoint.to_string(),
            client_id: self.request.client_id.clone(),
            cause: match reason {
                Refusal::Expired => PoisonCause::Expired,
                Refusal::Reused => PoisonCause::Reused,
                Refusal::Revoked => PoisonCause::Revoked,
                _ => PoisonCause::Other,
            },
            code,
            at,
            until: hold.duration().and_then(|hold| at.checked_add(hold).ok()),
        };
        let recorded = self.writer.record(|state| {
            if poison.until.is_none() {
                state.spend(poison.fingerprint);
            }
            state.poison = Some(poison.clone());
            let outcome = SpendRecord::committed(poison.fingerprint, at);
            state.outcome = Some(SpendRecord { ending: SpendOutcome::Refused, ..outcome });
        });
        // A poison that cannot be recorded is this process's own knowledge all the same.
        drop(recorded);
        Error::Poisoned(Box::new(poison))
    }

    fn back_off(&mut self, ending: SpendOutcome, asked: Option<Duration>, error: authority::Error) -> Error {
        let at = self.engine.clock.now();
        let state = self.writer.state();
        let before = state.outcome.as_ref().filter(|outcome| outcome.fingerprint == self.parent());
        let failures = before.map_or(0, |outcome| outcome.failures) + 1;
        let pause = match asked {
            Some(asked) => SignedDuration::try_from(asked).unwrap_or(LONGEST_BACK_OFF).min(LONGEST_BACK_OFF),
            None => jittered((FIRST_PAUSE * 2_i32.pow(failures.min(8) - 1)).min(LONGEST_PAUSE)),
        };
        let mut retry_at = at.checked_add(pause).ok();
        if ending == SpendOutcome::Unknown {
            // It may have been spent: while the access token lives there is nothing to win by asking again.
            retry_at = retry_at.max(self.stored.document.expires_at(at));
        }
        let message = error.to_string();
        let outcome =
            SpendRecord { ending, retry_at, failures, message, ..SpendRecord::committed(self.parent(), at) };
        let _ = self.writer.record(|state| state.outcome = Some(outcome));
        error.into()
    }
}

/// Between half of `pause` and all of it, so that machines that failed together do not come back together.
fn jittered(pause: SignedDuration) -> SignedDuration {
    let mut random = [0; 4];
    // Without random numbers the pause is whole.
    if getrandom::fill(&mut random).is_err() {
        return pause;
    }
    let share = f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX);
    pause.mul_f64(0.5 + share / 2.0)
}
