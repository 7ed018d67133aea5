//! The transaction that spends a refresh token once and loses nothing.
//!
//! It runs on a thread of its own and is never cancelled: from the moment the request is sent, whatever follows happens
//! whether anybody still waits or not.

use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};

use super::engine::{AccountPolicy, Engine};
use super::error::Error;
use super::read_order::ReadTicket;
use super::recover;
use super::request::{CallerBase, RefreshReason, ended};
use super::snapshot::Snapshot;
use super::spend;
use super::unusable::Unusable;
use crate::authority::{self, Endpoint, Refresh, StaleTokenReason};
use crate::document::{AuthDocument, AuthMode};
use crate::failpoint;
use crate::secret::{Fingerprint, Secret};
use crate::store::rescue::RescueReservation;
use crate::store::{
    self, DocumentTarget, HomeState, Lease, LeaseOutcome, LockDeadline, Poison, Seal, SpendOutcome, Stamp,
    StoredDocument, Stores, Waiting, Writer,
};

/// Automatic reasons never spend a token that was received less than this ago.
const DAMPER: SignedDuration = SignedDuration::from_secs(60);

/// One refresh, from the lease to the state.
pub(super) struct Transaction<'a> {
    pub(super) engine: &'a Engine,
    pub(super) reason: RefreshReason,
    pub(super) base: CallerBase,
    pub(super) deadline: LockDeadline,
}

/// What a transaction is to do.
pub(super) enum RefreshPlan {
    /// Nothing need be spent: this is what everybody uses now.
    Serve(Box<Snapshot>),
    /// The refresh token of this document is to be spent by this request.
    Spend(Box<StoredDocument>, Refresh),
}

/// What a look at the store says.
enum StoreCheck {
    /// Nothing need be spent: this is what everybody uses now.
    Serve(Box<Snapshot>),
    /// The refresh token of this document is to be spent.
    Spend(ReadTicket, Box<StoredDocument>),
}

/// How one attempt ended.
enum AttemptOutcome {
    /// This is what the caller gets.
    Served(Box<Snapshot>),
    /// The home's link leads elsewhere since the request: the token `spent` was the document's at `from`.
    Elsewhere { spent: Fingerprint, from: DocumentTarget },
}

impl Transaction<'_> {
    /// Runs it to its end. `between` may end the wait for the lease.
    ///
    /// The successor goes to the document that was spent, wherever the home's link leads by then. If it leads elsewhere,
    /// what the home has now is served, once it is up to date.
    pub(super) fn run(
        &self,
        between: &mut dyn FnMut(&Waiting<'_>) -> ControlFlow<()>,
    ) -> Result<Snapshot, Error> {
        match self.attempt(between)? {
            AttemptOutcome::Served(snapshot) => Ok(*snapshot),
            AttemptOutcome::Elsewhere { spent, from } => {
                self.catch_up(spent, &from, between)?;
                match self.attempt(between)? {
                    AttemptOutcome::Served(snapshot) => Ok(*snapshot),
                    AttemptOutcome::Elsewhere { .. } => Err(store::Error::Contended.into()),
                }
            }
        }
    }

    fn attempt(
        &self,
        between: &mut dyn FnMut(&Waiting<'_>) -> ControlFlow<()>,
    ) -> Result<AttemptOutcome, Error> {
        let served = |snapshot| AttemptOutcome::Served(Box::new(snapshot));
        let lease = match self.lease(between)? {
            LeaseOutcome::Held(lease) => lease,
            LeaseOutcome::GaveWay(outcome) => return outcome.map(served),
        };
        failpoint::at("leased");
        let mut writer = self.engine.stores()?.writer(&lease)?;
        recover::recover(self.engine, &mut writer)?;
        failpoint::at("rescue finished");
        let (stored, spending) = match self.plan(writer.stores(), writer.state())? {
            RefreshPlan::Serve(snapshot) => return Ok(AttemptOutcome::Served(snapshot)),
            RefreshPlan::Spend(stored, spending) => (stored, spending),
        };
        let spent = spending.refresh_token.fingerprint();
        let reservation = reserve(&writer, &stored)?;
        failpoint::at("reserved");
        let spending = spend::TokenSpend { engine: self.engine, stored: &stored, request: spending, writer };
        let outcome = spending.run(reservation);
        if lease.is_on_target() {
            return outcome.map(served);
        }
        Ok(AttemptOutcome::Elsewhere { spent, from: lease.target().clone() })
    }

    /// Under the lease of the document that the home has now.
    fn catch_up(
        &self,
        spent: Fingerprint,
        from: &DocumentTarget,
        between: &mut dyn FnMut(&Waiting<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let lease = Lease::acquire_unless(&self.engine.home, &self.deadline, between)?;
        let LeaseOutcome::Held(lease) = lease else { return Err(Error::Interrupted) };
        let mut writer = self.engine.stores()?.writer(&lease)?;
        recover::recover(self.engine, &mut writer)?;
        Ok(writer.catch_up(from, spent, self.engine.clock.now())?)
    }

    /// Waits for the lease. A waiter needs a token and not the lease: it looks whenever the generation changes, adopts a
    /// commit, takes a failure that it waited through as its own, and leaves.
    fn lease(
        &self,
        caller: &mut dyn FnMut(&Waiting<'_>) -> ControlFlow<()>,
    ) -> Result<LeaseOutcome<Result<Snapshot, Error>>, Error> {
        let before = HomeState::read(&self.engine.home)?.0.generation;
        let mut seen = HomeState::stamp(&self.engine.home)?;
        let between = |state: &Waiting<'_>| {
            if caller(state).is_break() {
                return ControlFlow::Break(Err(Error::Interrupted));
            }
            match self.look_in_passing(&before, &mut seen) {
                Some(served) => ControlFlow::Break(served),
                None => ControlFlow::Continue(()),
            }
        };
        Ok(Lease::acquire_unless(&self.engine.home, &self.deadline, between)?)
    }

    /// A waiter's look: one stat, unless something has changed. What goes wrong here goes wrong again under the lease.
    fn look_in_passing(&self, before: &str, seen: &mut Option<Stamp>) -> Option<Result<Snapshot, Error>> {
        let stamp = HomeState::stamp(&self.engine.home).ok()?;
        if stamp == *seen {
            return None;
        }
        *seen = stamp;
        let (state, _) = HomeState::read(&self.engine.home).ok()?;
        if state.generation == before {
            return None;
        }
        let stores = self.engine.stores().ok()?;
        match self.look(&stores, &state) {
            Ok(StoreCheck::Serve(snapshot)) => Some(Ok(*snapshot)),
            Ok(StoreCheck::Spend(_, stored)) => self.failed_meanwhile(&stored, &state).map(Err),
            Err(error @ (Error::LoggedOut | Error::OtherAccount | Error::OldCopy)) => Some(Err(error)),
            Err(_) => None,
        }
    }

    /// The failure of somebody else's attempt at the very same token.
    fn failed_meanwhile(&self, stored: &StoredDocument, state: &HomeState) -> Option<Error> {
        let fingerprint = stored.document.fingerprint()?;
        let now = self.engine.clock.now();
        if let Some(poison) = poison_of(state, &stored.document, self.engine, now) {
            return Some(Error::Poisoned(Box::new(poison)));
        }
        let outcome = state.outcome.as_ref().filter(|outcome| outcome.fingerprint == fingerprint)?;
        match outcome.ending {
            SpendOutcome::Transient | SpendOutcome::Unknown => {
                let left = outcome.back_off(now)?;
                Some(Error::BackingOff { left, message: outcome.message.clone() })
            }
            _ => None,
        }
    }

    /// What is to be done about what is stored, and whether it can be. Changes nothing, and is also what reports go by that
    /// say whether a token could be had.
    pub(super) fn plan(&self, stores: &Stores, state: &HomeState) -> Result<RefreshPlan, Error> {
        let (look, stored) = match self.look(stores, state)? {
            StoreCheck::Serve(snapshot) => return Ok(RefreshPlan::Serve(snapshot)),
            StoreCheck::Spend(look, stored) => (look, stored),
        };
        let request = self.may_spend(&stored, state)?;
        if self.is_damped(&stored, state)? {
            return Ok(RefreshPlan::Serve(Box::new(Snapshot::found(look, Some(*stored), state.clone()))));
        }
        stores.check_refresh(stored.location.kind())?;
        Ok(RefreshPlan::Spend(stored, request))
    }

    /// Compares what is stored with what the caller had, by identity and lineage.
    fn look(&self, stores: &Stores, state: &HomeState) -> Result<StoreCheck, Error> {
        let look = self.engine.looks.begin();
        let stored = stores.find()?.stored.ok_or(Error::LoggedOut)?;
        let document = &stored.document;
        let ours = self.base.is_login_of(document, &state.spent);
        if !ours && (self.engine.policy == AccountPolicy::Stay || self.reason.is_recovery()) {
            return Err(Error::OtherAccount);
        }
        let fingerprint = document.fingerprint();
        if fingerprint.is_some_and(|fingerprint| state.spent.contains(&fingerprint)) {
            // A token that was refused for good counts as spent, and has a better word for it.
            let now = self.engine.clock.now();
            let poison = poison_of(state, document, self.engine, now);
            return Err(poison.map_or(Error::OldCopy, |poison| Error::Poisoned(Box::new(poison))));
        }
        let moved = !ours || fingerprint != self.base.fingerprint;
        Ok(if self.reason.is_served_by(document, moved, self.engine.clock.now()) {
            StoreCheck::Serve(Box::new(Snapshot::found(look, Some(stored), state.clone())))
        } else {
            StoreCheck::Spend(look, Box::new(stored))
        })
    }

    /// What would be sent, unless the token is known to be dead or the authority is to be left alone.
    fn may_spend(&self, stored: &StoredDocument, state: &HomeState) -> Result<Refresh, Error> {
        let document = &stored.document;
        let refresh = request(self.engine, document, self.reason)?;
        let now = self.engine.clock.now();
        if let Some(poison) = poison_of(state, document, self.engine, now) {
            // A failure that may pass is worth one more try to a person who asks for it.
            if !(self.reason == RefreshReason::Forced && poison.until.is_some()) {
                return Err(Error::Poisoned(Box::new(poison)));
            }
        }
        let outcome =
            state.outcome.as_ref().filter(|outcome| Some(outcome.fingerprint) == document.fingerprint());
        match outcome.and_then(|outcome| Some((outcome.back_off(now)?, &outcome.message))) {
            Some((left, message)) if self.reason != RefreshReason::Forced => {
                Err(Error::BackingOff { left, message: message.clone() })
            }
            _ => Ok(refresh),
        }
    }

    /// The damper: whether the stored token was received so recently that it is served as it is.
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
        if ended(&stored.document, now) || refused {
            return Err(Error::JustReceived);
        }
        Ok(true)
    }
}

/// The request that would spend the refresh token of `document`.
pub(super) fn request(
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
        // Served while it lives, and never refreshed.
        let mode = document.mode().filter(|mode| *mode != AuthMode::ChatGpt);
        return Err(mode.map_or(Unusable::Expired, Unusable::NotRefreshable).into());
    };
    let endpoint =
        Endpoint::refresh(&engine.environment, &tokens.provenance).map_err(authority::Error::from)?;
    let client_id = authority::client_id(&tokens.provenance).to_owned();
    Ok(Refresh { endpoint, client_id, refresh_token, reason: why })
}

/// The poison that `state` knows of this very token at the endpoint and client it would be sent to and as.
fn poison_of(state: &HomeState, document: &AuthDocument, engine: &Engine, now: Timestamp) -> Option<Poison> {
    let poison = state.poison.clone().filter(|poison| Some(poison.fingerprint) == document.fingerprint())?;
    let request = request(engine, document, RefreshReason::Stale).ok()?;
    let same = poison.endpoint == request.endpoint.to_string() && poison.client_id == request.client_id;
    (same && poison.holds(now)).then_some(poison)
}

/// Proves by trial what [`Stores::check_refresh`] has found, and reserves the space for the answer.
fn reserve(writer: &Writer<'_>, stored: &StoredDocument) -> Result<RescueReservation, Error> {
    let (kind, stores) = (stored.location.kind(), writer.stores());
    stores.store(kind).prove_write()?;
    let seal = Seal::make(writer.lease(), kind, &stores.keychain(), stores.deadline())?;
    Ok(RescueReservation::make(writer.lease(), seal)?)
}
