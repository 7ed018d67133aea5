//! Completes what a killed process left behind, and revokes tokens that no stored login owns.

use super::engine::{Engine, block_on};
use super::error::Error;
use crate::authority::{self, Endpoint, Revocation, client_id};
use crate::config::{Environment, StoreKind};
use crate::document::AuthDocument;
use crate::store::rescue::{Rescue, RescuePurpose};
use crate::store::{self, HomeState, Lease, OrphanRescue, ReplaceOutcome, SeenRevision, WriteIntent, Writer};

/// How many copies of one login are ended; another program may write one while its predecessor is removed.
const TRIES: usize = 4;

/// Completes a refresh or a logout that was cut off. Every holder of the lease does this first.
///
/// # Errors
/// It cannot be completed now; nothing may be spent.
pub(super) fn recover(engine: &Engine, writer: &mut Writer<'_>) -> Result<(), Error> {
    for orphan in writer.recover()? {
        dispose(engine, writer, &orphan)?;
    }
    complete_logout(engine, writer)
}

/// Revokes the tokens of an orphan and removes it.
pub(super) fn dispose(engine: &Engine, writer: &mut Writer<'_>, orphan: &OrphanRescue) -> Result<(), Error> {
    match orphan.rescue.purpose {
        RescuePurpose::Revoke => return complete_removed(engine, writer, orphan),
        RescuePurpose::Replaced if revoke_unfinished(engine, &orphan.rescue).is_err() => {
            return Ok(writer.keep_orphan(orphan)?);
        }
        RescuePurpose::Replaced => return Ok(writer.clear_orphan(orphan)?),
        RescuePurpose::Commit | RescuePurpose::Refused => {}
    }
    revoke_child(engine, &orphan.rescue);
    Ok(writer.clear_orphan(orphan)?)
}

/// Completes a refresh or logout that a killed process left behind. Call it before [`crate::login::keep`] or
/// [`crate::store::migrate`], so that the tokens of the login that they replace are not lost. Locks: the lease, which is
/// the caller's, and Codex's commit locks if there is something to commit.
///
/// # Errors
/// [`Error::Store`]: it cannot be done now; the next transaction tries again.
pub fn finish_rescue(lease: &Lease, environment: &Environment) -> Result<(), Error> {
    let engine = Engine::of_system(lease.home().clone(), environment);
    recover(&engine, &mut engine.stores()?.writer(lease)?)
}

/// Revokes the refresh token of `rescue`, which will not be used. Best effort: it may be dead already.
fn revoke_child(engine: &Engine, rescue: &Rescue) {
    let Some(token) = rescue.tokens.refresh_token.clone().filter(|_| rescue.child() != Some(rescue.parent))
    else {
        return;
    };
    if let Ok(endpoint) = Endpoint::revoke(&engine.environment, &rescue.provenance) {
        let client_id = client_id(&rescue.provenance).to_owned();
        let _ = block_on(engine.authority.revoke(&Revocation::of_refresh_token(endpoint, client_id, token)));
    }
}

/// Completes a logout that was cut off: revokes and removes every copy of the login that is still stored, also one that
/// another program has refreshed meanwhile. Its token is handed out no more, so this is retried until it succeeds, or a
/// login replaces it.
fn complete_logout(engine: &Engine, writer: &mut Writer<'_>) -> Result<(), Error> {
    if writer.state().logging_out.is_none() {
        return Ok(());
    }
    for _ in 0..TRIES {
        let Some((seen, stored)) = writer.interrupted_logout()? else { return forget(writer) };
        let revocation = Revocation::of_document(&engine.environment, &stored.document);
        if let Some(revocation) = revocation.map_err(authority::Error::from)? {
            revoke(engine, &revocation)?;
        }
        // If another program has replaced it, the next look tells whether that is of the same login.
        let _ = writer.remove(stored.location.kind(), seen)?;
    }
    Err(store::Error::Contended.into())
}

/// Completes a logout that was cut off after the login was removed from the keychain: revokes it, or puts it back.
fn complete_removed(engine: &Engine, writer: &mut Writer<'_>, orphan: &OrphanRescue) -> Result<(), Error> {
    let Some(document) = &orphan.rescue.document else { return Ok(writer.clear_orphan(orphan)?) };
    let revocation =
        Revocation::of_document(&engine.environment, document).map_err(authority::Error::from)?;
    let revoked = revocation.map(|revocation| revoke(engine, &revocation));
    // A login of ours since then has cleared this.
    let latest = writer.state().logging_out == Some(orphan.rescue.parent);
    match revoked {
        Some(Err(_)) if !latest || put_back(writer, document)? == RestoreOutcome::Overtaken => {
            return Ok(writer.keep_orphan(orphan)?);
        }
        Some(Err(_)) => {}
        // Copies of it in a store are ended next.
        _ => writer.record(|state| state.mark_logout(document))?,
    }
    Ok(writer.clear_orphan(orphan)?)
}

/// Records that a login has ended. What describes another one, which is stored, stays.
fn forget(writer: &mut Writer<'_>) -> Result<(), Error> {
    let remains = writer.stores().find()?.stored.is_some();
    Ok(writer.record(|state| if remains { state.unmark_logout() } else { state.log_out() })?)
}

/// How [`put_back`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RestoreOutcome {
    /// The login is in the keychain again.
    Stored,
    /// Another login is in the keychain, and this one is only in the rescue.
    Overtaken,
}

/// Puts a login back into the keychain, unless another one is there. The rescue that holds it is the caller's to clear.
pub(super) fn put_back(writer: &mut Writer<'_>, document: &AuthDocument) -> Result<RestoreOutcome, Error> {
    let kept = HomeState::unmark_logout;
    match writer.replace(StoreKind::Keychain, SeenRevision::Nothing, document, WriteIntent::Keep, kept)? {
        ReplaceOutcome::Written(_) => Ok(RestoreOutcome::Stored),
        ReplaceOutcome::Moved(_) => {
            writer.record(kept)?;
            Ok(RestoreOutcome::Overtaken)
        }
    }
}

/// Revokes, and waits for the answer.
pub(super) fn revoke(engine: &Engine, revocation: &Revocation) -> Result<(), Error> {
    block_on(engine.authority.revoke(revocation))??;
    Ok(())
}

/// Revokes what is in a rescue that will not be completed.
pub(super) fn revoke_unfinished(engine: &Engine, rescue: &Rescue) -> Result<(), Error> {
    let revocation = match (&rescue.document, &rescue.tokens.refresh_token) {
        (Some(document), _) => Revocation::of_document(&engine.environment, document),
        (None, Some(token)) => Endpoint::revoke(&engine.environment, &rescue.provenance).map(|endpoint| {
            let client_id = client_id(&rescue.provenance).to_owned();
            Some(Revocation::of_refresh_token(endpoint, client_id, token.clone()))
        }),
        (None, None) => Ok(None),
    };
    match revocation.map_err(authority::Error::from)? {
        Some(revocation) => revoke(engine, &revocation),
        None => Ok(()),
    }
}
