//! The transaction that spends a refresh token once and loses nothing.
//!
//! It runs on a thread of its own and is never cancelled: from the moment the request is sent, whatever follows happens
//! whether anybody still waits or not.

use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::answer;
use super::engine::{AccountPolicy, Engine};
use super::error::Error;
use super::finish;
use super::snapshot::Snapshot;
use super::usability::Unusable;
use crate::authority::{self, Endpoint, Refresh, RefreshReason};
use crate::document::{AuthDocument, AuthMode, Freshness, Identity};
use crate::failpoint;
use crate::secret::{Fingerprint, Secret};
use crate::store::rescue::Reservation;
use crate::store::{
    self, Deadline, Ending, Lease, Leased, Poison, Seal, Stamp, State, Stored, Stores, Target, Waiting,
    Writer,
};

/// Automatic reasons never spend a token that was received less than this ago.
const DAMPER: SignedDuration = SignedDuration::from_secs(60);

/// Why a refresh is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// Somebody asked for it; the damper does not hold it back.
    Forced,
    /// It is kept fresh ahead of time.
    Keeper,
    /// The token must last at least this long, in seconds.
    MinTtl(u64),
    /// It is about to end.
    Stale,
    /// A server refused the access token of this fingerprint.
    Unauthorized(Fingerprint),
}

/// What the caller had in hand when it asked: what the store is compared with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Base {
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) account_id: Option<String>,
    pub(super) user_id: Option<String>,
    /// When the authority made its access token, by the authority's clock.
    pub(super) issued_at: Option<Timestamp>,
}

impl Base {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let Identity { account_id, user_id, .. } = snapshot.identity();
        let issued_at = snapshot.document().and_then(|document| document.access_claims().issued_at);
        Self { fingerprint: snapshot.fingerprint(), account_id, user_id, issued_at }
    }

    /// Whether `document`, of the same login, was made before what the caller has: a copy that somebody put back.
    pub(super) fn is_newer_than(&self, document: &AuthDocument) -> bool {
        let theirs = document.access_claims().issued_at;
        self.fingerprint.is_some()
            && self.fingerprint != document.fingerprint()
            && self.issued_at.zip(theirs).is_some_and(|(ours, theirs)| theirs < ours)
    }

    /// Whether `document`, which `state` is the record of, is the login that the caller had, as far as the caller knew one.
    /// Where an id is missing, only the spending of the caller's own token can tell.
    fn is_login_of(&self, document: &AuthDocument, state: &State) -> bool {
        let ours = Identity::new(self.account_id.clone(), self.user_id.clone());
        let theirs = document.identity();
        if document.tokens().is_none() || (self.fingerprint.is_none() && ours == Identity::default()) {
            return !ours.contradicts(&theirs);
        }
        let (one_token, descends) = self.fingerprint.map_or((false, false), |name| {
            (document.fingerprint() == Some(name), state.spent.contains(&name))
        });
        (one_token && !ours.is_another_user_than(&theirs))
            || (descends && !ours.contradicts(&theirs))
            || ours.is_same_login_as(&theirs)
    }
}

/// One refresh, from the lease to the state.
pub(super) struct Transaction<'a> {
    pub(super) engine: &'a Engine,
    pub(super) reason: Reason,
    pub(super) base: Base,
    pub(super) deadline: Deadline,
}

/// What a look at the store says.
enum Look {
    /// Nothing need be spent: this is what everybody uses now.
    Serve(Box<Snapshot>),
    /// The refresh token of this document is to be spent.
    Spend(Box<Stored>),
}

/// How one attempt ended.
enum Attempt {
    /// This is what the caller gets.
    Served(Box<Snapshot>),
    /// The home's link leads elsewhere since the request: the token `spent` was the document's at `from`.
    Elsewhere { spent: Fingerprint, from: Target },
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
            Attempt::Served(snapshot) => Ok(*snapshot),
            Attempt::Elsewhere { spent, from } => {
                self.catch_up(spent, &from, between)?;
                match self.attempt(between)? {
                    Attempt::Served(snapshot) => Ok(*snapshot),
                    Attempt::Elsewhere { .. } => Err(store::Error::Contended.into()),
                }
            }
        }
    }

    fn attempt(&self, between: &mut dyn FnMut(&Waiting<'_>) -> ControlFlow<()>) -> Result<Attempt, Error> {
        let served = |snapshot| Attempt::Served(Box::new(snapshot));
        let lease = match self.lease(between)? {
            Leased::Held(lease) => lease,
            Leased::GaveWay(outcome) => return outcome.map(served),
        };
        failpoint::at("leased");
        let mut writer = self.engine.stores()?.writer(&lease)?;
        finish::finish(self.engine, &mut writer)?;
        failpoint::at("rescue finished");
        let stored = match self.look(writer.stores(), writer.state())? {
            Look::Serve(snapshot) => return Ok(Attempt::Served(snapshot)),
            Look::Spend(stored) => stored,
        };
        let spending = self.may_spend(&stored, writer.state())?;
        if let Some(snapshot) = self.damped(&stored, writer.state())? {
            return Ok(served(snapshot));
        }
        let spent = spending.refresh_token.fingerprint();
        let reservation = reserve(&writer, &stored)?;
        failpoint::at("reserved");
        let spending = answer::Spending { engine: self.engine, stored: &stored, request: spending, writer };
        let outcome = spending.run(reservation);
        if lease.is_on_target() {
            return outcome.map(served);
        }
        Ok(Attempt::Elsewhere { spent, from: lease.target().clone() })
    }

    /// Under the lease of the document that the home has now.
    fn catch_up(
        &self,
        spent: Fingerprint,
        from: &Target,
        between: &mut dyn FnMut(&Waiting<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let lease = Lease::acquire_unless(&self.engine.home, &self.deadline, between)?;
        let Leased::Held(lease) = lease else { return Err(Error::Interrupted) };
        let mut writer = self.engine.stores()?.writer(&lease)?;
        finish::finish(self.engine, &mut writer)?;
        Ok(writer.catch_up(from, spent, self.engine.clock.now())?)
    }

    /// Waits for the lease. A waiter needs a token and not the lease: it looks whenever the generation changes, adopts a
    /// commit, takes a failure that it waited through as its own, and leaves.
    fn lease(
        &self,
        caller: &mut dyn FnMut(&Waiting<'_>) -> ControlFlow<()>,
    ) -> Result<Leased<Result<Snapshot, Error>>, Error> {
        let before = State::read(&self.engine.home)?.0.generation;
        let mut seen = State::stamp(&self.engine.home)?;
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
        let stamp = State::stamp(&self.engine.home).ok()?;
        if stamp == *seen {
            return None;
        }
        *seen = stamp;
        let (state, _) = State::read(&self.engine.home).ok()?;
        if state.generation == before {
            return None;
        }
        let stores = self.engine.stores().ok()?;
        match self.look(&stores, &state) {
            Ok(Look::Serve(snapshot)) => Some(Ok(*snapshot)),
            Ok(Look::Spend(stored)) => self.failed_meanwhile(&stored, &state).map(Err),
            Err(error @ (Error::LoggedOut | Error::OtherAccount | Error::OldCopy)) => Some(Err(error)),
            Err(_) => None,
        }
    }

    /// The failure of somebody else's attempt at the very same token.
    fn failed_meanwhile(&self, stored: &Stored, state: &State) -> Option<Error> {
        let fingerprint = stored.document.fingerprint()?;
        let now = self.engine.clock.now();
        if let Some(poison) = poison_of(state, &stored.document, self.engine, now) {
            return Some(Error::Poisoned(Box::new(poison)));
        }
        let outcome = state.outcome.as_ref().filter(|outcome| outcome.fingerprint == fingerprint)?;
        match outcome.ending {
            Ending::Transient | Ending::Unknown => {
                let left = outcome.back_off(now)?;
                Some(Error::BackingOff { left, message: outcome.message.clone() })
            }
            _ => None,
        }
    }

    /// Compares what is stored with what the caller had, by identity and lineage.
    fn look(&self, stores: &Stores, state: &State) -> Result<Look, Error> {
        let stored = stores.find()?.stored.ok_or(Error::LoggedOut)?;
        let document = &stored.document;
        let ours = self.base.is_login_of(document, state);
        if !ours && (self.engine.policy == AccountPolicy::Stay || self.is_recovery()) {
            return Err(Error::OtherAccount);
        }
        let fingerprint = document.fingerprint();
        if fingerprint.is_some_and(|fingerprint| state.spent.contains(&fingerprint)) {
            // A token that was refused for good counts as spent, and has a better word for it.
            let now = self.engine.clock.now();
            let poison = poison_of(state, document, self.engine, now);
            return Err(poison.map_or(Error::OldCopy, |poison| Error::Poisoned(Box::new(poison))));
        }
        if ours && self.base.is_newer_than(document) {
            return Err(Error::OldCopy);
        }
        let moved = !ours || fingerprint != self.base.fingerprint;
        let snapshot = || Look::Serve(Box::new(Snapshot::recorded(stored.clone(), state)));
        Ok(if self.is_served_by(document, moved) { snapshot() } else { Look::Spend(Box::new(stored)) })
    }

    /// Whether `document` is what the caller wants, with nothing spent.
    fn is_served_by(&self, document: &AuthDocument, moved: bool) -> bool {
        let now = self.engine.clock.now();
        if document.bearer().is_none() || ended(document, now) {
            return false;
        }
        let fresh = document.freshness(now) == Freshness::Fresh;
        match self.reason {
            Reason::Forced => moved,
            // The keeper asks long before a token is stale; only a new one will do.
            Reason::Keeper => moved && fresh,
            Reason::MinTtl(seconds) => {
                let lasts = document.expires_at(now).is_none_or(|end| {
                    end.duration_since(now).as_secs() >= i64::try_from(seconds).unwrap_or(i64::MAX)
                });
                lasts || (moved && fresh)
            }
            Reason::Stale => fresh,
            Reason::Unauthorized(refused) => {
                document.bearer().is_some_and(|bearer| bearer.fingerprint() != refused)
            }
        }
    }

    /// What would be sent, unless the token is known to be dead or the authority is to be left alone.
    fn may_spend(&self, stored: &Stored, state: &State) -> Result<Refresh, Error> {
        let document = &stored.document;
        let refresh = request(self.engine, document, self.reason)?;
        let now = self.engine.clock.now();
        if let Some(poison) = poison_of(state, document, self.engine, now) {
            // A failure that may pass is worth one more try to a person who asks for it.
            if !(self.reason == Reason::Forced && poison.until.is_some()) {
                return Err(Error::Poisoned(Box::new(poison)));
            }
        }
        let outcome =
            state.outcome.as_ref().filter(|outcome| Some(outcome.fingerprint) == document.fingerprint());
        match outcome.and_then(|outcome| Some((outcome.back_off(now)?, &outcome.message))) {
            Some((left, message)) if self.reason != Reason::Forced => {
                Err(Error::BackingOff { left, message: message.clone() })
            }
            _ => Ok(refresh),
        }
    }

    /// The damper: what has only just been received is served as it is, or not at all.
    fn damped(&self, stored: &Stored, state: &State) -> Result<Option<Snapshot>, Error> {
        let now = self.engine.clock.now();
        let just_received =
            state.received_at.is_some_and(|received| now.duration_since(received).abs() < DAMPER);
        if self.reason == Reason::Forced || !just_received {
            return Ok(None);
        }
        let refused = match self.reason {
            Reason::Unauthorized(refused) => {
                stored.document.bearer().map(Secret::fingerprint) == Some(refused)
            }
            _ => false,
        };
        if ended(&stored.document, now) || refused {
            return Err(Error::JustReceived);
        }
        Ok(Some(Snapshot::recorded(stored.clone(), state)))
    }

    fn is_recovery(&self) -> bool {
        matches!(self.reason, Reason::Unauthorized(_))
    }
}

/// The request that would spend the refresh token of `document`.
pub(super) fn request(engine: &Engine, document: &AuthDocument, reason: Reason) -> Result<Refresh, Error> {
    let why = match reason {
        Reason::Forced => RefreshReason::Forced,
        Reason::Unauthorized(_) => RefreshReason::UnauthorizedRecovery,
        _ if document.access_claims().expires_at.is_none() => RefreshReason::Scheduled,
        _ => RefreshReason::ProactiveExpiry,
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
fn poison_of(state: &State, document: &AuthDocument, engine: &Engine, now: Timestamp) -> Option<Poison> {
    let poison = state.poison.clone().filter(|poison| Some(poison.fingerprint) == document.fingerprint())?;
    let request = request(engine, document, Reason::Stale).ok()?;
    let same = poison.endpoint == request.endpoint.to_string() && poison.client_id == request.client_id;
    (same && poison.holds(now)).then_some(poison)
}

/// Proves that the answer can be saved: in the rescue at once, and then in the store it belongs to.
fn reserve(writer: &Writer<'_>, stored: &Stored) -> Result<Reservation, Error> {
    let (kind, stores) = (stored.location.kind(), writer.stores());
    let store = stores.store(kind);
    store.check_write(stores.deadline())?;
    store.prove_write()?;
    let seal = Seal::make(writer.lease(), kind, &stores.keychain(), stores.deadline())?;
    Ok(Reservation::make(writer.lease(), seal)?)
}

fn ended(document: &AuthDocument, now: Timestamp) -> bool {
    document.expires_at(now).is_some_and(|end| end <= now)
}
