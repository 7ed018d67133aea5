//! Ends a login: revokes its tokens and removes every copy, and says so only of what it did.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::engine::Engine;
use super::error::Error;
use super::logout::{LogoutReport, LogoutRevocation, LogoutScope, RemovedCopy};
use super::recover::{self, RestoreOutcome, put_back, revoke};
use crate::authority::{self, Revocation};
use crate::config::{LegacyToken, StoreKind};
use crate::document::AuthDocument;
use crate::failpoint;
use crate::store::rescue::RescuePurpose;
use crate::store::{
    self, HomeState, Lease, LeaseOutcome, LockDeadline, Removal, SeenRevision, StorageNote, StoreContent,
    StoredDocument, Waiting, Writer,
};

/// How often a copy that another program replaces meanwhile is ended again.
const TRIES: usize = 3;
/// How long a forced logout waits for other processes, in all.
const FORCED_WAIT: Duration = Duration::from_secs(5);

/// Ends the login of a home. Logging out twice is fine. Locks: the lease, held throughout.
///
/// Of the file, tokens are revoked and then the file is removed. Of the keychain, the item is removed first, because some
/// services refuse that without saying so before; its content lies in the rescue meanwhile, and is put back if the
/// revocation fails. `between` may end the wait for the lease; after that the logout is completed, by the next holder of
/// the lease if need be.
///
/// # Errors
/// - [`Error::Interrupted`]: `between` ended the wait; nothing was changed.
/// - [`Error::Authority`]: the revocation failed; with [`LogoutScope::Revoke`] everything is kept, so that it can be retried.
/// - [`Error::Store`]: the lease cannot be acquired, or a copy could not be removed; nothing was revoked.
pub(super) fn run(
    engine: &Engine,
    scope: LogoutScope,
    deadline: &LockDeadline,
    between: &mut dyn FnMut(&Waiting<'_>) -> ControlFlow<()>,
) -> Result<LogoutReport, Error> {
    let ends = Instant::now() + FORCED_WAIT;
    let lease = match scope {
        LogoutScope::Force => Lease::force(&engine.home, deadline.at_most(FORCED_WAIT), between)?,
        _ => Lease::acquire_unless(&engine.home, deadline, between)?,
    };
    let LeaseOutcome::Held(lease) = lease else { return Err(Error::Interrupted) };
    let mut writer = engine.stores()?.writer(&lease)?;
    let mut report = LogoutReport::nothing();
    match scope {
        LogoutScope::Revoke => {
            let is_interrupted = writer.state().logging_out.is_some();
            recover::recover(engine, &mut writer)?;
            if is_interrupted {
                report.add(LogoutRevocation::Revoked);
            }
        }
        // What a killed process left behind ends with the rest: completing it could take longer than a person waits.
        _ => end_rescue(engine, &mut writer, scope, &mut report),
    }
    let mut ending = LoginRemoval { engine, writer: &mut writer, scope, ends };
    if scope == LogoutScope::Revoke && !ending.may_remove_all(&mut report) {
        return Ok(report);
    }
    for kind in ending.in_order() {
        ending.end(kind, &mut report)?;
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

/// Revokes the tokens in the rescue, which [`clear`] removes.
fn end_rescue(engine: &Engine, writer: &mut Writer<'_>, scope: LogoutScope, report: &mut LogoutReport) {
    match writer.unfinished() {
        Ok(None) => {}
        Ok(Some(_)) if scope == LogoutScope::Local => report.add(LogoutRevocation::NotTried),
        Ok(Some(rescue)) => report.add(match recover::revoke_unfinished(engine, &rescue) {
            Ok(()) => LogoutRevocation::Revoked,
            Err(error) => LogoutRevocation::Failed(error.to_string()),
        }),
        Err(error) => report.add(LogoutRevocation::Failed(error.to_string())),
    }
}

/// Removes what described the login that has ended.
fn clear(writer: &mut Writer<'_>, scope: LogoutScope) -> Result<(), Error> {
    if writer.uses_keychain() {
        // The next login makes another.
        let _ = writer.remove_sealing_key();
    }
    match writer.clear_rescue().and_then(|()| writer.record(HomeState::log_out)) {
        Err(error) if scope != LogoutScope::Force => Err(error.into()),
        _ => Ok(()),
    }
}

pub(super) struct LoginRemoval<'a, 'lease> {
    pub(super) engine: &'a Engine,
    pub(super) writer: &'a mut Writer<'lease>,
    pub(super) scope: LogoutScope,
    pub(super) ends: Instant,
}

impl LoginRemoval<'_, '_> {
    fn in_order(&self) -> [StoreKind; 2] {
        let found = self.writer.stores().find().ok().and_then(|found| found.stored);
        let first = found.map_or(StoreKind::File, |stored| stored.location.kind());
        [first, first.other()]
    }

    /// Checks every copy before any is revoked: one that cannot be removed would keep a dead token that looks usable.
    fn may_remove_all(&self, report: &mut LogoutReport) -> bool {
        for kind in self.in_order() {
            if matches!(
                self.writer.read(kind),
                Ok(StoreContent::Document(_) | StoreContent::Unparsable { .. })
            ) && let Err(error) = self.writer.check_remove(kind)
            {
                report.keep(&self.writer.stores().location(kind), &error.into());
            }
        }
        report.failed.is_empty()
    }

    /// Ends what the store of `kind` holds, until it holds nothing.
    fn end(&mut self, kind: StoreKind, report: &mut LogoutReport) -> Result<(), Error> {
        let mut before: Option<AuthDocument> = None;
        for _ in 0..TRIES {
            let content = match self.writer.read(kind) {
                Ok(content) => content,
                Err(error @ store::Error::Replaced { .. }) => return Err(error.into()),
                Err(error) => return self.end_unread(kind, error, report),
            };
            if let Some((before, now)) = before.as_ref().zip(content.document())
                && !now.is_same_login_as(before)
            {
                let location = self.writer.stores().location(kind);
                report.keep(&location, &store::Error::AnotherLogin { location: location.clone() }.into());
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
                    self.end_document(kind, seen, &stored)
                }
                StoreContent::Unparsable { location, source, bytes } => {
                    let why = store::Error::Document { location, source };
                    self.end_unparsable(kind, seen, &bytes, why)
                }
                StoreContent::Nothing => return Ok(()),
            };
            match ended {
                Ok(LoginRemovalOutcome::Gone(removal, done)) => {
                    report.add(done);
                    if removal == Removal::Removed {
                        report.removed.push(RemovedCopy::from(&location));
                    }
                    return Ok(());
                }
                // Another program has committed meanwhile: what is there now has not been revoked.
                Ok(LoginRemovalOutcome::Moved(done)) => report.add(done),
                Err(error @ Error::Store(_)) if self.scope != LogoutScope::Force => {
                    report.keep(&location, &error);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        report.keep(&self.writer.stores().location(kind), &store::Error::Contended.into());
        Ok(())
    }

    fn end_document(
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
            self.writer.record(HomeState::unmark_logout)?;
            return Err(Error::Interrupted);
        }
        // What is revoked is removed, whatever becomes of the caller.
        self.writer.lease().deadline().finish();
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
        self.writer.lease().deadline().finish();
        let done = match revoke(self.engine, revocation) {
            Ok(()) => LogoutRevocation::Revoked,
            Err(error) if self.scope == LogoutScope::Force => LogoutRevocation::Failed(error.to_string()),
            Err(error) => {
                // The login stays, and its token is handed out again.
                let _ = self.writer.record(HomeState::unmark_logout);
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
        if let Err(error) = self.writer.hold(stored, RescuePurpose::Revoke) {
            self.keep()?;
            return Err(error.into());
        }
        failpoint::at("held");
        let removal = match self.writer.remove(StoreKind::Keychain, seen) {
            Ok(store::RemoveOutcome::Gone(removal)) => removal,
            Ok(store::RemoveOutcome::Moved(_)) => {
                self.writer.clear_rescue()?;
                return Ok(LoginRemovalOutcome::Moved(LogoutRevocation::NotNeeded));
            }
            Err(error) => {
                // If it may be gone, the next holder of the lease finds out, and completes the logout.
                if !error.is_unknown() {
                    self.keep()?;
                }
                return Err(error.into());
            }
        };
        failpoint::at("removed");
        if let Err(error) = revoke(self.engine, revocation) {
            // If another login is stored, the rescue keeps this one until it can be revoked.
            if put_back(self.writer, &stored.document)? == RestoreOutcome::Stored {
                self.writer.clear_rescue()?;
            } else {
                let _ = self.writer.recover()?;
            }
            return Err(error);
        }
        failpoint::at("revoked");
        self.writer.clear_rescue()?;
        Ok(LoginRemovalOutcome::Gone(removal, LogoutRevocation::Revoked))
    }

    /// Gives up ending a login that is in its store still.
    fn keep(&mut self) -> Result<(), Error> {
        self.writer.clear_rescue()?;
        Ok(self.writer.record(HomeState::unmark_logout)?)
    }

    pub(super) fn remove(
        &mut self,
        kind: StoreKind,
        seen: SeenRevision,
        done: LogoutRevocation,
    ) -> Result<LoginRemovalOutcome, Error> {
        if self.scope == LogoutScope::Force {
            return Ok(LoginRemovalOutcome::Gone(self.writer.force_removal(kind, self.ends)?, done));
        }
        match self.writer.remove(kind, seen)? {
            store::RemoveOutcome::Gone(removal) => Ok(LoginRemovalOutcome::Gone(removal, done)),
            store::RemoveOutcome::Moved(_) => Ok(LoginRemovalOutcome::Moved(done)),
        }
    }
}

pub(super) enum LoginRemovalOutcome {
    Gone(Removal, LogoutRevocation),
    Moved(LogoutRevocation),
}
