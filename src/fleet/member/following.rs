//! What a member does all the time: it follows the record, becomes the refresher, and refreshes ahead of time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use codex_auth_platform::boot_clock::BootTime;
use tokio::sync::Mutex;

use super::ask::Ask;
use super::back_off::BackOff;
use super::engine::{LeadershipUse, MemberEngine};
use super::error::MemberError;
use super::leadership::LeaderValue;
use super::paced_watch::PacedWatch;
use super::parts::{KeyNames, MemberParts};
use super::posted::passed;
use crate::authority::StaleTokenReason;
use crate::backoff::{exponential, jittered};
use crate::fleet::intent::SpendAttempt;
use crate::fleet::key_watch::{Continuity, Observation};

/// The pause after the first failure, and the longest one, before jitter.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const SHORTEST_REST: Duration = Duration::from_millis(200);
/// The longest time without a look.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// What a member has noticed.
enum Notice {
    Record(Observation),
    Leader(Observation),
    Ask(Observation),
    /// The time for the next step has come, or a watch has failed.
    Time,
}

/// Follows the fleet until the future is dropped.
pub(super) async fn follow(engine: Arc<Mutex<MemberEngine>>) -> Infallible {
    let parts = {
        let mut engine = engine.lock().await;
        engine.leadership_use = LeadershipUse::Kept;
        engine.parts.clone()
    };
    let MemberParts { store, prefix, .. } = parts;
    let names = KeyNames::of(&prefix);
    let mut record = PacedWatch::of(&store, &names.record);
    let mut leader = PacedWatch::of(&store, &names.leader);
    let mut ask = PacedWatch::of(&store, &names.ask);
    let mut failures = 0;
    let mut notice = Notice::Time;
    loop {
        let task = turn(Arc::clone(&engine), notice);
        // A turn goes on if this future is dropped.
        let rest = match tokio::spawn(task).await.unwrap_or(Err(MemberError::Internal)) {
            Ok(rest) => {
                failures = 0;
                rest.min(LONGEST_REST)
            }
            Err(error) => {
                tracing::warn!(%error, "fleet: this host cannot take part now");
                failures += 1;
                jittered(exponential(FIRST_PAUSE, LONGEST_PAUSE, failures))
            }
        };
        let due = passed(BootTime::now() + rest);
        notice = tokio::select! {
            seen = record.next() => seen.map_or(Notice::Time, Notice::Record),
            seen = leader.next() => seen.map_or(Notice::Time, Notice::Leader),
            seen = ask.next() => seen.map_or(Notice::Time, Notice::Ask),
            () = due => Notice::Time,
        };
    }
}

/// Does what can be done now, and returns how long to rest.
async fn turn(engine: Arc<Mutex<MemberEngine>>, notice: Notice) -> Result<Duration, MemberError> {
    let mut engine = engine.lock().await;
    engine.note(notice);
    let turned = engine.turn().await;
    let problem = turned.as_ref().err().map(ToString::to_string);
    engine.state.send_if_modified(|state| {
        let is_new = state.problem != problem;
        state.problem = problem;
        is_new
    });
    engine.publish();
    turned
}

impl MemberEngine {
    fn note(&mut self, notice: Notice) {
        match notice {
            // The stream was connected all the time, so the record was the newest one until now.
            Notice::Record(Observation { continuity: Continuity::Unbroken, .. }) => {
                self.last_look = Some(BootTime::now());
            }
            Notice::Leader(Observation { read, .. }) => {
                let value = read.value.map(|value| value.bytes);
                self.leader = value.as_deref().and_then(LeaderValue::parse);
                self.publish();
            }
            Notice::Ask(Observation { read, .. }) => {
                let ask = read.value.and_then(|value| Ask::parse(&value.bytes));
                self.asked = ask.map(|ask| ask.generation);
            }
            Notice::Record(_) | Notice::Time => {}
        }
    }

    async fn turn(&mut self) -> Result<Duration, MemberError> {
        if let Some(leadership) = &mut self.leadership
            && leadership.renewal().remaining().is_zero()
            && let Err(error) = leadership.renew(&self.parts.store).await
        {
            tracing::debug!(%error, "fleet: the lease of the refresher is not renewed");
            self.check_leadership().await?;
        }
        match self.advance().await {
            // Nothing is spent meanwhile.
            Err(MemberError::Restored) => return Ok(self.parts.timings.poll),
            // An error of the authority has its own pause, and the intent is withdrawn in the next turn.
            Err(error) => return Err(error),
            Ok(()) => {}
        }
        if !self.is_claimable() {
            return Ok(self.rest());
        }
        let is_led = self.leader.as_ref().is_some_and(|leader| leader.member != self.parts.name);
        if self.leadership.is_none() && (is_led || !self.lead().await?) {
            return Ok(self.rest());
        }
        if let Some(reason) = self.due_reason() {
            let generation = self.required_record()?.order().generation;
            let claimed = self.claim(generation, reason).await;
            if let Err(error) = &claimed {
                self.back_off.fail_after(error);
                // Withdraws or reports it, and lets another member try.
                self.advance().await?;
                self.resign().await?;
            }
            claimed?;
            self.advance().await?;
        }
        Ok(self.rest())
    }

    /// Whether this member may become the refresher, and the refresher may announce the token.
    fn is_claimable(&self) -> bool {
        let is_own_business =
            self.response.is_some() || self.login.pending.is_some() || self.refusal.is_some();
        let record = self.record().filter(|record| !record.is_logged_out() && record.poison().is_none());
        record.is_some_and(|record| match record.intent() {
            None => !is_own_business && self.back_off.remaining().is_zero(),
            // The former holder lets another member confirm its refusal.
            Some(intent) => intent.attempt != SpendAttempt::Refused || intent.member != self.parts.name,
        })
    }

    /// Returns why the token is to be refreshed now.
    fn due_reason(&self) -> Option<StaleTokenReason> {
        let record = self.record().filter(|record| record.intent().is_none())?;
        let due = self.token.and_then(|token| token.until_due(record.document(), self.spread));
        match due {
            Some(left) if left.is_zero() => Some(StaleTokenReason::ProactiveExpiry),
            _ if self.asked == Some(record.order().generation) => Some(StaleTokenReason::Forced),
            _ => None,
        }
    }

    /// Returns how long until the next step of this member, if nothing happens.
    fn rest(&self) -> Duration {
        let mut times = Vec::new();
        if let Some(leadership) = &self.leadership {
            times.push(leadership.renewal().remaining());
            let record = self.record().filter(|record| record.intent().is_none());
            let due = record
                .zip(self.token)
                .and_then(|(record, token)| token.until_due(record.document(), self.spread));
            times.extend(due);
        }
        times.extend(self.until_succession());
        let pauses = [&self.back_off, &self.login_back_off];
        let rest = times.into_iter().min().unwrap_or(LONGEST_REST);
        let pauses = pauses.into_iter().map(BackOff::remaining).filter(|left| !left.is_zero());
        // What is due during a pause waits for its end.
        let rest = pauses.min().map_or(rest, |pause| if rest.is_zero() { pause } else { rest.min(pause) });
        // What is due and was not done waits for another member, whose change is noticed.
        rest.max(SHORTEST_REST)
    }
}
