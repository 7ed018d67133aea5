//! What is done with the authority's answer: save it first, commit it, and never mistake silence for a no.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;

use super::engine::{AccountPolicy, Engine, block_on};
use super::error::Error;
use super::finish::take_back;
use super::snapshot::{Departure, Snapshot};
use crate::authority::{self, Hold, Kind, Reason as Refusal, Refresh, TokenResponse};
use crate::config::StoreKind;
use crate::failpoint;
use crate::secret::Fingerprint;
use crate::store::rescue::{self, Rescue, Reservation};
use crate::store::{
    self, Cause, Committed, Ending, LONGEST_BACK_OFF, Lease, Outcome, Poison, State, Stored, Stores,
    look_between_commits,
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
pub(super) struct Spending<'a> {
    pub(super) engine: &'a Engine,
    pub(super) lease: &'a Lease,
    pub(super) stores: &'a Stores,
    pub(super) stored: &'a Stored,
    pub(super) request: Refresh,
}

impl Spending<'_> {
    pub(super) fn run(self, state: &mut State, reservation: Reservation) -> Result<Snapshot, Error> {
        let mut answer = self.send()?;
        if answer.as_ref().is_err_and(|error| error.kind() == Kind::Unknown) {
            // It may have been spent, by us or by whoever was quicker. One retry tells, unless the store does.
            if let Some(stored) = self.moved()? {
                return self.adopt(state, stored);
            }
            answer = self.send()?;
        }
        failpoint::at("answered");
        match answer {
            Ok(response) => self.received(state, reservation, response),
            Err(error) => self.failed(state, error),
        }
    }

    fn send(&self) -> Result<Result<TokenResponse, authority::Error>, Error> {
        failpoint::at("sending");
        block_on(self.engine.authority.refresh(&self.request))
    }

    fn parent(&self) -> Fingerprint {
        self.request.refresh_token.fingerprint()
    }

    fn received(
        &self,
        state: &mut State,
        reservation: Reservation,
        response: TokenResponse,
    ) -> Result<Snapshot, Error> {
        let identity = self.stored.document.identity();
        let wrong = !response.identity().matches(&identity);
        let barren = response.access_token.is_none();
        let now = self.engine.clock.now();
        let rescue = Rescue::new(&self.stored.document, self.parent(), response.into(), now);
        let rescue = if wrong { rescue.refused() } else { rescue };
        // Against its promise the rescue may fail; then the commit is all that is left to try.
        let kept = reservation.keep(&rescue);
        failpoint::at("rescued");
        if wrong {
            take_back(self.engine, &rescue);
            state.spend(self.parent());
            state.outcome = Some(Outcome::committed(self.parent(), rescue.received_at));
            state.write(self.lease)?;
            rescue::clear(self.lease)?;
            return Err(Error::WrongAccount);
        }
        match store::commit(self.lease, self.stores, self.stored, &rescue) {
            Ok(Committed::Stored) => {
                failpoint::at("committed");
                store::record(state, &rescue);
                // If this cannot be written the rescue stays, and the next holder records it.
                if state.write(self.lease).is_ok() {
                    failpoint::at("recorded");
                    let _ = rescue::clear(self.lease);
                }
                failpoint::at("cleared");
                if barren { Err(Error::NoAccessToken) } else { self.serve_what_is_there() }
            }
            Ok(Committed::Overtaken) => {
                store::record(state, &rescue);
                state.write(self.lease)?;
                rescue::clear(self.lease)?;
                self.serve_what_is_there()
            }
            Ok(Committed::Moved) => {
                // A logout, a new login, or a program that won: never over the newer document.
                store::record(state, &rescue);
                state.write(self.lease)?;
                let stored = self.stores.find()?.stored;
                if rescue.is_foreign_to(stored.as_ref().map(|stored| &stored.document)) {
                    take_back(self.engine, &rescue);
                }
                rescue::clear(self.lease)?;
                self.serve_what_is_there()
            }
            Err(error) => {
                kept?;
                match self.stored.document.with_successor(&rescue.tokens, rescue.received_at) {
                    Ok(document) => {
                        let stored = Stored { document, ..self.stored.clone() };
                        Ok(Snapshot::new(Some(stored), None)
                            .departed(Departure::Uncommitted(Arc::new(error))))
                    }
                    Err(_) => Err(Error::Uncommitted(Arc::new(error))),
                }
            }
        }
    }

    fn failed(&self, state: &mut State, error: authority::Error) -> Result<Snapshot, Error> {
        match &error {
            authority::Error::Permanent { reason, hold, code, .. } => {
                if *reason == Refusal::Reused
                    && let Some(stored) = self.await_successor()?
                {
                    return self.adopt(state, stored);
                }
                // Whoever is in the middle of a commit has the locks; after this look nobody is.
                let look = look_between_commits(self.lease, &*self.store())?;
                if let Some(stored) = self.judge(look)? {
                    return self.adopt(state, stored);
                }
                Err(self.poison(state, *reason, *hold, code.clone()))
            }
            authority::Error::Transient { retry_after, .. } => {
                let asked = *retry_after;
                Err(self.back_off(state, Ending::Transient, asked, error))
            }
            authority::Error::Unknown { .. } => {
                if let Some(stored) = self.moved()? {
                    return self.adopt(state, stored);
                }
                Err(self.back_off(state, Ending::Unknown, None, error))
            }
            // Nothing was sent, and nothing that anybody else should know of has happened.
            _ => Err(error.into()),
        }
    }

    /// Somebody has the successor and may not have committed it: looks on every change until it moves or the grace is
    /// over.
    fn await_successor(&self) -> Result<Option<Stored>, Error> {
        let mut watch = Watch::on(store::watched(self.lease.home()));
        let ends = Instant::now() + GRACE;
        loop {
            if let Some(stored) = self.moved()? {
                return Ok(Some(stored));
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
    fn moved(&self) -> Result<Option<Stored>, Error> {
        self.judge(self.stores.find()?.stored)
    }

    fn judge(&self, stored: Option<Stored>) -> Result<Option<Stored>, Error> {
        let stored = self.acceptable(stored)?;
        let moved = stored.document.fingerprint() != Some(self.parent());
        Ok(moved.then_some(stored))
    }

    fn serve_what_is_there(&self) -> Result<Snapshot, Error> {
        let stored = self.acceptable(self.stores.find()?.stored)?;
        Ok(Snapshot::new(Some(stored), None))
    }

    fn acceptable(&self, stored: Option<Stored>) -> Result<Stored, Error> {
        let stored = stored.ok_or(Error::LoggedOut)?;
        let same = stored.document.identity().matches(&self.stored.document.identity());
        if !same && self.engine.policy == AccountPolicy::Stay {
            return Err(Error::OtherAccount);
        }
        Ok(stored)
    }

    /// Takes over what somebody else committed, and tells those who wait.
    fn adopt(&self, state: &mut State, stored: Stored) -> Result<Snapshot, Error> {
        state.spend(self.parent());
        state.poison = None;
        state.outcome = Some(Outcome::committed(self.parent(), self.engine.clock.now()));
        state.write_adopted(self.lease)?;
        Ok(Snapshot::new(Some(stored), None))
    }

    fn poison(&self, state: &mut State, reason: Refusal, hold: Hold, code: Option<String>) -> Error {
        let at = self.engine.clock.now();
        let poison = Poison {
            fingerprint: self.parent(),
            endpoint: self.request.endpoint.to_string(),
            client_id: self.request.client_id.clone(),
            cause: match reason {
                Refusal::Expired => Cause::Expired,
                Refusal::Reused => Cause::Reused,
                Refusal::Revoked => Cause::Revoked,
                _ => Cause::Other,
            },
            code,
            at,
            until: hold.duration().and_then(|hold| at.checked_add(hold).ok()),
        };
        if poison.until.is_none() {
            state.spend(self.parent());
        }
        state.poison = Some(poison.clone());
        state.outcome = Some(Outcome { ending: Ending::Refused, ..Outcome::committed(self.parent(), at) });
        // A poison that cannot be recorded is this process's own knowledge all the same.
        let _ = state.write(self.lease);
        Error::Poisoned(Box::new(poison))
    }

    fn back_off(
        &self,
        state: &mut State,
        ending: Ending,
        asked: Option<Duration>,
        error: authority::Error,
    ) -> Error {
        let at = self.engine.clock.now();
        let before = state.outcome.as_ref().filter(|outcome| outcome.fingerprint == self.parent());
        let failures = before.map_or(0, |outcome| outcome.failures) + 1;
        let pause = match asked {
            Some(asked) => SignedDuration::try_from(asked).unwrap_or(LONGEST_BACK_OFF).min(LONGEST_BACK_OFF),
            None => jittered((FIRST_PAUSE * 2_i32.pow(failures.min(8) - 1)).min(LONGEST_PAUSE)),
        };
        let mut retry_at = at.checked_add(pause).ok();
        if ending == Ending::Unknown {
            // It may have been spent: while the access token lives there is nothing to win by asking again.
            retry_at = retry_at.max(self.stored.document.expires_at());
        }
        let message = error.to_string();
        state.outcome =
            Some(Outcome { ending, retry_at, failures, message, ..Outcome::committed(self.parent(), at) });
        let _ = state.write(self.lease);
        error.into()
    }

    fn store(&self) -> Box<dyn store::Store> {
        self.stores.store(self.stored.location.kind(), None)
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
