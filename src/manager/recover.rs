//! Completes what a killed process left behind, and revokes tokens that no stored login owns.

use super::engine::{Engine, block_on};
use super::error::Error;
use crate::authority::{self, Endpoint, Revocation, client_id};
use crate::config::{Environment, StoreKind};
use crate::document::AuthDocument;
use crate::store::rescue::{Rescue, RescuePurpose};
use crate::store::{self, HomeState, Lease, OrphanRescue, ReplaceOutcome, SeenRevision, WriteIntent, Writer};

/// Maximum number of copies of one login that are removed; another program may write one meanwhile.
const MAX_COPIES: usize = 4;

/// Completes a refresh or logout that a killed process left behind. Every lease holder calls it first.
///
/// # Errors
/// It cannot be completed now; then no token may be spent.
pub(super) fn recover(engine: &Engine, writer: &mut Writer<'_>) -> Result<(), Error> {
    for orphan in writer.recover()? {
        end_orphan(engine, writer, &orphan)?;
    }
    complete_logout(engine, writer)
}

/// Revokes the tokens of an orphan rescue, or restores them, and removes it.
pub(super) fn end_orphan(
    engine: &Engine,
    writer: &mut Writer<'_>,
    orphan: &OrphanRescue,
) -> Result<(), Error> {
    match orphan.rescue.purpose {
        RescuePurpose::Revoke => return complete_removed(engine, writer, orphan),
        RescuePurpose::Replaced if revoke_unfinished(engine, &orphan.rescue).is_err() => {
            return Ok(writer.set_orphan_aside(orphan)?);
        }
        RescuePurpose::Replaced => return Ok(writer.remove_orphan(orphan)?),
        RescuePurpose::Commit | RescuePurpose::Refused => {}
    }
    revoke_child(engine, &orphan.rescue);
    Ok(writer.remove_orphan(orphan)?)
}

/// Completes a refresh or logout that a killed process left behind. Call it before [`crate::login::keep`] or
/// [`crate::store::migrate`], so that the tokens of the login that they replace are not lost. Requires the lease; takes
/// Codex's commit locks if there is a document to commit.
///
/// # Errors
/// [`Error::Store`]: it cannot be completed now; the next transaction tries again.
pub fn finish_rescue(lease: &Lease, environment: &Environment) -> Result<(), Error> {
    let engine = Engine::of_system(lease.home().clone(), environment);
    recover(&engine, &mut engine.stores()?.writer(lease)?)
}

/// Revokes the unused refresh token of `rescue`. Errors are ignored: it may be invalid already.
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

/// Completes an interrupted logout: revokes and removes every stored copy of the login, also one that another program has
/// refreshed meanwhile. Its token is no longer served, so this is retried until it succeeds or a login replaces it.
fn complete_logout(engine: &Engine, writer: &mut Writer<'_>) -> Result<(), Error> {
    if writer.state().logging_out.is_none() {
        return Ok(());
    }
    for _ in 0..MAX_COPIES {
        let Some((seen, stored)) = writer.interrupted_logout()? else { return clear_logout(writer) };
        let revocation = Revocation::of_document(&engine.environment, &stored.document);
        if let Some(revocation) = revocation.map_err(authority::Error::from)? {
            revoke(engine, &revocation)?;
        }
        // If another program has replaced it, the next read shows whether it is the same login.
        let _ = writer.remove(stored.location.kind(), seen)?;
    }
    Err(store::Error::Contended.into())
}

/// Completes a logout that was interrupted after the login was removed from the keychain: revokes or restores it.
fn complete_removed(engine: &Engine, writer: &mut Writer<'_>, orphan: &OrphanRescue) -> Result<(), Error> {
    let Some(document) = &orphan.rescue.document else { return Ok(writer.remove_orphan(orphan)?) };
    let revocation =
        Revocation::of_document(&engine.environment, document).map_err(authority::Error::from)?;
    let revoked = revocation.map(|revocation| revoke(engine, &revocation));
    // A later login has cleared `logging_out`.
    let latest = writer.state().logging_out == Some(orphan.rescue.parent);
    match revoked {
        Some(Err(_)) if !latest || restore(writer, document)? == RestoreOutcome::Overtaken => {
            return Ok(writer.set_orphan_aside(orphan)?);
        }
        Some(Err(_)) => {}
        // Its stored copies are removed next.
        _ => writer.record(|state| state.mark_logout(document))?,
    }
    Ok(writer.remove_orphan(orphan)?)
}

/// Records that the logout is complete. State that describes another, stored login stays.
fn clear_logout(writer: &mut Writer<'_>) -> Result<(), Error> {
    let remains = writer.stores().find()?.stored.is_some();
    Ok(writer.record(|state| if remains { state.clear_logout_mark() } else { state.forget_login() })?)
}

/// How [`restore`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RestoreOutcome {
    /// The login is in the keychain again.
    Stored,
    /// Another login is in the keychain; this one is only in the rescue.
    Overtaken,
}

/// Stores a login in the keychain again, unless another one is there. The caller clears its rescue.
pub(super) fn restore(writer: &mut Writer<'_>, document: &AuthDocument) -> Result<RestoreOutcome, Error> {
    let kept = HomeState::clear_logout_mark;
    match writer.replace(StoreKind::Keychain, SeenRevision::Nothing, document, WriteIntent::Save, kept)? {
        ReplaceOutcome::Written(_) => Ok(RestoreOutcome::Stored),
        ReplaceOutcome::Changed(_) => {
            writer.record(kept)?;
            Ok(RestoreOutcome::Overtaken)
        }
    }
}

/// Sends `revocation` and waits for the response.
pub(super) fn revoke(engine: &Engine, revocation: &Revocation) -> Result<(), Error> {
    block_on(engine.authority.revoke(revocation))??;
    Ok(())
}

/// Revokes the tokens of a rescue that will not be committed.
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
