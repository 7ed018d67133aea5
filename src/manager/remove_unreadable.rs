//! Logout of content that is not a readable document.

use super::error::Error;
use super::logout::{LogoutReport, LogoutRevocation, LogoutScope, RemovedCopy};
use super::recover::revoke;
use super::remove_login::{LoginRemoval, LoginRemovalOutcome};
use crate::authority::{self, Endpoint, Revocation, client_id};
use crate::config::StoreKind;
use crate::document::{Provenance, salvage};
use crate::store::{self, Removal, SeenRevision, StorageNote};

impl LoginRemoval<'_, '_> {
    /// Removes bytes that are no valid document. Tokens found in them are revoked at the default endpoint.
    pub(super) fn remove_unparsable(
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

    /// Handles a store that cannot be read. A keychain that reports no item and that was never used is skipped; otherwise
    /// the copy is reported as not removed, or removed by force.
    pub(super) fn remove_unread(
        &mut self,
        kind: StoreKind,
        error: store::Error,
        report: &mut LogoutReport,
    ) -> Result<(), Error> {
        let location = self.writer.stores().location(kind);
        if kind == StoreKind::Keychain && !self.writer.keychain_may_hold_login(&error) {
            let holds = || self.writer.stores().keychain().has_item(self.writer.stores().deadline());
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
            match self.remove_oversized(&bytes) {
                Ok(Some((removal, done))) => {
                    report.add_revocation(done);
                    if removal == Removal::Removed {
                        report.removed.push(RemovedCopy::from(&location));
                    }
                    return Ok(());
                }
                Err(error @ Error::Store(_)) if self.scope == LogoutScope::Revoke => {
                    report.add_remaining(&location, &error);
                    return Ok(());
                }
                Err(failed) if self.scope == LogoutScope::Revoke => return Err(failed),
                _ => {}
            }
        }
        if self.scope == LogoutScope::Force || (self.scope == LogoutScope::Local && kind == StoreKind::File) {
            return self.force_remove(kind, report, Some(error));
        }
        report.add_remaining(&location, &error.into());
        Ok(())
    }

    /// Revokes the tokens in a file that is too large for a document, and removes it; returns `None` if there are none.
    fn remove_oversized(&mut self, bytes: &[u8]) -> Result<Option<(Removal, LogoutRevocation)>, Error> {
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
            return Ok(Some((self.writer.force_remove(StoreKind::File, self.force_until)?, done)));
        }
        let removal = self.writer.remove_unparsable_file(bytes)?.ok_or(store::Error::Contended)?;
        Ok(Some((removal, done)))
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
