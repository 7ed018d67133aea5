//! Announces a refresh token, sends it once, and saves the response.
//!
//! The functions are named after the steps of the model: [`MemberEngine::claim`], [`MemberEngine::rekey`], [`MemberEngine::succeed`] and
//! [`MemberEngine::present`] announce; [`MemberEngine::spend`] arms, posts and keeps.

use codex_auth_platform::boot_clock::BootTime;
use tokio::runtime;

use super::engine::{MemberEngine, Role, UncommittedResponse, UnreportedRefusal, WriteOutcome};
use super::error::MemberError;
use super::leadership::{LeaderValue, Leadership};
use super::parts::MemberParts;
use super::posted::{PostOutcome, TokenPost};
use super::saved_response::ResponseReservation;
use super::token_clock::Sight;
use crate::authority::{Endpoint, Refresh, StaleTokenReason, client_id};
use crate::document::AuthDocument;
use crate::failpoint;
use crate::fleet::error::Error;
use crate::fleet::intent::IntentId;
use crate::fleet::record::SharedRecord;
use crate::fleet::record_error::RefusedChange;
use crate::secret::Fingerprint;

/// What became of an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnnouncementOutcome {
    /// Another member is the refresher, or changed the record first.
    NotAnnounced,
    /// The response is saved.
    Saved,
}

/// A token that can be sent and whose response can be saved.
struct ReadyToken {
    id: IntentId,
    request: Refresh,
    reservation: ResponseReservation,
}

impl MemberEngine {
    /// Takes the role of the refresher, unless another member has it (the model's `leads`).
    pub(super) async fn lead(&mut self) -> Result<bool, MemberError> {
        if let Some(leadership) = &self.leadership {
            if !leadership.remaining().is_zero() {
                return Ok(true);
            }
            self.leadership = None;
        }
        let term = IntentId::random().map_err(MemberError::Random)?;
        let value = LeaderValue { member: self.parts.name.clone(), term };
        let MemberParts { store, timings, name, .. } = &self.parts;
        let key = self.names.leader.clone();
        let former = self.leader.as_ref().filter(|leader| leader.member == *name);
        self.leadership = Leadership::acquire(store, &key, &value, former, timings.lease).await?;
        if self.leadership.is_none() {
            self.check_leadership().await?;
            let former = self.leader.as_ref().filter(|leader| leader.member == self.parts.name);
            if former.is_some() {
                let MemberParts { store, timings, .. } = &self.parts;
                self.leadership = Leadership::acquire(store, &key, &value, former, timings.lease).await?;
            }
        }
        if self.leadership.is_some() {
            tracing::debug!("fleet: this host is the refresher");
            self.leader = Some(value);
        }
        self.publish();
        Ok(self.leadership.is_some())
    }

    /// Reads who the refresher is, and gives the role up if it is another member.
    pub(super) async fn check_leadership(&mut self) -> Result<(), MemberError> {
        let read = self.parts.store.read(&self.names.leader).await?;
        let value = read.value.map(|value| value.bytes);
        self.leader = value.as_deref().and_then(LeaderValue::parse);
        if self.leadership.as_ref().is_some_and(|mine| Some(mine.value()) != value.as_deref()) {
            self.leadership = None;
        }
        self.publish();
        Ok(())
    }

    /// Gives the role of the refresher up.
    pub(super) async fn resign(&mut self) -> Result<(), MemberError> {
        let Some(leadership) = self.leadership.take() else { return Ok(()) };
        self.leader = None;
        self.publish();
        Ok(leadership.end(&self.parts.store).await?)
    }

    /// Refreshes for a member that has seen `generation`.
    pub(super) async fn claim(
        &mut self,
        generation: u64,
        reason: StaleTokenReason,
    ) -> Result<AnnouncementOutcome, MemberError> {
        let ready = self.ready_own_token(reason)?;
        let record = self.required_record()?;
        let new = record.claimed(&self.parts.name, ready.id, generation).map_err(refused)?;
        self.announce(new, ready).await
    }

    /// As [`Self::claim`], under the next sealing key.
    pub(super) async fn rekey(&mut self) -> Result<AnnouncementOutcome, MemberError> {
        let ready = self.ready_own_token(StaleTokenReason::Forced)?;
        let new = self.required_record()?.rekeyed(&self.parts.name, ready.id).map_err(refused)?;
        self.announce(new, ready).await
    }

    /// Makes the second attempt. The caller has waited for the first, or confirms its refusal.
    pub(super) async fn succeed(&mut self) -> Result<AnnouncementOutcome, MemberError> {
        let ready = self.ready_own_token(StaleTokenReason::Forced)?;
        let new = self.required_record()?.succeeded(&self.parts.name, ready.id).map_err(refused)?;
        self.announce(new, ready).await
    }

    /// Sends the successor of the poisoned token, which this member had saved and never sent.
    pub(super) async fn present(&mut self, child: &AuthDocument) -> Result<AnnouncementOutcome, MemberError> {
        let ready = self.ready(child, StaleTokenReason::Forced)?;
        let token = child.fingerprint().ok_or(MemberError::Internal)?;
        let new = self.required_record()?.presented(&self.parts.name, ready.id, token).map_err(refused)?;
        self.announce(new, ready).await
    }

    fn ready_own_token(&self, reason: StaleTokenReason) -> Result<ReadyToken, MemberError> {
        let document = self.required_record()?.document().clone();
        self.ready(&document, reason)
    }

    /// Checks that the token of `document` can be sent, and reserves the space for the response, before it is announced.
    fn ready(&self, document: &AuthDocument, reason: StaleTokenReason) -> Result<ReadyToken, MemberError> {
        let tokens = document.tokens().ok_or(MemberError::Internal)?;
        let refresh_token = tokens.refresh_token.clone().ok_or(MemberError::Internal)?;
        let endpoint = Endpoint::refresh(&self.parts.environment, &tokens.provenance);
        let endpoint = endpoint.map_err(crate::authority::Error::from)?;
        let reservation = self.responses.reserve(refresh_token.fingerprint())?;
        let client_id = client_id(&tokens.provenance).to_owned();
        let request = Refresh { endpoint, client_id, refresh_token, reason };
        let id = IntentId::random().map_err(MemberError::Random)?;
        Ok(ReadyToken { id, request, reservation })
    }

    async fn announce(
        &mut self,
        new: SharedRecord,
        ready: ReadyToken,
    ) -> Result<AnnouncementOutcome, MemberError> {
        if self.login.pending.is_some() {
            return Err(MemberError::LoginIncomplete);
        }
        if !self.lead().await? {
            return Ok(AnnouncementOutcome::NotAnnounced);
        }
        match self.write(new, Role::Refresher).await? {
            WriteOutcome::NotWritten => Ok(AnnouncementOutcome::NotAnnounced),
            WriteOutcome::Written => {
                failpoint::at("fleet-claimed");
                self.spend(ready).await
            }
        }
    }

    /// Sends the token of an intent of this member that the record has: the model's `arm`, `post` and `keep`.
    async fn spend(&mut self, ready: ReadyToken) -> Result<AnnouncementOutcome, MemberError> {
        let ReadyToken { id, request, reservation } = ready;
        let record = self.required_record()?.clone();
        let intent = record.intent().filter(|intent| intent.id == id).cloned();
        let intent = intent.ok_or(MemberError::Refused(RefusedChange::NoIntent))?;
        self.journal.enter(&intent)?;
        failpoint::at("fleet-journaled");
        // The last check. The client asks once more when the connection is there.
        let permit = match self.spend_permit().await {
            Ok(permit) => permit,
            Err(error) => {
                self.journal.strike(id)?;
                return Err(error);
            }
        };
        let parent = request.refresh_token.fingerprint();
        tracing::info!(%parent, "fleet: sending the refresh token");
        self.permit.grant(permit);
        let post = TokenPost {
            authority: self.authority.clone(),
            request,
            permit: self.permit.clone(),
            deadline: permit,
            record,
            clock: self.parts.clock.clone(),
            reservation,
            limit: self.parts.timings.request,
        };
        // A blocking task: a runtime that is dropped waits until the response is saved.
        let posted = tokio::task::spawn_blocking(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            let outcome = runtime.map_err(|_| MemberError::Internal).map(|runtime| {
                let outcome = runtime.block_on(post.send());
                runtime.shutdown_background();
                outcome
            });
            failpoint::at("fleet-kept");
            outcome
        });
        let outcome = posted.await.map_err(|_| MemberError::Internal)?;
        self.keep(id, parent, outcome?).await
    }

    /// Returns until when the token may be sent: the lease lasts longer than the request and the margin.
    async fn spend_permit(&mut self) -> Result<BootTime, MemberError> {
        let timings = self.parts.timings;
        let needed = timings.request + timings.margin;
        let leadership = self.leadership.as_mut().ok_or(MemberError::TooLate)?;
        if leadership.remaining() < needed + timings.margin
            && let Err(error) = leadership.renew(&self.parts.store).await
        {
            self.leadership = self.leadership.take().filter(|_| !matches!(error, Error::LeaseEnded));
            return Err(error.into());
        }
        let now = BootTime::now();
        if leadership.remaining() < needed {
            return Err(MemberError::TooLate);
        }
        Ok(now + timings.request)
    }

    async fn keep(
        &mut self,
        id: IntentId,
        parent: Fingerprint,
        outcome: PostOutcome,
    ) -> Result<AnnouncementOutcome, MemberError> {
        match outcome {
            PostOutcome::Issued { response, saved } => {
                let former = self
                    .response
                    .replace(UncommittedResponse { response: *response, sight: Sight::Appeared });
                if let Some(former) = former.filter(|former| former.response.child() == Some(parent)) {
                    self.responses.remove(former.response.parent)?;
                }
                self.back_off = Default::default();
                self.publish();
                // If the reserved space could not be written, the commit is still tried.
                if let Err(error) = saved {
                    tracing::warn!(%error, "fleet: the response cannot be saved on the disk");
                }
                Ok(AnnouncementOutcome::Saved)
            }
            PostOutcome::Refused { error, is_final } => {
                self.refusal = Some(UnreportedRefusal { intent: id, is_final });
                tracing::warn!(%error, is_final, "fleet: the authority refused the refresh token");
                Err(error.into())
            }
            PostOutcome::OtherUser(tokens) => {
                self.refusal = Some(UnreportedRefusal { intent: id, is_final: true });
                self.revoke_response(&tokens).await;
                Err(MemberError::OtherUser)
            }
            // Provably unspent: the intent is withdrawn.
            PostOutcome::Unspent(error) => {
                self.journal.strike(id)?;
                Err(error)
            }
            PostOutcome::Unknown(error) => {
                tracing::warn!(%error, "fleet: the outcome of the request is unknown");
                Err(error.into())
            }
        }
    }
}

fn refused(why: RefusedChange) -> MemberError {
    match why {
        RefusedChange::LoggedOut => MemberError::LoggedOut,
        why => MemberError::Refused(why),
    }
}
