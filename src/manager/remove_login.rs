//! Logout: revokes the tokens of a login and removes every stored copy.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::engine::Engine;
use super::error::Error;
use super::logout::{LogoutReport, LogoutRevocation, LogoutScope, RemovedCopy};
use super::recover::{self, RestoreOutcome, restore, revoke};
use crate::authority::{self, Revocation};
use crate::config::{LegacyToken, StoreKind};
use crate::document::AuthDocument;
use crate::failpoint;
use crate::store::rescue::RescuePurpose;
use crate::store::{
    self, HomeState, Lease, LeaseOutcome, LockDeadline, Removal, SeenRevision, StorageNote, StoreContent,
    StoredDocument, Waiting, Writer,
};

/// How often a copy is removed again that another program has replaced meanwhile.
const MAX_ATTEMPTS: usize = 3;
/// Maximum time that a forced logout waits for other processes.
const FORCED_WAIT: Duration = Duration::from_secs(5);

/// Logs a home out. Succeeds also without a login. Locks: the lease, throughout.
///
/// In the file store, tokens are revoked and then the file is removed. In the keychain, the item is removed first, because
/// some services refuse removal without notice; its content is in the rescue meanwhile and is restored if the revocation
/// fails. `on_wait` may end the wait for the lease; later the logout is completed, by the next lease holder if necessary.
///
/// # Errors
/// - [`Error::Interrupted`]: `on_wait` ended the wait; nothing was changed.
/// - [`Error::Authority`]: the revocation failed; with [`LogoutScope::Revoke`] nothing is removed, so it can be retried.
/// - [`Error::Store`]: the lease cannot be acquired, or a copy could not be removed; nothing was revoked.
pub(super) fn run(
    engine: &Engine,
    scope: LogoutScope,
    deadline: &LockDeadline,
    on_wait: &mut dyn FnMut(&Waiting<'_>) -> ControlFlow<()>,
) -> Result<LogoutReport, Error> {
    let ends = Instant::now() + FORCED_WAIT;
    let lease = match scope {
        LogoutScope::Force => {
            Lease::acquire_or_skip_locks(&engine.home, deadline.at_most(FORCED_WAIT), on_wait)?
        }
        _ => Lease::acquire_with(&engine.home, deadline, on_wait)?,
    };
    let LeaseOutcome::Held(lease) = lease else { return Err(Error::Interrupted) };
    let mut writer = engine.stores()?.writer(&lease)?;
    let mut report = LogoutReport::nothing();
    match scope {
        LogoutScope::Revoke => {
            let is_interrupted = writer.state().logging_out.is_some();
            recover::recover(engine, &mut writer)?;
            if is_interrupted {
                report.add_revocation(LogoutRevocation::Revoked);
            }
        }
        // The rescue of a killed process is revoked instead of completed, which could take too long.
        _ => end_rescue(engine, &mut writer, scope, &mut report),
    }
    let mut ending = LoginRemoval { engine, writer: &mut writer, scope, force_until: ends };
    if scope == LogoutScope::Revoke && !ending.check_all(&mut report) {
        return Ok(report);
    }
    for kind in ending.in_order() {
        ending.remove_from(kind, &mut report)?;
    }
    report.legacy_token_removed = match writer.remove_legacy_token() {
        Ok(before) => before == LegacyToken::Present,
        Err(error) => {
            report.notes.push(error.to_string());
            false
        }
    };
    if report.failed.is_empty() {
        clear(&mut writer, scope)?;
    }
    report.notes.extend(writer.take_notes().iter().map(ToString::to_string));
    Ok(report)
}

/// Revokes the tokens of the rescue; [`clear`] removes it.
fn end_rescue(engine: &Engine, writer: &mut Writer<'_>, scope: LogoutScope, report: &mut LogoutReport) {
    match writer.read_rescue() {
        Ok(None) => {}
        Ok(Some(_)) if scope == LogoutScope::Local => report.add_revocation(LogoutRevocation::NotTried),
        Ok(Some(rescue)) => report.add_revocation(match recover::revoke_unfinished(engine, &rescue) {
            Ok(()) => LogoutRevocation::Revoked,
            Err(error) => LogoutRevocation::Failed(error.to_string()),
        }),
        Err(error) => report.add_revocation(LogoutRevocation::Failed(error.to_string())),
    }
}

/// Removes sealing key, rescue and state of the removed login.
fn clear(writer: &mut Writer<'_>, scope: LogoutScope) -> Result<(), Error> {
    if writer.uses_keychain() {
        // The next login creates another key.
        let _ = writer.remove_sealing_key();
    }
    match writer.clear_rescue().and_then(|()| writer.record(HomeState::forget_login)) {
        Err(error) if scope != LogoutScope::Force => Err(error.into()),
        _ => Ok(()),
    }
}

pub(super) struct LoginRemoval<'a, 'lease> {
    pub(super) engine: &'a Engine,
    pub(super) writer: &'a mut Writer<'lease>,
    pub(super) scope: LogoutScope,
    pub(super) force_until: Instant,
}

impl LoginRemoval<'_, '_> {
    fn in_order(&self) -> [StoreKind; 2] {
        let found = self.writer.stores().find().ok().and_then(|found| found.stored);
        let first = found.map_or(StoreKind::File, |stored| stored.location.kind());
        [first, first.other()]
    }

    /// Checks before any revocation that every copy can be removed; otherwise a revoked token would stay stored.
    fn check_all(&self, report: &mut LogoutReport) -> bool {
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
    fn remove_from(&mut self, kind: StoreKind, report: &mut LogoutReport) -> Result<(), Error> {
        let mut before: Option<AuthDocument> = None;
        for _ in 0..MAX_ATTEMPTS {
            let content = match self.writer.read(kind) {
                Ok(content) => content,
                Err(error @ store::Error::FolderReplaced { .. }) => return Err(error.into()),
                Err(error) => return self.remove_unread(kind, error, report),
            };
            if let Some((before, now)) = before.as_ref().zip(content.document())
                && !now.is_same_login_as(before)
            {
                let location = self.writer.stores().location(kind);
                report.add_remaining(
                    &location,
                    &store::Error::AnotherLogin { location: location.clone() }.into(),
                );
                return Ok(());
            }
            before = content.document().cloned().or(before);
            let seen = content.seen();
            let location = match &content {
                StoreContent::Nothing => return Ok(()),
                StoreContent::Document(stored) => stored.location.clone(),
                StoreContent::Unparsable { location, .. } => location.clone(),
            };
            let ended = match content {
                StoreContent::Document(stored) => {
                    let hard_links =
                        stored.notes.iter().filter(|note| matches!(note, StorageNote::HardLinked { .. }));
                    report.notes.extend(hard_links.map(ToString::to_string));
                    self.remove_document(kind, seen, &stored)
                }
                StoreContent::Unparsable { location, source, bytes } => {
                    let why = store::Error::Document { location, source };
                    self.remove_unparsable(kind, seen, &bytes, why)
                }
                StoreContent::Nothing => return Ok(()),
            };
            match ended {
                Ok(LoginRemovalOutcome::Removed(removal, done)) => {
                    report.add_revocation(done);
                    if removal == Removal::Removed {
                        report.removed.push(RemovedCopy::from(&location));
                    }
                    return Ok(());
                }
                // Another program has committed meanwhile; its tokens are not revoked yet.
                Ok(LoginRemovalOutcome::Changed(done)) => report.add_revocation(done),
                Err(error @ Error::Store(_)) if self.scope != LogoutScope::Force => {
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
            Err(error) => return self.remove(kind, seen, LogoutRevocation::Failed(error.to_string())),
            Ok(revocation) => revocation,
        };
        let Some(revocation) = revocation else {
            return self.remove(kind, seen, LogoutRevocation::NotNeeded);
        };
        if self.scope == LogoutScope::Local {
            return self.remove(kind, seen, LogoutRevocation::NotTried);
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
            (StoreKind::Keychain, LogoutScope::Revoke) => self.remove_and_revoke(seen, stored, &revocation),
            _ => self.revoke_and_remove(kind, seen, &revocation),
        }
    }

    fn revoke_and_remove(
        &mut self,
        kind: StoreKind,
        seen: SeenRevision,
        revocation: &Revocation,
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
        self.remove(kind, seen, done)
    }

    fn remove_and_revoke(
        &mut self,
        seen: SeenRevision,
        stored: &StoredDocument,
        revocation: &Revocation,
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
                return Ok(LoginRemovalOutcome::Changed(LogoutRevocation::NotNeeded));
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
        self.writer.clear_rescue()?;
        Ok(LoginRemovalOutcome::Removed(removal, LogoutRevocation::Revoked))
    }

    /// Cancels the removal of a login that is still stored.
    fn abandon(&mut self) -> Result<(), Error> {
        self.writer.clear_rescue()?;
        Ok(self.writer.record(HomeState::clear_logout_mark)?)
    }

    pub(super) fn remove(
        &mut self,
        kind: StoreKind,
        seen: SeenRevision,
        done: LogoutRevocation,
    ) -> Result<LoginRemovalOutcome, Error> {
        if self.scope == LogoutScope::Force {
            return Ok(LoginRemovalOutcome::Removed(self.writer.force_remove(kind, self.force_until)?, done));
        }
        match self.writer.remove(kind, seen)? {
            store::RemoveOutcome::Removed(removal) => Ok(LoginRemovalOutcome::Removed(removal, done)),
            store::RemoveOutcome::Changed(_) => Ok(LoginRemovalOutcome::Changed(done)),
        }
    }
}

pub(super) enum LoginRemovalOutcome {
    Removed(Removal, LogoutRevocation),
    Changed(LogoutRevocation),
}
