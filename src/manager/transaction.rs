//! The refresh transaction, up to the request.

use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};

use super::engine::{AccountPolicy, Engine, recover};
use super::error::{Error, Unusable};
use super::history::{RequestRecord, history_of, record_foreign_change};
use super::permission::permit_document;
use super::read_order::ReadTicket;
use super::renewal::is_member;
use super::request::{CallerBase, RefreshReason, has_expired};
use super::snapshot::Snapshot;
use super::spend;
use crate::authority::{self, Endpoint, Refresh, StaleTokenReason};
use crate::document::{AuthDocument, AuthMode};
use crate::failpoint;
use crate::secret::{Fingerprint, Secret};
use crate::store::rescue::RescueReservation;
use crate::store::{
    self, DocumentTarget, HomeState, Lease, LeaseOutcome, LockDeadline, Poison, Seal, SpendOutcome, Stamp,
    StoredDocument, Stores, Waiting, Writer,
};

/// Automatic reasons do not spend a token that was received less than this ago.
const DAMPER: SignedDuration = SignedDuration::from_secs(60);

/// One refresh.
pub(super) struct Transaction<'a> {
    pub(super) engine: &'a Engine,
    pub(super) reason: RefreshReason,
    pub(super) base: CallerBase,
    pub(super) deadline: LockDeadline,
}

/// The decision of a transaction.
pub(super) enum RefreshPlan {
    /// Serve this snapshot; no token is spent.
    Serve(Box<Snapshot>),
    /// Spend the refresh token of this document with this request.
    Spend(Box<StoredDocument>, Refresh),
}

/// The result of comparing the stored document with the request.
enum StoreCheck {
    /// Serve this snapshot; no token is spent.
    Serve(Box<Snapshot>),
    /// Spend the refresh token of this document.
    Spend(ReadTicket, Box<StoredDocument>),
}

/// How one attempt ended.
enum AttemptOutcome {
    /// The caller gets this snapshot.
    Served(Box<Snapshot>),
    /// The home's link changed its target after the request: the token `spent` belonged to the document at `from`.
    Elsewhere { spent: Fingerprint, from: DocumentTarget },
}

impl Transaction<'_> {
    /// Runs the transaction. `on_wait` is called before each further try for the lease and may end the wait.
    ///
    /// The new tokens are committed to the document whose token was spent. If the home's link has another target by
    /// then, the document at the new target is updated and served.
    pub(super) fn run(
        &self,
        on_wait: &mut dyn FnMut(&Waiting<'_>) -> ControlFlow<()>,
    ) -> Result<Snapshot, Error> {
        tracing::debug!(reason = ?self.reason, home = %self.engine.home.path().display(), "refresh: started");
        let ended = self.run_to_end(on_wait);
        match &ended {
            Ok(snapshot) => tracing::debug!(token = ?snapshot.fingerprint(), "refresh: done"),
            Err(error) => {
                tracing::debug!(%error, kind = ?error.kind(), "refresh: failed");
                self.engine.record_failure(error);
            }
        }
        ended
    }

    fn run_to_end(
        &self,
        on_wait: &mut dyn FnMut(&Waiting<'_>) -> ControlFlow<()>,
    ) -> Result<Snapshot, Error> {
        match self.attempt(on_wait)? {
            AttemptOutcome::Served(snapshot) => Ok(*snapshot),
            AttemptOutcome::Elsewhere { spent, from } => {
                tracing::debug!(%spent, "refresh: the link of the home has another target now");
                self.catch_up(spent, &from, on_wait)?;
                match self.attempt(on_wait)? {
                    AttemptOutcome::Served(snapshot) => Ok(*snapshot),
                    AttemptOutcome::Elsewhere { .. } => Err(store::Error::Contended.into()),
                }
            }
        }
    }

    fn attempt(
        &self,
        on_wait: &mut dyn FnMut(&Waiting<'_>) -> ControlFlow<()>,
    ) -> Result<AttemptOutcome, Error> {
        let served = |snapshot| AttemptOutcome::Served(Box::new(snapshot));
        let lease = match self.lease(on_wait)? {
            LeaseOutcome::Held(lease) => lease,
            LeaseOutcome::Stopped(outcome) => {
                tracing::debug!("refresh: another process has done it");
                return outcome.map(served);
            }
        };
        tracing::debug!("refresh: the lease is held");
        failpoint::at("leased");
        let mut writer = self.engine.stores()?.writer(&lease)?;
        recover(self.engine, &mut writer)?;
        failpoint::at("rescue finished");
        // Its fleet spends the token, also while the login is being moved into it.
        if is_member(&self.engine.home) {
            return Err(Unusable::HandedIn.into());
        }
        let planned = self.plan(writer.stores(), writer.state());
        self.record_foreign_change(&writer, &planned);
        let (stored, spending) = match planned? {
            RefreshPlan::Serve(snapshot) => {
                tracing::debug!(token = ?snapshot.fingerprint(), "refresh: the stored token serves the request");
                return Ok(AttemptOutcome::Served(snapshot));
            }
            RefreshPlan::Spend(stored, spending) => (stored, spending),
        };
        let spent = spending.refresh_token.fingerprint();
        let reservation = reserve(&writer, &stored)?;
        tracing::debug!(%spent, store = %stored.location, "refresh: the store can be written, and space is reserved");
        failpoint::at("reserved");
        let record = RequestRecord::new(self.reason, &spending.endpoint);
        let spending =
            spend::TokenSpend { engine: self.engine, stored: &stored, request: spending, record, writer };
        let outcome = spending.run(reservation);
        if lease.is_on_target() {
            return outcome.map(served);
        }
        Ok(AttemptOutcome::Elsewhere { spent, from: lease.target().clone() })
    }

    /// Records a change by another program, which `planned` has shown.
    fn record_foreign_change(&self, writer: &Writer<'_>, planned: &Result<RefreshPlan, Error>) {
        let stored = match planned {
            Ok(RefreshPlan::Spend(stored, _)) => Some((**stored).clone()),
            Ok(RefreshPlan::Serve(snapshot)) => snapshot.stored().cloned(),
            Err(Error::LoggedOut) => None,
            Err(Error::OtherAccount | Error::OldCopy | Error::Poisoned(_) | Error::BackingOff { .. }) => {
                let Ok(found) = writer.stores().find() else { return };
                found.stored
            }
            Err(_) => return,
        };
        let history = history_of(writer, &self.engine.clock);
        record_foreign_change(&history, &self.engine.home, writer.state(), stored.as_ref());
    }

    /// Records at the home's current document that `spent` was spent, under the lease of that document.
    fn catch_up(
        &self,
        spent: Fingerprint,
        from: &DocumentTarget,
        on_wait: &mut dyn FnMut(&Waiting<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let lease = Lease::acquire_with(&self.engine.home, &self.deadline, on_wait)?;
        let LeaseOutcome::Held(lease) = lease else { return Err(Error::Interrupted) };
        let mut writer = self.engine.stores()?.writer(&lease)?;
        recover(self.engine, &mut writer)?;
        Ok(writer.update_copy(from, spent, self.engine.clock.now())?)
    }

    /// Waits for the lease. Whenever the recorded generation changes, it reads the store and stops waiting if another
    /// process has committed a token that serves this request, or has failed with the same refresh token.
    fn lease(
        &self,
        on_wait: &mut dyn FnMut(&Waiting<'_>) -> ControlFlow<()>,
    ) -> Result<LeaseOutcome<Result<Snapshot, Error>>, Error> {
        tracing::trace!("refresh: waiting for the lease");
        let before = HomeState::read(&self.engine.home)?.0.generation;
        let mut seen = HomeState::stamp(&self.engine.home)?;
        let check = |state: &Waiting<'_>| {
            if on_wait(state).is_break() {
                return ControlFlow::Break(Err(Error::Interrupted));
            }
            match self.check_while_waiting(&before, &mut seen) {
                Some(served) => ControlFlow::Break(served),
                None => ControlFlow::Continue(()),
            }
        };
        Ok(Lease::acquire_with(&self.engine.home, &self.deadline, check)?)
    }

    /// Checks between two tries for the lease whether another process has done the work; one `stat` if nothing changed.
    /// Errors are ignored, because they recur under the lease.
    fn check_while_waiting(&self, before: &str, seen: &mut Option<Stamp>) -> Option<Result<Snapshot, Error>> {
        let stamp = HomeState::stamp(&self.engine.home).ok()?;
        if stamp == *seen {
            return None;
        }
        *seen = stamp;
        let (state, _) = HomeState::read(&self.engine.home).ok()?;
        if state.generation == before {
            return None;
        }
        tracing::trace!(generation = state.generation, "refresh: another process has changed the login");
        let stores = self.engine.stores().ok()?;
        match self.check_store(&stores, &state) {
            Ok(StoreCheck::Serve(snapshot)) => Some(Ok(*snapshot)),
            Ok(StoreCheck::Spend(_, stored)) => self.recorded_failure(&stored, &state).map(Err),
            Err(error @ (Error::LoggedOut | Error::OtherAccount | Error::OldCopy)) => Some(Err(error)),
            Err(_) => None,
        }
    }

    /// Returns the failure that another process recorded for the same refresh token.
    fn recorded_failure(&self, stored: &StoredDocument, state: &HomeState) -> Option<Error> {
        let fingerprint = stored.document.fingerprint()?;
        let now = self.engine.clock.now();
        if let Some(poison) = poison_of(state, &stored.document, self.engine, now) {
            return Some(Error::Poisoned(Box::new(poison)));
        }
        let outcome = state.outcome.as_ref().filter(|outcome| outcome.fingerprint == fingerprint)?;
        match outcome.outcome {
            SpendOutcome::Transient | SpendOutcome::Unknown => {
                let left = outcome.remaining_back_off(now)?;
                Some(Error::BackingOff { left, message: outcome.message.clone() })
            }
            _ => None,
        }
    }

    /// Decides whether to serve the stored document or to spend its refresh token, and checks that the result can be
    /// stored. Changes nothing; [`super::LoginStatus`] uses it too.
    pub(super) fn plan(&self, stores: &Stores, state: &HomeState) -> Result<RefreshPlan, Error> {
        let (ticket, stored) = match self.check_store(stores, state)? {
            StoreCheck::Serve(snapshot) => return Ok(RefreshPlan::Serve(snapshot)),
            StoreCheck::Spend(ticket, stored) => (ticket, stored),
        };
        // A token that would not be served is not worth the old one.
        if let Some(reason) = permit_document(&stores.settings().config.restrictions, &stored.document).err()
        {
            return Err(Unusable::Forbidden(reason).into());
        }
        let request = self.spend_request(&stored, state)?;
        if self.is_damped(&stored, state)? {
            return Ok(RefreshPlan::Serve(Box::new(Snapshot::from_read(
                ticket,
                Some(*stored),
                state.clone(),
            ))));
        }
        stores.check_refresh(stored.location.kind())?;
        Ok(RefreshPlan::Spend(stored, request))
    }

    /// Compares the stored document with the caller's snapshot, by identity and spent tokens.
    fn check_store(&self, stores: &Stores, state: &HomeState) -> Result<StoreCheck, Error> {
        let ticket = self.engine.read_order.begin();
        let stored = stores.find()?.stored.ok_or(Error::LoggedOut)?;
        let document = &stored.document;
        let ours = self.base.is_login_of(document, &state.spent);
        if !ours && (self.engine.policy == AccountPolicy::Stay || self.reason.is_recovery()) {
            return Err(Error::OtherAccount);
        }
        let fingerprint = document.fingerprint();
        if fingerprint.is_some_and(|fingerprint| state.spent.contains(&fingerprint)) {
            // A poisoned token is recorded as spent too; its poison is the better error.
            let now = self.engine.clock.now();
            let poison = poison_of(state, document, self.engine, now);
            return Err(poison.map_or(Error::OldCopy, |poison| Error::Poisoned(Box::new(poison))));
        }
        let changed = !ours || fingerprint != self.base.fingerprint;
        Ok(if self.reason.is_served_by(document, changed, self.engine.clock.now()) {
            StoreCheck::Serve(Box::new(Snapshot::from_read(ticket, Some(stored), state.clone())))
        } else {
            StoreCheck::Spend(ticket, Box::new(stored))
        })
    }

    /// Returns the request to send, unless the token is poisoned or a back-off is running.
    fn spend_request(&self, stored: &StoredDocument, state: &HomeState) -> Result<Refresh, Error> {
        let document = &stored.document;
        let refresh = refresh_request(self.engine, document, self.reason)?;
        let now = self.engine.clock.now();
        if let Some(poison) = poison_of(state, document, self.engine, now) {
            // An explicit request retries a poison that has an end.
            if !(self.reason == RefreshReason::Forced && poison.until.is_some()) {
                return Err(Error::Poisoned(Box::new(poison)));
            }
        }
        let outcome =
            state.outcome.as_ref().filter(|outcome| Some(outcome.fingerprint) == document.fingerprint());
        match outcome.and_then(|outcome| Some((outcome.remaining_back_off(now)?, &outcome.message))) {
            Some((left, message)) if self.reason != RefreshReason::Forced => {
                Err(Error::BackingOff { left, message: message.clone() })
            }
            _ => Ok(refresh),
        }
    }

    /// Whether the damper applies: the stored token was received so recently that it is served instead of refreshed.
    fn is_damped(&self, stored: &StoredDocument, state: &HomeState) -> Result<bool, Error> {
        let now = self.engine.clock.now();
        let just_received =
            state.received_at.is_some_and(|received| now.duration_since(received).abs() < DAMPER);
        if self.reason == RefreshReason::Forced || !just_received {
            return Ok(false);
        }
        let refused = match self.reason {
            RefreshReason::Unauthorized(refused) => {
                stored.document.bearer().map(Secret::fingerprint) == Some(refused)
            }
            _ => false,
        };
        if has_expired(&stored.document, now) || refused {
            return Err(Error::JustReceived);
        }
        Ok(true)
    }
}

/// Returns the request that spends the refresh token of `document`.
pub(super) fn refresh_request(
    engine: &Engine,
    document: &AuthDocument,
    reason: RefreshReason,
) -> Result<Refresh, Error> {
    let why = match reason {
        RefreshReason::Forced => StaleTokenReason::Forced,
        RefreshReason::Unauthorized(_) => StaleTokenReason::UnauthorizedRecovery,
        _ if document.access_claims().expires_at.is_none() => StaleTokenReason::Scheduled,
        _ => StaleTokenReason::ProactiveExpiry,
    };
    let tokens = document.tokens().filter(|_| document.fingerprint().is_some());
    let refresh_token = tokens.and_then(|tokens| tokens.refresh_token.clone());
    let (Some(tokens), Some(refresh_token)) = (tokens, refresh_token) else {
        // A token-only document is never refreshed.
        if document.is_handed_in() {
            return Err(Unusable::HandedIn.into());
        }
        let mode = document.mode().filter(|mode| *mode != AuthMode::ChatGpt);
        return Err(mode.map_or(Unusable::Expired, Unusable::NotRefreshable).into());
    };
    let endpoint =
        Endpoint::refresh(&engine.environment, &tokens.provenance).map_err(authority::Error::from)?;
    let client_id = authority::client_id(&tokens.provenance).to_owned();
    Ok(Refresh { endpoint, client_id, refresh_token, reason: why })
}

/// Returns the poison recorded for the refresh token of `document` at its endpoint and client id.
fn poison_of(state: &HomeState, document: &AuthDocument, engine: &Engine, now: Timestamp) -> Option<Poison> {
    let poison = state.poison.clone().filter(|poison| Some(poison.fingerprint) == document.fingerprint())?;
    let request = refresh_request(engine, document, RefreshReason::Stale).ok()?;
    let same = poison.endpoint == request.endpoint.to_string() && poison.client_id == request.client_id;
    (same && poison.is_active(now)).then_some(poison)
}

/// Writes a test file to prove that the commit can work, and reserves disk space for the response.
fn reserve(writer: &Writer<'_>, stored: &StoredDocument) -> Result<RescueReservation, Error> {
    let (kind, stores) = (stored.location.kind(), writer.stores());
    stores.store(kind).prove_write()?;
    let seal = Seal::for_store(writer.lease(), kind, &stores.keychain(), stores.timeout())?;
    Ok(RescueReservation::create(writer.lease(), seal)?)
}
