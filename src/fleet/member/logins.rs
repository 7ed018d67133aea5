//! What users ask of a member: a login, a logout; and the revocations that follow.
//!
//! The functions are named after the steps of the model: [`MemberEngine::log_in`], `put_login`, `finish_login`,
//! [`MemberEngine::log_out`], `revoke`.

use std::time::Duration;

use super::back_off::BackOff;
use super::engine::{MemberEngine, Role, WriteOutcome};
use super::error::MemberError;
use super::login_journal::{JournaledLogin, ReplacedLogin};
use crate::authority::{self, Revocation};
use crate::document::{AuthDocument, NewTokens};
use crate::failpoint;
use crate::fleet::intent::IntentId;
use crate::fleet::record::SharedRecord;
use crate::fleet::record_error::RefusedChange;
use crate::secret::Fingerprint;

/// How often a revocation that fails is tried at most. The client tries each several times.
const MAX_REVOCATIONS: u32 = 5;

impl MemberEngine {
    /// Saves a new login, which replaces the one that this member has seen last.
    pub(super) fn log_in(&mut self, document: AuthDocument) -> Result<(), MemberError> {
        if self.login.pending.is_some() {
            return Err(MemberError::LoginIncomplete);
        }
        let login_id = IntentId::random().map_err(MemberError::Random)?.to_string();
        // Checks it.
        SharedRecord::first(&login_id, document.clone()).map_err(MemberError::NotShareable)?;
        let token = document.fingerprint().unwrap_or_else(|| Fingerprint::of(""));
        if let Some(record) = self.record()
            && (record.has_spent(token) || record.document().fingerprint() == Some(token))
        {
            return Err(MemberError::Refused(RefusedChange::Spent));
        }
        let over = self.record().map(ReplacedLogin::of);
        self.login_back_off = BackOff::default();
        self.save_login(JournaledLogin { login_id, document, over })
    }

    fn save_login(&mut self, login: JournaledLogin) -> Result<(), MemberError> {
        let epoch =
            self.record().map_or_else(|| self.parts.keys.newest_epoch(), |record| record.order().epoch);
        self.login.save(login, epoch, &self.parts.keys)?;
        failpoint::at("fleet-login-saved");
        self.publish();
        Ok(())
    }

    /// Puts the new login into the record, or ends it; returns whether something has changed.
    pub(super) async fn advance_login(&mut self) -> Result<bool, MemberError> {
        let Some(login) = self.login.pending.clone() else { return Ok(false) };
        let record = self.record().cloned();
        if record.as_ref().is_some_and(|record| record.login_id() == login.login_id) {
            return self.finish_login(login.over.as_ref().map(|over| &over.document)).await;
        }
        let seen = record.as_ref().map(|record| (record.login_id(), record.is_logged_out()));
        if seen != login.over.as_ref().map(|over| (over.login_id.as_str(), over.is_logged_out)) {
            tracing::warn!(
                "fleet: the new login is revoked, because the fleet was logged out or in meanwhile"
            );
            return self.finish_login(Some(&login.document)).await;
        }
        self.put_login(record.as_ref(), login).await
    }

    async fn put_login(
        &mut self,
        record: Option<&SharedRecord>,
        login: JournaledLogin,
    ) -> Result<bool, MemberError> {
        let new = match record {
            None => SharedRecord::first(&login.login_id, login.document.clone()),
            Some(record) => record.logged_in(&login.login_id, login.document.clone()),
        };
        let new = new.map_err(MemberError::NotShareable)?;
        // The newest token of the old login is the one to revoke.
        let revision = |over: &ReplacedLogin| over.document.revision();
        let over = record.map(ReplacedLogin::of);
        if over.as_ref().map(revision) != login.over.as_ref().map(revision) {
            self.save_login(JournaledLogin { over, ..login })?;
        }
        if self.write(new, Role::Member).await? == WriteOutcome::Written {
            tracing::info!("fleet: the record has the new login");
        }
        Ok(true)
    }

    /// Revokes the login that is not needed any more, and ends the journal entry.
    async fn finish_login(&mut self, ended: Option<&AuthDocument>) -> Result<bool, MemberError> {
        if let Some(document) = ended
            && !self.try_revoke(document).await
        {
            return Ok(false);
        }
        self.login.clear()?;
        self.publish();
        Ok(true)
    }

    /// Logs the fleet out; the caller revokes then.
    pub(super) async fn log_out(&mut self) -> Result<(), MemberError> {
        for _ in 0..8 {
            let record = self.required_record()?;
            if record.is_logged_out() {
                return Ok(());
            }
            let new = record.logged_out();
            if self.write(new, Role::Member).await? == WriteOutcome::Written {
                failpoint::at("fleet-logged-out");
                return Ok(());
            }
        }
        Err(MemberError::Contended)
    }

    /// Revokes the login of a tombstone, once by this process.
    pub(super) async fn revoke_record(&mut self, record: &SharedRecord) {
        if self.revoked.contains(record.login_id()) || !self.login_back_off.remaining().is_zero() {
            return;
        }
        match self.revoke(record.document()).await {
            Ok(()) => {
                self.revoked.insert(record.login_id().to_owned());
            }
            Err(error) => {
                tracing::debug!(%error, "fleet: the login is not revoked yet");
                self.login_back_off.fail(Duration::ZERO);
            }
        }
    }

    /// Revokes a login that has ended; returns whether that is done, or was tried often enough.
    pub(super) async fn try_revoke(&mut self, document: &AuthDocument) -> bool {
        if !self.login_back_off.remaining().is_zero() {
            return false;
        }
        let Err(error) = self.revoke(document).await else {
            self.login_back_off = BackOff::default();
            return true;
        };
        self.login_back_off.fail(Duration::ZERO);
        tracing::warn!(%error, "fleet: a login that has ended is not revoked yet");
        self.login_back_off.failures >= MAX_REVOCATIONS
    }

    pub(super) async fn revoke(&self, document: &AuthDocument) -> Result<(), MemberError> {
        let revocation = Revocation::of_document(&self.parts.environment, document);
        let Some(revocation) = revocation.map_err(authority::Error::from)? else { return Ok(()) };
        let outcome = self.revoker.revoke(&revocation).await?;
        tracing::debug!(?outcome, "fleet: revoked a login");
        Ok(())
    }

    /// Revokes tokens that belong to no document; errors are ignored.
    pub(super) async fn revoke_response(&self, tokens: &NewTokens) {
        let Some(provenance) = self.record().and_then(|record| record.document().tokens()) else { return };
        let revocation = Revocation::of_response(&self.parts.environment, &provenance.provenance, tokens);
        if let Ok(Some(revocation)) = revocation {
            let _ = self.revoker.revoke(&revocation).await;
        }
    }
}
