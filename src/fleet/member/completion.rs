//! Brings a member to rest: completes what it, or a killed process before it, has begun, and succeeds a member that is
//! gone.
//!
//! The functions are named after the steps of the model: [`MemberEngine::commit`], [`MemberEngine::report`], [`MemberEngine::withdraw`],
//! `clear_response` (the model's `clear_rescue`), [`MemberEngine::discard`], `mark_lost`.

use std::time::Duration;

use super::engine::{MemberEngine, Role, WriteOutcome};
use super::error::MemberError;
use super::spending::AnnouncementOutcome;
use crate::failpoint;
use crate::fleet::intent::{SpendAttempt, SpendIntent};
use crate::fleet::record::SharedRecord;
use crate::fleet::record_error::RefusedChange;
use crate::secret::Fingerprint;

/// How many steps one call takes at most. A member that is alone needs three.
const MAX_STEPS: usize = 32;

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StepOutcome {
    /// The record or the member has changed: look for the next step.
    Changed,
    /// There is nothing to do now.
    AtRest,
}

impl MemberEngine {
    /// Reads the record, and takes every step that can be taken now. Then the member owns no unannounced response, and
    /// the record has no intent of this member that it knows not to have carried out.
    pub(super) async fn advance(&mut self) -> Result<(), MemberError> {
        self.look().await?;
        self.settle()?;
        for _ in 0..MAX_STEPS {
            if self.step().await? == StepOutcome::AtRest {
                self.publish();
                return Ok(());
            }
        }
        Err(MemberError::Contended)
    }

    async fn step(&mut self) -> Result<StepOutcome, MemberError> {
        if self.login.pending.is_some() && self.advance_login().await? {
            return Ok(StepOutcome::Changed);
        }
        let Some(record) = self.record().cloned() else { return Ok(StepOutcome::AtRest) };
        if let Some(refusal) = self.refusal {
            return self.report(&record, refusal.is_final).await;
        }
        if self.response.is_some()
            && let Some(outcome) = self.advance_response(&record).await?
        {
            return Ok(outcome);
        }
        if record.is_logged_out() {
            self.revoke_record(&record).await;
            return Ok(StepOutcome::AtRest);
        }
        match record.intent().cloned() {
            Some(intent) if intent.member == self.parts.name && self.is_unposted(&intent) => {
                self.withdraw(&record, &intent).await
            }
            Some(intent) => self.succeed_or_wait(&record, &intent).await,
            None => Ok(StepOutcome::AtRest),
        }
    }

    /// Whether this member's `intent` was provably not carried out.
    fn is_unposted(&self, intent: &SpendIntent) -> bool {
        let is_saved = self.response.as_ref().is_some_and(|saved| saved.response.parent == intent.spends);
        !is_saved && !self.journal.may_have_posted(intent) && intent.attempt != SpendAttempt::Refused
    }

    async fn withdraw(
        &mut self,
        record: &SharedRecord,
        intent: &SpendIntent,
    ) -> Result<StepOutcome, MemberError> {
        tracing::debug!(spends = %intent.spends, "fleet: withdrawing an intent that was not carried out");
        let new = record.withdrawn(intent.id).map_err(MemberError::Refused)?;
        self.write(new, Role::Member).await?;
        Ok(StepOutcome::Changed)
    }

    /// Does what can be done with the response that is not in the record yet; `None` if the record decides on.
    async fn advance_response(&mut self, record: &SharedRecord) -> Result<Option<StepOutcome>, MemberError> {
        let Some(saved) = self.response.clone() else { return Ok(None) };
        let response = saved.response;
        let child = response.child();
        if child
            .is_some_and(|child| record.document().fingerprint() == Some(child) || record.has_spent(child))
        {
            self.clear_response(response.parent)?;
            return Ok(Some(StepOutcome::Changed));
        }
        if record.is_logged_out() || record.login_id() != response.login_id {
            return self.discard(response.parent).await.map(Some);
        }
        let mine = record.intent().filter(|intent| intent.member == self.parts.name);
        if let Some(intent) = mine.filter(|intent| intent.spends == response.parent) {
            return self.commit(record, intent).await.map(Some);
        }
        let is_free = record.poison().is_some() && record.intent().is_none();
        let is_unsent = child.is_some_and(|child| !self.journal.may_have_sent(child));
        let is_successor = record.document().fingerprint() == Some(response.parent);
        if is_free && is_unsent && is_successor && self.back_off.remaining().is_zero() {
            tracing::info!("fleet: presenting a late response");
            let announced = self.present(&response.document).await;
            return self.after_announcement(announced).map(Some);
        }
        Ok(None)
    }

    /// Goes on after an announcement. A request that failed is withdrawn or reported next.
    fn after_announcement(
        &mut self,
        announced: Result<AnnouncementOutcome, MemberError>,
    ) -> Result<StepOutcome, MemberError> {
        match announced {
            Ok(AnnouncementOutcome::Saved) => Ok(StepOutcome::Changed),
            Ok(AnnouncementOutcome::NotAnnounced) => Ok(StepOutcome::AtRest),
            Err(error) if error.is_of_authority() => {
                tracing::warn!(%error, "fleet: the refresh failed");
                self.back_off.fail_after(&error);
                Ok(StepOutcome::Changed)
            }
            Err(error) => Err(error),
        }
    }

    async fn commit(
        &mut self,
        record: &SharedRecord,
        intent: &SpendIntent,
    ) -> Result<StepOutcome, MemberError> {
        let Some(saved) = &self.response else { return Ok(StepOutcome::AtRest) };
        let document = saved.response.document.clone();
        let new = record.committed(intent.id, document).map_err(MemberError::Refused)?;
        failpoint::at("fleet-committing");
        if self.write(new, Role::Member).await? == WriteOutcome::Written {
            let token = self.record().map(|record| record.order().generation);
            tracing::info!(token, "fleet: refreshed");
        }
        Ok(StepOutcome::Changed)
    }

    /// Removes the response, which a read has shown in the record.
    fn clear_response(&mut self, parent: Fingerprint) -> Result<(), MemberError> {
        self.responses.remove(parent)?;
        failpoint::at("fleet-cleared");
        self.response = None;
        self.journal.clear()?;
        self.publish();
        Ok(())
    }

    /// Revokes the response, whose login has ended.
    async fn discard(&mut self, parent: Fingerprint) -> Result<StepOutcome, MemberError> {
        if let Some(saved) = self.response.clone() {
            tracing::info!("fleet: revoking tokens of a login that has ended");
            if !self.try_revoke(&saved.response.document).await {
                return Ok(StepOutcome::AtRest);
            }
        }
        self.clear_response(parent)?;
        Ok(StepOutcome::Changed)
    }

    /// Records a refusal, unless the record has it or another login.
    async fn report(&mut self, record: &SharedRecord, is_final: bool) -> Result<StepOutcome, MemberError> {
        let Some(refusal) = self.refusal else { return Ok(StepOutcome::AtRest) };
        let intent = record.intent().filter(|intent| intent.id == refusal.intent);
        let Some(intent) = intent.filter(|intent| intent.attempt != SpendAttempt::Refused) else {
            // The response that was presented in vain, if this was one, is of no use; the journal keeps its entry.
            let is_presented = |child: Fingerprint| self.journal.may_have_sent(child);
            let presented =
                self.response.as_ref().filter(|saved| saved.response.child().is_some_and(is_presented));
            if let Some(parent) = presented.map(|saved| saved.response.parent) {
                self.responses.remove(parent)?;
                self.response = None;
            }
            self.refusal = None;
            // Another member confirms it, and must be able to lead.
            self.resign().await?;
            return Ok(StepOutcome::Changed);
        };
        let new = record.refused(intent.id, is_final).map_err(MemberError::Refused)?;
        self.write(new, Role::Member).await?;
        Ok(StepOutcome::Changed)
    }

    /// Returns how long until the outcome of `intent` counts as unknown for ever: the lease, the deadline and the margin,
    /// on this member's own clock, from when it has seen the intent.
    fn until_waited(&self, intent: &SpendIntent) -> Duration {
        let timings = self.parts.timings;
        let whole = timings.lease + timings.request + timings.margin;
        self.watched
            .filter(|(id, _)| *id == intent.id)
            .map_or(whole, |(_, since)| (since + whole).remaining())
    }

    /// Returns how long until this member may do something about an intent; `None` if only its owner may.
    pub(super) fn until_succession(&self) -> Option<Duration> {
        let record = self.record()?;
        let intent = record.intent()?;
        let is_last = matches!(intent.attempt, SpendAttempt::Second { .. })
            || Some(intent.spends) != record.document().fingerprint();
        match intent.attempt {
            _ if self.login.pending.is_some() || record.is_logged_out() => None,
            _ if is_last => Some(self.until_waited(intent)),
            SpendAttempt::Refused => (intent.member != self.parts.name).then_some(Duration::ZERO),
            _ => {
                let end = self.token.map_or(Duration::MAX, |token| token.until_end(record.document()));
                Some(self.until_waited(intent).max(end))
            }
        }
    }

    /// Makes the second attempt when its time has come, or gives the login up (the model's `succeed` and `mark_lost`).
    async fn succeed_or_wait(
        &mut self,
        record: &SharedRecord,
        intent: &SpendIntent,
    ) -> Result<StepOutcome, MemberError> {
        let is_due = self.until_succession().is_some_and(|left| left.is_zero());
        // A response of an earlier attempt may still be committed.
        if !is_due || self.response.is_some() || !self.back_off.remaining().is_zero() || !self.lead().await? {
            return Ok(StepOutcome::AtRest);
        }
        match record.lost() {
            Ok(new) => {
                tracing::warn!(spends = %intent.spends, "fleet: the outcome of the last attempt stays unknown");
                self.write(new, Role::Refresher).await?;
                Ok(StepOutcome::Changed)
            }
            Err(RefusedChange::NoIntent) => {
                tracing::info!(former = %intent.member, "fleet: making the second attempt");
                let announced = self.succeed().await;
                self.after_announcement(announced)
            }
            Err(why) => Err(MemberError::Refused(why)),
        }
    }
}
