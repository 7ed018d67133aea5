//! Revokes the tokens of a store's content and removes it, for a logout.

use std::time::Instant;

use super::engine::{Engine, RestoreOutcome, restore, revoke};
use super::error::Error;
use super::logout::{LogoutReport, LogoutRevocation, LogoutScope, RemovedCopy};
use crate::authority::{self, Endpoint, Revocation, client_id};
use crate::config::StoreKind;
use crate::document::{AuthDocument, Provenance, salvage};
use crate::failpoint;
use crate::store::rescue::RescuePurpose;
use crate::store::{
    self, HomeState, Removal, SeenRevision, StorageNote, StoreContent, StoredDocument, Writer,
};

/// How often a copy is removed again that another program has replaced meanwhile.
const MAX_ATTEMPTS: usize = 3;

/// A logout of the content of stores.
pub(super) struct LoginRemoval<'a, 'lease> {
    pub(super) engine: &'a Engine,
    pub(super) writer: &'a mut Writer<'lease>,
    pub(super) scope: LogoutScope,
    pub(super) force_until: Instant,
}

const SPENT: &str = "nothing was revoked: the refresh token was used before, and a later copy of this login may stay valid elsewhere";

impl LoginRemoval<'_, '_> {
    pub(super) fn in_order(&self) -> [StoreKind; 2] {
        let found = self.writer.stores().find_readable().ok().and_then(|found| found.stored);
        let first = found.map_or(StoreKind::File, |stored| stored.location.kind());
        [first, first.other()]
    }

    /// Checks before any revocation that every copy can be removed; otherwise a revoked token would stay stored.
    pub(super) fn check_all(&self, report: &mut LogoutReport) -> bool {
        for kind in self.in_order() {
            if matches!(
                self.writer.read(kind),
                Ok(StoreContent::Document(_) | StoreContent::Unparsable { .. })
            ) && let Err(error) = self.writer.check_remove(kind)
            {
                report.add_remaining(&self.writer.stores().location(kind), &error.into());
            }
        }
        report.failed.is_empty()
    }

    /// Revokes and removes the content of one store, until it is empty.
    pub(super) fn remove_from(&mut self, kind: StoreKind, report: &mut LogoutReport) -> Result<(), Error> {
        let mut previous: Option<AuthDocument> = None;
        for _ in 0..MAX_ATTEMPTS {
            let content = match self.writer.read(kind) {
                Ok(content) => content,
                Err(error @ store::Error::FolderReplaced { .. }) => return Err(error.into()),
                Err(error) => return self.remove_unread(kind, error, report),
            };
            if let Some((previous, now)) = previous.as_ref().zip(content.document())
                && !now.is_same_login_as(previous)
            {
                let location = self.writer.stores().location(kind);
                report.add_remaining(
                    &location,
                    &store::Error::AnotherLogin { location: location.clone() }.into(),
                );
                return Ok(());
            }
            previous = content.document().cloned().or(previous);
            let seen = content.seen();
            let location = match &content {
                StoreContent::Nothing => return Ok(()),
                StoreContent::Document(stored) => stored.location.clone(),
                StoreContent::Unparsable { location, .. } => location.clone(),
            };
            let outcome = match content {
                StoreContent::Document(stored) => {
                    report.handed_in |= stored.document.is_handed_in();
                    let hard_links =
                        stored.notes.iter().filter(|note| matches!(note, StorageNote::HardLinked { .. }));
                    report.notes.extend(hard_links.map(ToString::to_string));
                    self.remove_document(kind, seen, &stored, report)
                }
                StoreContent::Unparsable { location, source, bytes } => {
                    let why = store::Error::Document { location, source };
                    self.remove_unparsable(kind, seen, &bytes, why, report)
                }
                StoreContent::Nothing => return Ok(()),
            };
            match outcome {
                Ok(LoginRemovalOutcome::Removed(removal)) => {
                    if removal == Removal::Removed {
                        report.removed.push(RemovedCopy::from(&location));
                    }
                    return Ok(());
                }
                // Another program has committed meanwhile; its tokens are not revoked yet.
                Ok(LoginRemovalOutcome::Changed) => {}
                Err(error @ Error::Store(_)) => {
                    report.add_remaining(&location, &error);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        report.add_remaining(&self.writer.stores().location(kind), &store::Error::Contended.into());
        Ok(())
    }

    fn remove_document(
        &mut self,
        kind: StoreKind,
        seen: SeenRevision,
        stored: &StoredDocument,
        report: &mut LogoutReport,
    ) -> Result<LoginRemovalOutcome, Error> {
        if self.scope != LogoutScope::Force {
            self.writer.check_remove(kind)?;
        }
        let spent =
            stored.document.fingerprint().is_some_and(|name| self.writer.state().spent.contains(&name));
        let revocation = match Revocation::of_document(&self.engine.environment, &stored.document) {
            _ if spent => None,
            Err(error) if self.scope == LogoutScope::Revoke => {
                return Err(authority::Error::from(error).into());
            }
            Err(error) => {
                return self.remove(kind, seen, LogoutRevocation::Failed(error.to_string()), report);
            }
            Ok(revocation) => revocation,
        };
        let Some(revocation) = revocation else {
            let state = self.writer.state();
            let is_refused = state
                .poison
                .as_ref()
                .is_some_and(|poison| Some(poison.fingerprint) == stored.document.fingerprint());
            if spent && !is_refused {
                report.notes.push(SPENT.to_owned());
            }
            return self.remove(kind, seen, LogoutRevocation::NotNeeded, report);
        };
        if self.scope == LogoutScope::Local {
            return self.remove(kind, seen, LogoutRevocation::NotTried, report);
        }
        match self.writer.record(|state| state.mark_logout(&stored.document)) {
            Err(error) if self.scope == LogoutScope::Revoke => return Err(error.into()),
            _ => {}
        }
        failpoint::at("logging out");
        if self.writer.lease().deadline().is_cancelled() {
            self.writer.record(HomeState::clear_logout_mark)?;
            return Err(Error::Interrupted);
        }
        // Past this point cancelling would leave revoked tokens stored.
        self.writer.lease().deadline().ignore_cancel();
        match (kind, self.scope) {
            (StoreKind::Keychain, LogoutScope::Revoke) => {
                self.remove_and_revoke(seen, stored, &revocation, report)
            }
            _ => self.revoke_and_remove(kind, seen, &revocation, report),
        }
    }

    fn revoke_and_remove(
        &mut self,
        kind: StoreKind,
        seen: SeenRevision,
        revocation: &Revocation,
        report: &mut LogoutReport,
    ) -> Result<LoginRemovalOutcome, Error> {
        self.writer.lease().deadline().ignore_cancel();
        let done = match revoke(self.engine, revocation) {
            Ok(()) => LogoutRevocation::Revoked,
            Err(error) if self.scope == LogoutScope::Force => LogoutRevocation::Failed(error.to_string()),
            Err(error) => {
                // The login stays, and its token is served again.
                let _ = self.writer.record(HomeState::clear_logout_mark);
                return Err(error);
            }
        };
        failpoint::at("revoked");
        self.remove(kind, seen, done, report)
    }

    fn remove_and_revoke(
        &mut self,
        seen: SeenRevision,
        stored: &StoredDocument,
        revocation: &Revocation,
        report: &mut LogoutReport,
    ) -> Result<LoginRemovalOutcome, Error> {
        if let Err(error) = self.writer.save_to_rescue(stored, RescuePurpose::Revoke) {
            self.abandon()?;
            return Err(error.into());
        }
        failpoint::at("held");
        let removal = match self.writer.remove(StoreKind::Keychain, seen) {
            Ok(store::RemoveOutcome::Removed(removal)) => removal,
            Ok(store::RemoveOutcome::Changed(_)) => {
                self.writer.clear_rescue()?;
                return Ok(LoginRemovalOutcome::Changed);
            }
            Err(error) => {
                // If it may have been removed, the next lease holder checks and completes the logout.
                if !error.is_unknown() {
                    self.abandon()?;
                }
                return Err(error.into());
            }
        };
        failpoint::at("removed");
        if let Err(error) = revoke(self.engine, revocation) {
            // If another login is stored, the rescue keeps this one until it is revoked.
            if restore(self.writer, &stored.document)? == RestoreOutcome::Stored {
                self.writer.clear_rescue()?;
            } else {
                let _ = self.writer.recover()?;
            }
            return Err(error);
        }
        failpoint::at("revoked");
        report.add_revocation(LogoutRevocation::Revoked);
        self.writer.clear_rescue()?;
        Ok(LoginRemovalOutcome::Removed(removal))
    }

    /// Cancels the removal of a login that is still stored.
    fn abandon(&mut self) -> Result<(), Error> {
        self.writer.clear_rescue()?;
        Ok(self.writer.record(HomeState::clear_logout_mark)?)
    }

    /// Reports the revocation, which stays true if the removal fails, and removes the copy.
    fn remove(
        &mut self,
        kind: StoreKind,
        seen: SeenRevision,
        done: LogoutRevocation,
        report: &mut LogoutReport,
    ) -> Result<LoginRemovalOutcome, Error> {
        report.add_revocation(done);
        if self.scope == LogoutScope::Force {
            return Ok(LoginRemovalOutcome::Removed(self.writer.force_remove(kind, self.force_until)?));
        }
        match self.writer.remove(kind, seen)? {
            store::RemoveOutcome::Removed(removal) => Ok(LoginRemovalOutcome::Removed(removal)),
            store::RemoveOutcome::Changed(_) => Ok(LoginRemovalOutcome::Changed),
        }
    }
}

/// The result of one removal.
enum LoginRemovalOutcome {
    Removed(Removal),
    /// Another program has replaced the content.
    Changed,
}

impl LoginRemoval<'_, '_> {
    /// Removes bytes that are no valid document. Tokens found in them are revoked at the default endpoint.
    fn remove_unparsable(
        &mut self,
        kind: StoreKind,
        seen: SeenRevision,
        bytes: &[u8],
        why: store::Error,
        report: &mut LogoutReport,
    ) -> Result<LoginRemovalOutcome, Error> {
        if bytes.trim_ascii().is_empty() {
            return self.remove(kind, seen, LogoutRevocation::NotNeeded, report);
        }
        if self.scope == LogoutScope::Local {
            return self.remove(kind, seen, LogoutRevocation::NotTried, report);
        }
        if self.scope != LogoutScope::Force {
            self.writer.check_remove(kind)?;
        }
        match (self.revoke_salvaged(bytes), self.scope) {
            (Some(Ok(())), _) => self.remove(kind, seen, LogoutRevocation::Revoked, report),
            (Some(Err(error)), LogoutScope::Force) => {
                self.remove(kind, seen, LogoutRevocation::Failed(error.to_string()), report)
            }
            (Some(Err(error)), _) => Err(error),
            (None, LogoutScope::Force) => {
                self.remove(kind, seen, LogoutRevocation::Failed(why.to_string()), report)
            }
            (None, _) => Err(why.into()),
        }
    }

    /// Revokes the tokens found in `bytes`; returns `None` if there are none.
    fn revoke_salvaged(&self, bytes: &[u8]) -> Option<Result<(), Error>> {
        let salvaged = salvage(bytes)?;
        let provenance = Provenance::default();
        let revocation = Endpoint::revoke(&self.engine.environment, &provenance)
            .map_err(authority::Error::from)
            .map(|endpoint| match (salvaged.refresh_token, salvaged.access_token) {
                (Some(token), _) => {
                    Some(Revocation::of_refresh_token(endpoint, client_id(&provenance).to_owned(), token))
                }
                (None, Some(token)) => Some(Revocation::of_access_token(endpoint, token)),
                (None, None) => None,
            });
        match revocation {
            Ok(revocation) => revocation.map(|revocation| revoke(self.engine, &revocation)),
            Err(error) => Some(Err(error.into())),
        }
    }

    /// Handles a store that cannot be read. A keychain that reports no item and that was never used is skipped;
    /// otherwise the copy is reported as not removed, or removed by force.
    fn remove_unread(
        &mut self,
        kind: StoreKind,
        error: store::Error,
        report: &mut LogoutReport,
    ) -> Result<(), Error> {
        let location = self.writer.stores().location(kind);
        if kind == StoreKind::Keychain && !self.writer.keychain_may_hold_login(&error) {
            let holds = || self.writer.stores().keychain().has_item(self.writer.stores().timeout());
            if !error.may_hide_login() || !matches!(holds(), Ok(true)) {
                if error.may_hide_login() {
                    report.notes.push(StorageNote::KeychainSkipped { reason: error.to_string() }.to_string());
                }
                return Ok(());
            }
        }
        if kind == StoreKind::File
            && self.scope != LogoutScope::Local
            && let Ok(Some(bytes)) = self.writer.stores().raw_file()
        {
            match self.remove_oversized(&bytes, report) {
                Ok(Some(removal)) => {
                    if removal == Removal::Removed {
                        report.removed.push(RemovedCopy::from(&location));
                    }
                    return Ok(());
                }
                Ok(None) => {}
                Err(error @ Error::Store(_)) => {
                    report.add_remaining(&location, &error);
                    return Ok(());
                }
                Err(failed) => return Err(failed),
            }
        }
        if self.scope == LogoutScope::Force || (self.scope == LogoutScope::Local && kind == StoreKind::File) {
            return self.force_remove(kind, report, Some(error));
        }
        report.add_remaining(&location, &error.into());
        Ok(())
    }

    /// Revokes the tokens in a file that is too large for a document, and removes it; returns `None` if there are none.
    fn remove_oversized(
        &mut self,
        bytes: &[u8],
        report: &mut LogoutReport,
    ) -> Result<Option<Removal>, Error> {
        if self.scope != LogoutScope::Force {
            self.writer.check_remove(StoreKind::File)?;
        }
        report.add_revocation(match self.revoke_salvaged(bytes) {
            None => return Ok(None),
            Some(Ok(())) => LogoutRevocation::Revoked,
            Some(Err(error)) if self.scope == LogoutScope::Force => {
                LogoutRevocation::Failed(error.to_string())
            }
            Some(Err(error)) => return Err(error),
        });
        let removal = match self.scope {
            LogoutScope::Force => self.writer.force_remove(StoreKind::File, self.force_until)?,
            _ => self.writer.remove_unparsable_file(bytes)?.ok_or(store::Error::Contended)?,
        };
        Ok(Some(removal))
    }

    /// Removes the content of a store without reading it.
    fn force_remove(
        &mut self,
        kind: StoreKind,
        report: &mut LogoutReport,
        unread: Option<store::Error>,
    ) -> Result<(), Error> {
        match self.writer.force_remove(kind, self.force_until) {
            Ok(Removal::Absent) => {}
            Ok(Removal::Removed) => {
                report.removed.push(RemovedCopy::from(&self.writer.stores().location(kind)));
                if let Some(error) = unread {
                    report.add_revocation(LogoutRevocation::Failed(error.to_string()));
                }
            }
            Err(error) => report.add_remaining(&self.writer.stores().location(kind), &error.into()),
        }
        Ok(())
    }
}
