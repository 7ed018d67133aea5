//! Ending a login: the authority is told first, then every copy and every trace on this machine is removed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::engine::{Engine, block_on};
use super::error::Error;
use super::finish;
use super::job::Failure;
use crate::authority::{self, Endpoint, Revocation, Revoked, client_id};
use crate::config::{LegacyToken, StoreKind};
use crate::document::{AuthDocument, AuthMode, Tokens};
use crate::store::{
    self, Deleted, Lease, Location, Note, Removal, Seen, State, Stores, Waiting, delete, rescue,
};

/// How often a copy that another program replaces meanwhile is gone for again.
const TRIES: usize = 2;
/// How long a forced logout waits for whoever holds the lease.
const FORCED_WAIT: Duration = Duration::from_secs(5);

/// How far a logout goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scope {
    /// Revoke, and remove only if that succeeded or was not needed.
    Revoke,
    /// Try to revoke, and remove whatever came of it.
    Force,
    /// Remove without telling the authority.
    Local,
}

/// What became of the tokens at the authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Revocations {
    /// They are revoked, or were dead already.
    Revoked,
    /// There was nothing that an authority could revoke.
    NotNeeded,
    /// The authority was not asked; tokens may live on until they expire.
    NotTried,
    /// It was asked and did not do it; tokens may live on until they expire. The text says why.
    Failed(String),
}

/// What a logout did.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// What became of the tokens.
    pub revocations: Revocations,
    /// Where copies were removed.
    pub removed: Vec<Removed>,
    /// Stores that hold or may hold a copy still, and why.
    pub failed: Vec<Remaining>,
    /// Whether an `auth_token` of old builds was removed from `config.toml`.
    pub legacy_token_removed: bool,
    /// What a person should hear.
    pub notes: Vec<String>,
}

/// A copy that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Removed {
    /// The store, by our word.
    pub store: String,
    /// Where it was.
    pub location: String,
}

impl Removed {
    fn from(location: &Location) -> Self {
        Self { store: location.kind().to_string(), location: location.to_string() }
    }
}

/// A copy that is, or may be, there still.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Remaining {
    /// The store, by our word.
    pub store: String,
    /// Why.
    pub failure: Failure,
}

impl Report {
    /// What there is to say where nobody ever logged in.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            revocations: Revocations::NotNeeded,
            removed: Vec::new(),
            failed: Vec::new(),
            legacy_token_removed: false,
            notes: Vec::new(),
        }
    }
}

/// Ends the login of a home. Logging out twice is fine. Locks: the lease, held throughout.
///
/// # Errors
/// - [`Error::Authority`]: the revocation failed; with [`Scope::Revoke`] everything is kept, so that it can be retried.
/// - [`Error::Store`]: the lease cannot be had, or nothing could be read; or a copy is left, after all others are gone.
pub(super) fn run(
    engine: &Engine,
    scope: Scope,
    waiting: &mut dyn FnMut(&Waiting<'_>),
) -> Result<Report, Error> {
    let limit = match scope {
        Scope::Force => FORCED_WAIT.min(engine.lock_timeout()),
        _ => engine.lock_timeout(),
    };
    let lease = Lease::acquire(&engine.home, limit, waiting)?;
    let mut stores = engine.stores()?.under(&lease)?;
    match finish::finish(engine, &lease, &stores) {
        Err(error) if scope == Scope::Revoke => return Err(error),
        // What cannot be finished is removed with the rest.
        _ => {}
    }
    let mut report = Report::nothing();
    for _ in 0..TRIES {
        // A login that cannot be read cannot be revoked, and is removed with the rest.
        let Some(stored) = stores.find().ok().and_then(|found| found.stored) else { break };
        match revoke(engine, &stored.document, scope)? {
            Revocations::NotNeeded => {}
            done => report.revocations = done,
        }
        let store = stores.store(stored.location.kind(), None);
        match delete(&lease, &*store, Seen::Credential(stored.document.revision()))? {
            Deleted::Gone(_) => {
                report.removed.push(Removed::from(&stored.location));
                break;
            }
            // Somebody has committed meanwhile: what is there now has not been revoked.
            Deleted::Moved(_) => {}
        }
    }
    remove_the_rest(&lease, &mut stores, &mut report)?;
    Ok(report)
}

/// Revokes the tokens of `document` as `scope` says.
fn revoke(engine: &Engine, document: &AuthDocument, scope: Scope) -> Result<Revocations, Error> {
    let managed = matches!(document.mode(), Some(AuthMode::ChatGpt)) && document.fingerprint().is_some();
    let Some(tokens) = document.tokens().filter(|_| managed) else { return Ok(Revocations::NotNeeded) };
    if scope == Scope::Local {
        return Ok(Revocations::NotTried);
    }
    match (ask(engine, tokens), scope) {
        (Ok(_), _) => Ok(Revocations::Revoked),
        (Err(error), Scope::Force) => Ok(Revocations::Failed(error.to_string())),
        (Err(error), _) => Err(error),
    }
}

fn ask(engine: &Engine, tokens: &Tokens) -> Result<Revoked, Error> {
    let endpoint =
        Endpoint::revoke(&engine.environment, &tokens.provenance).map_err(authority::Error::from)?;
    match Revocation::of_tokens(endpoint, client_id(&tokens.provenance).to_owned(), tokens) {
        Some(revocation) => Ok(block_on(engine.authority.revoke(&revocation))??),
        None => Ok(Revoked::AlreadyInvalid),
    }
}

/// Removes every other copy, in all stores. One that fails does not keep the others from being tried.
fn remove_the_rest(lease: &Lease, stores: &mut Stores, report: &mut Report) -> Result<(), Error> {
    let (state, note) = State::read(lease.home())?;
    report.notes.extend(note.map(|note| note.to_string()));
    let configured = stores.settings().config.store;
    let recorded = state.store == Some(StoreKind::Keychain) || configured == Some(StoreKind::Keychain);
    let auto = configured == Some(StoreKind::Auto);
    for kind in [StoreKind::File, StoreKind::Keychain] {
        match clear(lease, stores, kind) {
            Ok(location) => report.removed.extend(location),
            Err(error) if kind == StoreKind::Keychain && !(recorded || auto && error.hides_a_login()) => {
                if error.hides_a_login() {
                    report.notes.push(Note::KeychainPassedOver { reason: error.to_string() }.to_string());
                }
            }
            Err(error) => {
                let failure = Failure::from(&Error::from(error));
                report.failed.push(Remaining { store: kind.to_string(), failure });
            }
        }
    }
    report.legacy_token_removed = stores.remove_legacy_token(lease)? == LegacyToken::Present;
    if report.failed.is_empty() {
        rescue::clear(lease)?;
        if recorded || auto {
            // It protects nothing any more, and the next login makes another.
            let _ = stores.keychain().remove_sealing_key(lease, stores.deadline());
        }
        State::default().write(lease)?;
    }
    Ok(())
}

fn clear(lease: &Lease, stores: &Stores, kind: StoreKind) -> Result<Option<Removed>, store::Error> {
    let store = stores.store(kind, None);
    for _ in 0..TRIES {
        let (seen, copy) = Seen::in_store(&*store, stores.deadline())?;
        if seen == Seen::Nothing {
            return Ok(None);
        }
        match delete(lease, &*store, seen)? {
            Deleted::Gone(Removal::Absent) => return Ok(None),
            Deleted::Gone(_) => {
                let location = copy.map_or_else(|| stores.location(kind), |copy| copy.location);
                return Ok(Some(Removed::from(&location)));
            }
            Deleted::Moved(_) => {}
        }
    }
    Err(store::Error::Contended)
}
