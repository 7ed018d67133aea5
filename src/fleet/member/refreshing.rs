//! A refresh that a user or a program asks for.

use std::time::Duration;

use codex_auth_platform::boot_clock::BootTime;
use tokio::time::{Instant, timeout_at};

use super::Member;
use super::ask::Ask;
use super::engine::{LeadershipUse, MemberEngine};
use super::error::MemberError;
use super::paced_watch::PacedWatch;
use super::posted::passed;
use crate::authority::StaleTokenReason;
use crate::fleet::record::SharedRecord;
use crate::fleet::record_error::RefusedChange;
use crate::fleet::sealed::FleetKey;
use crate::fleet::shared_store::Change;

/// How often a change by other members is followed at most.
const MAX_TRIES: usize = 8;

/// Between two looks while another member must act, if nothing is noticed.
const LONGEST_REST: Duration = Duration::from_secs(10);
const SHORTEST_REST: Duration = Duration::from_millis(200);

/// What one try of a refresh has reached.
enum RefreshStep {
    /// The record has another token than the one that was seen.
    Newer,
    /// The record changed; look again.
    Again,
    /// Another member or time must help; look again after `rest`. If nothing helps, this is the error.
    Wait { error: MemberError, rest: Duration },
}

/// Waits until the record has another token than that of generation `seen`, and sees to it.
pub(super) async fn refresh(member: &Member, seen: u64, limit: Duration) -> Result<(), MemberError> {
    let ends = Instant::now() + limit;
    let refreshed = until_newer(member, seen, ends).await;
    let _ = member
        .with(|mut engine| async move {
            match engine.leadership_use {
                LeadershipUse::Kept => Ok(()),
                LeadershipUse::Once => engine.resign().await,
            }
        })
        .await;
    refreshed
}

async fn until_newer(member: &Member, seen: u64, ends: Instant) -> Result<(), MemberError> {
    let (store, names) = {
        let engine = member.engine.lock().await;
        (engine.parts.store.clone(), engine.names.clone())
    };
    let mut record = PacedWatch::of(&store, &names.record);
    let mut leader = PacedWatch::of(&store, &names.leader);
    loop {
        match member.with(move |mut engine| async move { engine.try_refresh(seen).await }).await? {
            RefreshStep::Newer => return Ok(()),
            RefreshStep::Again if Instant::now() < ends => {}
            RefreshStep::Again => return Err(MemberError::Contended),
            RefreshStep::Wait { error, rest } => {
                let due = passed(BootTime::now() + rest.max(SHORTEST_REST));
                let noticed = async {
                    // An error of a watch is not one of the refresh, which looks by itself.
                    tokio::select! {
                        _ = record.next() => {}
                        _ = leader.next() => {}
                        () = due => {}
                    }
                };
                if timeout_at(ends, noticed).await.is_err() {
                    return Err(error);
                }
            }
        }
    }
}

impl MemberEngine {
    async fn try_refresh(&mut self, seen: u64) -> Result<RefreshStep, MemberError> {
        match self.advance().await {
            Err(error @ MemberError::Restored) => {
                return Ok(RefreshStep::Wait { error, rest: self.parts.timings.poll });
            }
            advanced => advanced?,
        }
        let record = self.required_record()?;
        if record.is_logged_out() {
            return Err(MemberError::LoggedOut);
        }
        let generation = record.order().generation;
        if generation > seen {
            return Ok(RefreshStep::Newer);
        }
        if let Some(poison) = record.poison() {
            return Err(MemberError::Poisoned(poison));
        }
        if let Some(intent) = record.intent() {
            let error = MemberError::Unsettled { member: intent.member.clone() };
            let rest = self.until_succession().unwrap_or(LONGEST_REST);
            return Ok(RefreshStep::Wait { error, rest });
        }
        if self.lead().await? {
            self.claim_now(generation).await?;
            return Ok(RefreshStep::Again);
        }
        let Some(leader) = self.leader.clone() else { return Ok(RefreshStep::Again) };
        self.ask(generation).await?;
        Ok(RefreshStep::Wait { error: MemberError::NoAnswer { leader: leader.member }, rest: LONGEST_REST })
    }

    /// Refreshes; a request that failed is withdrawn or reported before this returns its error.
    async fn claim_now(&mut self, generation: u64) -> Result<(), MemberError> {
        let claimed = self.claim(generation, StaleTokenReason::Forced).await;
        if claimed.is_err() {
            let _ = self.advance().await;
        }
        // Where the refusal was final, only a new login helps.
        match (claimed, self.record().and_then(SharedRecord::poison)) {
            (Err(MemberError::Authority(_)), Some(poison)) => Err(MemberError::Poisoned(poison)),
            (claimed, _) => claimed.map(drop),
        }
    }

    /// Asks the refresher for another token than that of `generation`.
    async fn ask(&mut self, generation: u64) -> Result<(), MemberError> {
        let ask = Ask { generation, member: self.parts.name.clone() };
        let (key, bytes) = (self.names.ask.clone(), serde_json::to_vec(&ask).unwrap_or_default());
        let put = Change::Put { key, bytes, lease: None };
        match self.parts.store.commit(&[], &[put]).await {
            // To ask twice is the same as to ask once.
            Err(error) if error.is_unknown() => Ok(()),
            outcome => Ok(outcome.map(drop)?),
        }
    }

    /// Adds the key of the next epoch.
    pub(super) fn add_key(&mut self, key: FleetKey) -> Result<(), MemberError> {
        self.parts.keys = self.parts.keys.clone().with(key);
        self.responses.set_keys(self.parts.keys.clone());
        Ok(())
    }

    /// Refreshes under the next key, and commits.
    pub(super) async fn rekey_now(&mut self) -> Result<(), MemberError> {
        let epoch = self.required_record()?.order().epoch;
        for _ in 0..MAX_TRIES {
            let record = self.required_record()?;
            if record.order().epoch > epoch && record.intent().is_none() {
                return Ok(());
            }
            if let Some(poison) = record.poison() {
                return Err(MemberError::Poisoned(poison));
            }
            if let Some(intent) = record.intent() {
                return Err(MemberError::Unsettled { member: intent.member.clone() });
            }
            if !self.lead().await? {
                let leader = self.leader.clone().ok_or(MemberError::Contended)?;
                return Err(MemberError::OtherRefresher { leader: leader.member });
            }
            let announced = self.rekey().await;
            let advanced = self.advance().await;
            announced?;
            advanced?;
        }
        Err(MemberError::Refused(RefusedChange::Claimed))
    }
}
