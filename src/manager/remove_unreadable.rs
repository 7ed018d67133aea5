//! Ends what a store holds that cannot be read as a document.

use super::error::Error;
use super::logout::{LogoutReport, LogoutRevocation, LogoutScope, RemovedCopy};
use super::recover::revoke;
use super::remove_login::{LoginRemoval, LoginRemovalOutcome};
use crate::authority::{self, Endpoint, Revocation, client_id};
use crate::config::StoreKind;
use crate::document::{Provenance, salvage};
use crate::store::{self, Removal, SeenRevision, StorageNote};

impl LoginRemoval<'_, '_> {
    /// What is no document may hold tokens all the same; they are revoked where Codex's own are.
    pub(super) fn end_unparsable(
        &mut self,
        kind: StoreKind,
        seen: SeenRevision,
        bytes: &[u8],
        why: store::Error,
    ) -> Result<LoginRemovalOutcome, Error> {
        if bytes.trim_ascii().is_empty() {
            return self.remove(kind, seen, LogoutRevocation::NotNeeded);
        }
        if self.scope == LogoutScope::Local {
            return self.remove(kind, seen, LogoutRevocation::NotTried);
        }
        if self.scope != LogoutScope::Force {
            self.writer.check_remove(kind)?;
        }
        match (self.revoke_salvaged(bytes), self.scope) {
            (Some(Ok(())), _) => self.remove(kind, seen, LogoutRevocation::Revoked),
            (Some(Err(error)), LogoutScope::Force) => {
                self.remove(kind, seen, LogoutRevocation::Failed(error.to_string()))
            }
            (Some(Err(error)), _) => Err(error),
            (None, LogoutScope::Force) => self.remove(kind, seen, LogoutRevocation::Failed(why.to_string())),
            (None, _) => Err(why.into()),
        }
    }

    /// Revokes the tokens in bytes that are no document; `None` if there are none.
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

    /// A store that cannot be read: a keychain that does not say that it holds one, and that nothing else says was used, is
    /// passed over; otherwise the copy is kept and reported, or removed by force.
    pub(super) fn end_unread(
        &mut self,
        kind: StoreKind,
        error: store::Error,
        report: &mut LogoutReport,
    ) -> Result<(), Error> {
        let location = self.writer.stores().location(kind);
        if kind == StoreKind::Keychain && !self.writer.may_hide_a_login(&error) {
            let holds = || self.writer.stores().keychain().holds(self.writer.stores().deadline());
            if !error.hides_a_login() || !matches!(holds(), Ok(true)) {
                if error.hides_a_login() {
                    report
                        .notes
                        .push(StorageNote::KeychainPassedOver { reason: error.to_string() }.to_string());
                }
                return Ok(());
            }
        }
        if kind == StoreKind::File
            && self.scope != LogoutScope::Local
            && let Ok(Some(bytes)) = self.writer.stores().whole_file()
        {
            match self.end_bytes(&bytes) {
                Ok(Some((removal, done))) => {
                    report.add(done);
                    if removal == Removal::Removed {
                        report.removed.push(RemovedCopy::from(&location));
                    }
                    return Ok(());
                }
                Err(error @ Error::Store(_)) if self.scope == LogoutScope::Revoke => {
                    report.keep(&location, &error);
                    return Ok(());
                }
                Err(failed) if self.scope == LogoutScope::Revoke => return Err(failed),
                _ => {}
            }
        }
        if self.scope == LogoutScope::Force || (self.scope == LogoutScope::Local && kind == StoreKind::File) {
            return self.force(kind, report, Some(error));
        }
        report.keep(&location, &error.into());
        Ok(())
    }

    /// Revokes the tokens in a file that is too large for a document, and removes it; `None` if there are none.
    fn end_bytes(&mut self, bytes: &[u8]) -> Result<Option<(Removal, LogoutRevocation)>, Error> {
        if self.scope != LogoutScope::Force {
            self.writer.check_remove(StoreKind::File)?;
        }
        let done = match self.revoke_salvaged(bytes) {
            None => return Ok(None),
            Some(Ok(())) => LogoutRevocation::Revoked,
            Some(Err(error)) if self.scope == LogoutScope::Force => {
                LogoutRevocation::Failed(error.to_string())
            }
            Some(Err(error)) => return Err(error),
        };
        if self.scope == LogoutScope::Force {
            return Ok(Some((self.writer.force_removal(StoreKind::File, self.ends)?, done)));
        }
        let removal = self.writer.remove_file_of(bytes)?.ok_or(store::Error::Contended)?;
        Ok(Some((removal, done)))
    }

    /// Removes what could not be read.
    fn force(
        &mut self,
        kind: StoreKind,
        report: &mut LogoutReport,
        unread: Option<store::Error>,
    ) -> Result<(), Error> {
        match self.writer.force_removal(kind, self.ends) {
            Ok(Removal::Absent) => {}
            Ok(Removal::Removed) => {
                report.removed.push(RemovedCopy::from(&self.writer.stores().location(kind)));
                if let Some(error) = unread {
                    report.add(LogoutRevocation::Failed(error.to_string()));
                }
            }
            Err(error) => report.keep(&self.writer.stores().location(kind), &error.into()),
        }
        Ok(())
    }
}
