//! Sends one refresh token to the authority, saves the response before anything else, and commits it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::engine::{AccountPolicy, Engine, block_on, end_orphan};
use super::error::Error;
use super::history::{RequestRecord, clock_difference, history_of, record_foreign_change};
use super::read_order::ReadTicket;
use super::snapshot::{Divergence, Snapshot};
use crate::authority::{
    self, Refresh, RefusalDuration, RefusalReason as Refusal, RetryAdvice, TokenResponse,
};
use crate::backoff::{exponential, jittered};
use crate::config::StoreKind;
use crate::failpoint;
use crate::history::{HistoryEvent, RefreshFailure, RefusalCause, RescueLoss};
use crate::secret::Fingerprint;
use crate::store::rescue::{Rescue, RescueReservation};
use crate::store::{
    self, CommitOutcome, MAX_BACK_OFF, Poison, PoisonCause, SpendOutcome, SpendRecord, StoredDocument, Writer,
};
use crate::watch::Watch;

/// How long another program may take to commit the successor of a reused token; Codex waits 5 s for its lock.
const SUCCESSOR_WAIT: Duration = Duration::from_secs(5);
/// How often the keychain is read meanwhile, because it need not signal changes.
const KEYCHAIN_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// The pause after the first failure, and the longest one, before jitter.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// A refresh token that is being spent, under the lease and with disk space reserved for the response.
pub(super) struct TokenSpend<'a> {
    pub(super) engine: &'a Engine,
    pub(super) stored: &'a StoredDocument,
    pub(super) request: Refresh,
    pub(super) record: RequestRecord,
    pub(super) writer: Writer<'a>,
}

/// A response that was written into the rescue.
struct SavedResponse {
    rescue: Rescue,
    owner: ResponseOwner,
    lacks_access_token: bool,
    saved: Result<(), store::Error>,
}

/// A stored document whose refresh token is not the spent one.
struct ChangedDocument {
    ticket: ReadTicket,
    stored: StoredDocument,
}

/// The user whose tokens are in a response, compared with the spent token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ResponseOwner {
    Same,
    AnotherUser,
}

impl TokenSpend<'_> {
    pub(super) fn run(mut self, reservation: RescueReservation) -> Result<Snapshot, Error> {
        // Past this point cancelling could lose a token.
        self.writer.lease().deadline().ignore_cancel();
        let began = Instant::now();
        let mut reservation = Some(reservation);
        let mut answer = self.send(&mut reservation, Duration::ZERO)?;
        if answer.as_ref().is_err_and(|error| error.kind() == RetryAdvice::Unknown) {
            // This request or another program's may have spent the token; one retry shows which.
            if let Some(change) = self.find_change()? {
                return self.adopt(change);
            }
            tracing::debug!("refresh: no usable response; trying once more");
            answer = self.send(&mut reservation, began.elapsed())?;
        }
        match answer {
            Ok(received) => self.commit_response(received),
            Err(error) => self.handle_failure(error),
        }
    }

    /// Sends the request and writes the response into the rescue, before connection and runtime are dropped.
    fn send(
        &self,
        reservation: &mut Option<RescueReservation>,
        passed: Duration,
    ) -> Result<Result<SavedResponse, authority::Error>, Error> {
        // The token's lifetime starts before the response arrives, and the machine may be suspended in between.
        let requested_at = self.engine.clock.now();
        let (spent, endpoint) = (self.parent(), &self.request.endpoint);
        tracing::debug!(%spent, %endpoint, reason = %self.request.reason, "refresh: sending the request");
        failpoint::at("sending");
        block_on(async {
            let response = self.engine.authority.refresh_after(&self.request, passed).await;
            let response = response.inspect_err(
                |error| tracing::debug!(%error, advice = ?error.kind(), "refresh: no new tokens"),
            )?;
            failpoint::at("answered");
            Ok(self.save_response(response, requested_at, reservation.take()))
        })
    }

    fn save_response(
        &self,
        response: TokenResponse,
        requested_at: Timestamp,
        reservation: Option<RescueReservation>,
    ) -> SavedResponse {
        // Codex's workspace switch stores a new account id beside the old refresh token and accepts the response.
        let spent = self.stored.document.identity();
        let owner = match response.is_another_users_than(&spent) {
            true => ResponseOwner::AnotherUser,
            false => ResponseOwner::Same,
        };
        let lacks_access_token = response.access_token.is_none();
        let rescue = Rescue::new(self.stored, self.parent(), response.into(), requested_at);
        let rescue = if owner == ResponseOwner::AnotherUser { rescue.into_refused() } else { rescue };
        let saved = reservation.map_or(Ok(()), |reservation| reservation.write(&rescue));
        match &saved {
            Ok(()) => {
                tracing::debug!(child = ?rescue.child(), ?owner, "refresh: the response is saved in the rescue");
            }
            Err(error) => tracing::warn!(%error, "refresh: the response cannot be saved in the rescue"),
        }
        failpoint::at("rescued");
        SavedResponse { rescue, owner, lacks_access_token, saved }
    }

    fn parent(&self) -> Fingerprint {
        self.request.refresh_token.fingerprint()
    }

    fn commit_response(&mut self, received: SavedResponse) -> Result<Snapshot, Error> {
        // If the reserved rescue could not be written, the commit is still tried.
        let SavedResponse { rescue, owner, lacks_access_token, saved } = received;
        if owner == ResponseOwner::AnotherUser {
            self.give_up(rescue)?;
            self.record_overtaken();
            return Err(Error::WrongAccount);
        }
        let poisoned = self.writer.state().poison.as_ref().map(|poison| poison.fingerprint);
        let committed = self.writer.commit_rescue(&rescue);
        match &committed {
            Ok(outcome) => tracing::debug!(?outcome, child = ?rescue.child(), "refresh: committed"),
            Err(error) => tracing::warn!(%error, "refresh: not committed; the rescue holds the new tokens"),
        }
        if let Ok(CommitOutcome::Stored | CommitOutcome::ReplacedSince) = &committed {
            self.record_refresh(rescue.child(), poisoned);
        }
        match committed {
            Ok(CommitOutcome::Stored) if lacks_access_token => Err(Error::NoAccessToken),
            Ok(CommitOutcome::Stored | CommitOutcome::ReplacedSince) => self.serve_stored(rescue.child()),
            Ok(CommitOutcome::Changed) => {
                // After a logout, a new login or another program's refresh the stored document is newer.
                self.give_up(rescue)?;
                self.record_overtaken();
                self.serve_stored(None)
            }
            Err(error) => {
                saved?;
                match self.stored.document.with_new_tokens(&rescue.tokens, rescue.received_at) {
                    Ok(document) => {
                        let ticket = self.engine.read_order.begin();
                        let stored = StoredDocument { document, ..self.stored.clone() };
                        Ok(self.snapshot(ticket, stored).diverging(Divergence::Uncommitted(Arc::new(error))))
                    }
                    Err(_) => Err(Error::Uncommitted(Arc::new(error))),
                }
            }
        }
    }

    /// Records the spent token, and revokes the new tokens if no stored login owns them.
    fn give_up(&mut self, rescue: Rescue) -> Result<(), Error> {
        tracing::debug!(child = ?rescue.child(), "refresh: giving up the new tokens");
        match self.writer.abandon_rescue(rescue)? {
            Some(orphan) => end_orphan(self.engine, &mut self.writer, &orphan),
            None => Ok(()),
        }
    }

    fn handle_failure(&mut self, error: authority::Error) -> Result<Snapshot, Error> {
        match &error {
            authority::Error::Permanent { reason, hold, code, .. } => {
                if *reason == Refusal::Reused
                    && let Some(change) = self.await_successor()?
                {
                    return self.adopt(change);
                }
                // A program in the middle of a commit holds Codex's locks, so this read waits for it.
                let kind = self.stored.location.kind();
                let ticket = self.engine.read_order.begin();
                let stored = self.writer.read_between_commits(kind)?.stored();
                if let Some(change) = self.changed_from(ticket, stored)? {
                    return self.adopt(change);
                }
                Err(self.poison(*reason, *hold, code.clone()))
            }
            authority::Error::Transient { retry_after, .. } => {
                let retry_after = *retry_after;
                Err(self.back_off(SpendOutcome::Transient, retry_after, error))
            }
            authority::Error::Unknown { .. } => {
                if let Some(change) = self.find_change()? {
                    return self.adopt(change);
                }
                Err(self.back_off(SpendOutcome::Unknown, None, error))
            }
            // Nothing was sent, so nothing is recorded.
            _ => Err(error.into()),
        }
    }

    /// Waits up to [`SUCCESSOR_WAIT`] until another program commits the successor of a token that it has spent.
    fn await_successor(&self) -> Result<Option<ChangedDocument>, Error> {
        let mut watch = Watch::new(store::watched_files(self.writer.lease().home()));
        let ends = Instant::now() + SUCCESSOR_WAIT;
        loop {
            if let Some(change) = self.find_change()? {
                return Ok(Some(change));
            }
            let left = ends.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let _ = match self.stored.location.kind() {
                StoreKind::File => watch.wait(left),
                _ => watch.wait(left.min(KEYCHAIN_CHECK_INTERVAL)),
            };
        }
    }

    /// Reads the store, and returns the document if its refresh token is not the spent one.
    fn find_change(&self) -> Result<Option<ChangedDocument>, Error> {
        let ticket = self.engine.read_order.begin();
        self.changed_from(ticket, self.writer.stores().find_readable()?.stored)
    }

    fn changed_from(
        &self,
        ticket: ReadTicket,
        stored: Option<StoredDocument>,
    ) -> Result<Option<ChangedDocument>, Error> {
        let stored = self.require_same_login(stored, None)?;
        let change = stored.document.fingerprint() != Some(self.parent());
        Ok(change.then_some(ChangedDocument { ticket, stored }))
    }

    fn serve_stored(&self, child: Option<Fingerprint>) -> Result<Snapshot, Error> {
        let ticket = self.engine.read_order.begin();
        let stored = self.require_same_login(self.writer.stores().find_readable()?.stored, child)?;
        let snapshot = self.snapshot(ticket, stored);
        if child.is_some()
            && let Some(event) = clock_difference(&snapshot, self.engine.clock.now())
        {
            self.engine.record(&self.writer, event);
        }
        Ok(snapshot)
    }

    /// Returns a snapshot of `stored` with the current state.
    fn snapshot(&self, ticket: ReadTicket, stored: StoredDocument) -> Snapshot {
        Snapshot::from_read(ticket, Some(stored), self.writer.state().clone())
    }

    /// Returns the stored document if it is the login whose token was spent, or is `child`, which this process
    /// committed.
    fn require_same_login(
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

    /// Adopts the document that another program committed, and records that for processes that wait.
    fn adopt(&mut self, change: ChangedDocument) -> Result<Snapshot, Error> {
        let (parent, now) = (self.parent(), self.engine.clock.now());
        let adopted = change.stored.document.fingerprint();
        tracing::debug!(spent = %parent, ?adopted, "refresh: adopting what another program has committed");
        let history = history_of(&self.writer, &self.engine.clock);
        record_foreign_change(&history, &self.engine.home, self.writer.state(), Some(&change.stored));
        self.writer.record_adopted(|state| {
            state.mark_spent(parent);
            state.mark_current(&change.stored.document);
            state.poison = None;
            state.outcome = Some(SpendRecord::committed(parent, now));
        })?;
        Ok(self.snapshot(change.ticket, change.stored))
    }

    /// Records that the spent token has the successor `received`, which is stored.
    fn record_refresh(&self, received: Option<Fingerprint>, poisoned: Option<Fingerprint>) {
        let (spent, reason, millis) = (self.parent(), self.record.reason(), self.record.millis());
        let host = self.record.host.clone();
        self.engine.record(&self.writer, HistoryEvent::Refreshed { spent, received, reason, millis, host });
        if let Some(token) = poisoned {
            self.engine.record(&self.writer, HistoryEvent::Healed { token, by: received });
        }
    }

    /// Records that the new tokens belong to no stored login.
    fn record_overtaken(&self) {
        let event = HistoryEvent::RescueLost { spent: Some(self.parent()), why: RescueLoss::Overtaken };
        self.engine.record(&self.writer, event);
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
                state.mark_spent(poison.fingerprint);
            }
            state.poison = Some(poison.clone());
            let outcome = SpendRecord::committed(poison.fingerprint, at);
            state.outcome = Some(SpendRecord { outcome: SpendOutcome::Refused, ..outcome });
        });
        tracing::warn!(spent = %poison.fingerprint, cause = ?poison.cause, "refresh: the token failed permanently");
        // A poison that cannot be recorded still holds in this process.
        if let Err(error) = recorded {
            tracing::warn!(%error, "refresh: the permanent failure cannot be recorded");
        }
        let cause = match poison.cause {
            PoisonCause::Expired => RefusalCause::Expired,
            PoisonCause::Reused => RefusalCause::Reused,
            PoisonCause::Revoked => RefusalCause::Revoked,
            _ => RefusalCause::Other,
        };
        let (token, host) = (poison.fingerprint, self.record.host.clone());
        self.engine.record(&self.writer, HistoryEvent::Poisoned { token, cause, host });
        Error::Poisoned(Box::new(poison))
    }

    fn back_off(
        &mut self,
        ending: SpendOutcome,
        retry_after: Option<Duration>,
        error: authority::Error,
    ) -> Error {
        let at = self.engine.clock.now();
        let state = self.writer.state();
        let before = state.outcome.as_ref().filter(|outcome| outcome.fingerprint == self.parent());
        let failures = before.map_or(0, |outcome| outcome.failures) + 1;
        let pause = match retry_after {
            Some(retry_after) => retry_after,
            None => jittered(exponential(FIRST_PAUSE, LONGEST_PAUSE, failures)),
        };
        let pause = SignedDuration::try_from(pause).unwrap_or(MAX_BACK_OFF).min(MAX_BACK_OFF);
        let mut retry_at = at.checked_add(pause).ok();
        if ending == SpendOutcome::Unknown {
            // The token may have been spent, so a retry is useless while the access token is valid.
            retry_at = retry_at.max(self.stored.document.expires_at(at));
        }
        let message = error.to_string();
        tracing::debug!(failures, retry_at = ?retry_at.map(|at| at.to_string()), "refresh: backing off");
        let outcome = SpendRecord {
            outcome: ending,
            retry_at,
            failures,
            message,
            ..SpendRecord::committed(self.parent(), at)
        };
        let _ = self.writer.record(|state| state.outcome = Some(outcome));
        let failure = match ending {
            SpendOutcome::Unknown => RefreshFailure::NoResponse,
            _ => RefreshFailure::Transient,
        };
        let (token, millis, host) = (self.parent(), self.record.millis(), self.record.host.clone());
        self.engine.record(&self.writer, HistoryEvent::NotRefreshed { token, failure, millis, host });
        error.into()
    }
}
