//! The dependencies of a transaction, the read of the stored login, and the recovery from a killed process.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::error::Error;
use super::history::{history_of, record_foreign_change, record_recoveries, record_unavailable};
use super::read_order::ReadOrder;
use super::renewal::Renewal;
use super::snapshot::{Divergence, Snapshot};
use crate::authority::{self, Authority, Authorization, Endpoint, Issuer, Revocation, client_id};
use crate::clock::Clock;
use crate::config::{Environment, StoreKind};
use crate::document::{AuthDocument, Freshness};
use crate::history::{History, HistoryEvent, LogoutResult, RevocationCause};
use crate::home::Home;
use crate::remedy::ErrorKind;
use crate::store::migrate::{self, MigrationReport};
use crate::store::rescue::{Rescue, RescuePurpose};
use crate::store::{
    self, DocumentTarget, FindReport, HomeState, KeychainClient, Lease, LockDeadline, OrphanContent,
    OrphanRescue, RemoveOutcome, ReplaceOutcome, SeenRevision, SentCode, StoredDocument, Stores,
    UnfinishedExchange, Waiting, WriteIntent, Writer,
};

/// Maximum number of copies of one login that are removed; another program may write one meanwhile.
const MAX_COPIES: usize = 4;

/// What a manager does when another account logs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AccountPolicy {
    /// Uses the new account from then on.
    Follow,
    /// Keeps its token until it expires, then fails: work that began as one account does not continue as another.
    #[default]
    Stay,
}

/// The dependencies of a transaction. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    pub(super) home: Home,
    pub(super) environment: Environment,
    pub(super) keychain: KeychainClient,
    pub(super) authority: Authority,
    pub(super) clock: Clock,
    pub(super) policy: AccountPolicy,
    pub(super) read_order: ReadOrder,
}

impl Engine {
    /// Returns an engine with the system's keychain and clock.
    pub(super) fn new(home: Home, environment: Environment, policy: AccountPolicy) -> Self {
        Self {
            authority: Authority::new(&environment),
            home,
            environment,
            keychain: KeychainClient::system(),
            clock: Clock::system(),
            policy,
            read_order: ReadOrder::default(),
        }
    }

    /// Opens the stores with the current configuration.
    pub(super) fn stores(&self) -> Result<Stores, store::Error> {
        Stores::with_keychain(self.home.clone(), &self.environment, self.keychain.clone())
    }

    /// Reads the stored login and its recorded state.
    pub(super) fn load(&self) -> Result<Snapshot, store::Error> {
        Ok(self.find(&self.stores()?)?.1)
    }

    /// Reads as [`Self::load`] does, and also reports which stores were read.
    pub(super) fn find(&self, stores: &Stores) -> Result<(FindReport, Snapshot), store::Error> {
        // State first: a commit writes the document before the state, so the document is never older than the state.
        let ticket = self.read_order.begin();
        let state = HomeState::read(&self.home);
        let restrictions = &stores.settings().config.restrictions;
        let found = stores.find()?;
        let stored = found.stored.clone();
        let state = match state {
            Ok((state, _)) => state,
            // A login that is never refreshed does not need the state.
            Err(error) if stored.as_ref().is_some_and(|stored| stored.document.fingerprint().is_some()) => {
                return Err(error);
            }
            Err(_) => HomeState::default(),
        };
        // A refresh that was not committed left a usable token in the rescue.
        let now = self.clock.now();
        let is_stale = |stored: &&StoredDocument| {
            stored.document.freshness(now) != Freshness::Fresh && stored.document.fingerprint().is_some()
        };
        if let Some(successor) =
            stored.as_ref().filter(is_stale).and_then(|stored| stores.with_uncommitted_rescue(stored))
        {
            let path = self.home.own_records().rescue();
            let error = Arc::new(store::Error::NotCommitted { path });
            let snapshot = Snapshot::from_read(ticket, Some(successor), state).restricted_by(restrictions);
            return Ok((found, snapshot.diverging(Divergence::Uncommitted(error))));
        }
        let renewal = Renewal::of(stored.as_ref(), &self.home);
        let snapshot = Snapshot::from_read(ticket, stored, state).restricted_by(restrictions);
        let snapshot = snapshot.renewed_by(renewal);
        Ok((found, snapshot.with_logout_holder(|| store::holder(&self.home))))
    }

    /// Applies the restrictions of the configuration to `snapshot`. An unreadable configuration restricts nothing.
    pub(super) fn restricted(&self, snapshot: Snapshot) -> Snapshot {
        match self.stores() {
            Ok(stores) => snapshot.restricted_by(&stores.settings().config.restrictions),
            Err(_) => snapshot,
        }
    }

    /// Returns the history of the login. Touches no file of it.
    pub(super) fn history(&self) -> Result<History, store::Error> {
        let records = DocumentTarget::of(&self.home)?.records();
        Ok(History::open(&records, self.environment.history, self.clock.clone()))
    }

    pub(super) fn record(&self, writer: &Writer<'_>, event: HistoryEvent) {
        history_of(writer, &self.clock).record(event);
    }

    /// Records a store that a transaction could not use.
    pub(super) fn record_failure(&self, error: &Error) {
        if let Error::Store(error) = error
            && let Ok(history) = self.history()
        {
            record_unavailable(&history, error);
        }
    }

    /// Records a change by another program and a store that cannot be read, for a process that holds no lease. What a
    /// lease holder is changing now is left to it.
    pub(super) fn record_observations(&self) {
        let read = || {
            let state = HomeState::read(&self.home).ok().filter(|_| store::holder(&self.home).is_none());
            state.map(|(state, _)| state)
        };
        let (Ok(stores), Some(before)) = (self.stores(), read()) else { return };
        let found = stores.find();
        let Some(state) = read().filter(|now| now.generation == before.generation) else { return };
        let Ok(history) = self.history() else { return };
        match found {
            Ok(found) => record_foreign_change(&history, &self.home, &state, found.stored.as_ref()),
            Err(error) => record_unavailable(&history, &error),
        }
    }

    pub(super) fn lock_timeout(&self) -> Duration {
        self.environment.lock_timeout
    }
}

/// Blocks this thread until `request` completes on a new runtime.
///
/// Inside a tokio runtime the request runs on a new thread, because tokio panics when one of its threads starts a
/// runtime.
pub(crate) fn block_on<T: Send>(request: impl Future<Output = T> + Send) -> Result<T, Error> {
    if Handle::try_current().is_err() {
        return block_this_thread_on(request);
    }
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, || block_this_thread_on(request));
        thread.map_err(|_| Error::Internal)?.join().unwrap_or(Err(Error::Internal))
    })
}

fn block_this_thread_on<T>(request: impl Future<Output = T>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|_| Error::Internal)?;
    let answer = runtime.block_on(request);
    // Do not wait for a DNS lookup that is still running.
    runtime.shutdown_background();
    Ok(answer)
}

/// Completes a refresh or logout that a killed process left behind. Every lease holder calls it first.
///
/// # Errors
/// It cannot be completed now; then no token may be spent.
pub(super) fn recover(engine: &Engine, writer: &mut Writer<'_>) -> Result<(), Error> {
    let recovered = writer.recover();
    record_recoveries(writer, &engine.clock);
    for orphan in recovered? {
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
    let rescue = match &orphan.content {
        OrphanContent::Tokens(rescue) => rescue,
        OrphanContent::Exchange(exchange) => return end_exchange(engine, writer, orphan, exchange),
    };
    tracing::info!(parent = %rescue.parent, purpose = ?rescue.purpose, "recovery: ending an orphan rescue");
    match rescue.purpose {
        RescuePurpose::Revoke => return complete_removed(engine, writer, orphan, rescue),
        RescuePurpose::Replaced if revoke_unfinished(engine, rescue).is_err() => {
            return Ok(writer.set_orphan_aside(orphan)?);
        }
        RescuePurpose::Replaced => return Ok(writer.remove_orphan(orphan)?),
        RescuePurpose::Commit | RescuePurpose::Refused => {}
    }
    if revoke_child(engine, rescue) {
        let (token, why) = (rescue.child(), RevocationCause::Orphan);
        engine.record(writer, HistoryEvent::Revoked { token, why });
    }
    Ok(writer.remove_orphan(orphan)?)
}

/// Ends the grant of a code whose exchange was interrupted, by exchanging the code again: an authority that has issued
/// tokens for it refuses, and revokes them (RFC 6749, 4.1.2); one that has not issues them now, and they are revoked.
fn end_exchange(
    engine: &Engine,
    writer: &mut Writer<'_>,
    orphan: &OrphanRescue,
    exchange: &UnfinishedExchange,
) -> Result<(), Error> {
    tracing::info!("recovery: ending the login of a code whose exchange was interrupted");
    let UnfinishedExchange { code, provenance, .. } = exchange;
    let SentCode { code, verifier, redirect_uri } = code.clone();
    let authorization = Authorization { code, verifier, redirect_uri };
    let issuer =
        Issuer::parse("the issuer of an interrupted login", provenance.issuer.as_deref().unwrap_or_default());
    let issuer = issuer.map_err(authority::Error::from)?;
    match block_on(engine.authority.exchange(&issuer, &authorization))? {
        Ok(response) => match writer.save_exchanged_orphan(orphan, exchange, response.into())? {
            Some(orphan) => end_orphan(engine, writer, &orphan),
            None => Ok(()),
        },
        Err(error) if error.kind() == ErrorKind::Failed => Ok(writer.remove_orphan(orphan)?),
        Err(error) => {
            tracing::debug!(%error, "recovery: the code is sent again later");
            Ok(writer.set_orphan_aside(orphan)?)
        }
    }
}

/// Completes a refresh or logout that a killed process left behind. Call it before [`crate::login::commit_login`] or
/// [`crate::store::migrate`], so that the tokens of the login that they replace are not lost. Requires the lease; takes
/// Codex's commit locks if there is a document to commit.
///
/// # Errors
/// [`Error::Store`]: it cannot be completed now; the next transaction tries again.
pub fn finish_rescue(lease: &Lease, environment: &Environment) -> Result<(), Error> {
    let engine = Engine::new(lease.home().clone(), environment.clone(), AccountPolicy::Follow);
    recover(&engine, &mut engine.stores()?.writer(lease)?)
}

/// Revokes the unused refresh token of `rescue`, and returns whether it did. Errors are ignored: it may be invalid already.
fn revoke_child(engine: &Engine, rescue: &Rescue) -> bool {
    let Some(token) = rescue.tokens.refresh_token.clone().filter(|_| rescue.child() != Some(rescue.parent))
    else {
        return false;
    };
    let Ok(endpoint) = Endpoint::revoke(&engine.environment, &rescue.provenance) else { return false };
    let client_id = client_id(&rescue.provenance).to_owned();
    let revocation = Revocation::of_refresh_token(endpoint, client_id, token);
    matches!(block_on(engine.authority.revoke(&revocation)), Ok(Ok(_)))
}

/// Completes an interrupted logout: revokes and removes every stored copy of the login, also one that another program
/// has refreshed meanwhile. Its token is no longer served, so this is retried until it succeeds or a login replaces it.
fn complete_logout(engine: &Engine, writer: &mut Writer<'_>) -> Result<(), Error> {
    let Some(token) = writer.state().logging_out else { return Ok(()) };
    tracing::info!(%token, "recovery: completing an interrupted logout");
    for _ in 0..MAX_COPIES {
        let Some((seen, stored)) = writer.interrupted_logout()? else { return clear_logout(writer) };
        let revocation = Revocation::of_document(&engine.environment, &stored.document);
        if let Some(revocation) = revocation.map_err(authority::Error::from)? {
            revoke(engine, &revocation)?;
        }
        // If another program has replaced it, the next read shows whether it is the same login.
        let removed = writer.remove(stored.location.kind(), seen)?;
        if matches!(removed, RemoveOutcome::Removed(_)) {
            let token = stored.document.logout_fingerprint();
            engine.record(writer, HistoryEvent::Logout { token, result: LogoutResult::Revoked });
        }
    }
    Err(store::Error::Contended.into())
}

/// Completes a logout that was interrupted after the login was removed from the keychain: revokes or restores it.
fn complete_removed(
    engine: &Engine,
    writer: &mut Writer<'_>,
    orphan: &OrphanRescue,
    rescue: &Rescue,
) -> Result<(), Error> {
    let Some(document) = &rescue.document else { return Ok(writer.remove_orphan(orphan)?) };
    let revocation =
        Revocation::of_document(&engine.environment, document).map_err(authority::Error::from)?;
    let revoked = revocation.map(|revocation| revoke(engine, &revocation));
    // A later login has cleared `logging_out`.
    let latest = writer.state().logging_out == Some(rescue.parent);
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
    let remains = writer.stores().find_readable()?.stored.is_some();
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
    let outcome = block_on(engine.authority.revoke(revocation))?
        .inspect_err(|error| tracing::debug!(%error, "not revoked"))?;
    tracing::debug!(?outcome, "revoked a token");
    Ok(())
}

/// Revokes the tokens of a rescue that will not be committed.
pub(super) fn revoke_unfinished(engine: &Engine, rescue: &Rescue) -> Result<(), Error> {
    let revocation = match &rescue.document {
        Some(document) => Revocation::of_document(&engine.environment, document),
        None => Revocation::of_response(&engine.environment, &rescue.provenance, &rescue.tokens),
    };
    match revocation.map_err(authority::Error::from)? {
        Some(revocation) => revoke(engine, &revocation),
        None => Ok(()),
    }
}

/// Moves the login to the store `to`; returns `None` if there is none. Calls `on_wait` while another process holds the
/// lease. Locks: the lease, throughout, and Codex's commit locks for each change.
///
/// # Errors
/// - As [`migrate::migrate`] and [`Lease::acquire`]: the login was not moved.
/// - [`Error`]: the refresh or logout of a killed process cannot be completed now; nothing was changed.
pub fn move_login(
    stores: &Stores,
    environment: &Environment,
    to: StoreKind,
    limit: impl Into<LockDeadline>,
    on_wait: impl FnMut(&Waiting<'_>),
) -> Result<Option<MigrationReport>, Error> {
    let lease = Lease::acquire(stores.home(), limit, on_wait)?;
    let engine = Engine::new(lease.home().clone(), environment.clone(), AccountPolicy::Follow);
    let mut writer = stores.writer(&lease)?;
    recover(&engine, &mut writer)?;
    let report = migrate::migrate(&mut writer, to)?;
    if let Some(report) = &report {
        let token = writer.state().current;
        engine.record(&writer, HistoryEvent::Migrated { to: report.location.kind(), token });
        for removed in &report.removed {
            engine.record(&writer, HistoryEvent::CopyRemoved { store: removed.kind() });
        }
    }
    Ok(report)
}
