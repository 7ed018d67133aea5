//! Records what transactions do, and changes by other programs, in the history of the login.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use super::programs::programs_using;
use super::request::RefreshReason;
use super::snapshot::Snapshot;
use crate::authority::Endpoint;
use crate::clock::Clock;
use crate::config::StoreKind;
use crate::document::AuthDocument;
use crate::history::{
    ForeignChange, History, HistoryEvent, HistoryRecord, Label, ProcessLabel, RecordedReason, RescueLoss,
    StoreFailure,
};
use crate::home::Home;
use crate::secret::Fingerprint;
use crate::store::{
    self, DocumentTarget, FileError, HomeState, KeychainError, RescueRecovery, StoredDocument, Stores, Writer,
};

/// The most running processes that an event names.
const MAX_RUNNING: usize = 8;
/// A clock that differs from the authority's by less counts as right.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// Returns the history of the login of `home`. Touches no file of the history.
///
/// # Errors
/// As [`DocumentTarget::of`].
pub fn history(stores: &Stores, clock: Clock) -> Result<History, store::Error> {
    let records = DocumentTarget::of(stores.home())?.records();
    Ok(History::open(&records, stores.history_setting(), clock))
}

/// Returns the history of the login that `writer` changes.
pub(crate) fn history_of(writer: &Writer<'_>, clock: &Clock) -> History {
    History::open(&writer.lease().records(), writer.stores().history_setting(), clock.clone())
}

/// A request to the authority, as events describe it.
pub(super) struct RequestRecord {
    pub(super) reason: RefreshReason,
    pub(super) began: Instant,
    pub(super) host: Label,
}

impl RequestRecord {
    pub(super) fn new(reason: RefreshReason, endpoint: &Endpoint) -> Self {
        Self { reason, began: Instant::now(), host: Label::of(endpoint.host()) }
    }

    pub(super) fn millis(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn reason(&self) -> RecordedReason {
        match self.reason {
            RefreshReason::Forced => RecordedReason::Forced,
            RefreshReason::Keeper => RecordedReason::Keeper,
            RefreshReason::MinTtl(_) => RecordedReason::MinTtl,
            RefreshReason::Stale => RecordedReason::Stale,
            RefreshReason::Unauthorized(_) => RecordedReason::Unauthorized,
        }
    }
}

/// Returns the event of a clock that differs from the authority's, by the token in `snapshot`, which was just issued.
pub(super) fn clock_difference(snapshot: &Snapshot, now: Timestamp) -> Option<HistoryEvent> {
    let issued = snapshot.document()?.access_claims().issued_at?;
    let ahead = now.duration_since(issued);
    (ahead.abs() > CLOCK_TOLERANCE).then(|| HistoryEvent::ClockStepped { seconds: ahead.as_secs() })
}

/// Records what a writer recovered. `current` is the refresh token that was stored then.
pub(crate) fn record_recoveries(writer: &mut Writer<'_>, clock: &Clock) {
    let history = history_of(writer, clock);
    let current = writer.state().current;
    for recovery in writer.take_recoveries() {
        match recovery {
            RescueRecovery::Unanswered => {
                history.record(HistoryEvent::RescueLost { spent: current, why: RescueLoss::Killed });
            }
            RescueRecovery::Stored { spent, received } => {
                history.record(HistoryEvent::RescueFound { spent, received });
                history.record(HistoryEvent::RescueRecovered { spent, received });
            }
            RescueRecovery::Overtaken { spent, received } => {
                history.record(HistoryEvent::RescueFound { spent, received });
                history.record(HistoryEvent::RescueLost { spent: Some(spent), why: RescueLoss::Overtaken });
            }
            RescueRecovery::SetAside => {
                history.record(HistoryEvent::RescueLost { spent: None, why: RescueLoss::Unusable });
            }
        }
    }
}

/// Records that another program has changed the login, if `stored` is not what `state` says that this library left, and
/// no event says so yet.
///
/// Call it with a state and a document between which no process of this library can have changed either: under the lease.
pub(crate) fn record_foreign_change(
    history: &History,
    home: &Home,
    state: &HomeState,
    stored: Option<&StoredDocument>,
) {
    let Some((change, token)) = foreign_change(state, stored.map(|stored| &stored.document)) else { return };
    let is_known = |records: &[HistoryRecord]| is_recorded(records, token);
    if is_known(&history.read().records) {
        return;
    }
    let running = programs_using(home).into_iter().take(MAX_RUNNING);
    let event = HistoryEvent::Adopted {
        before: state.current,
        token,
        change,
        changed: stored.and_then(|stored| store::written_at(&stored.location)),
        holder: store::commit_lock_holder(home).map(|held| ProcessLabel::new(held.pid, &held.program)),
        running: running.map(|found| ProcessLabel::new(found.pid, "codex")).collect(),
    };
    history.record_unless(event, is_known);
    let poisoned = state.poison.as_ref().map(|poison| poison.fingerprint);
    if let Some(poisoned) = poisoned.filter(|poisoned| token.is_some_and(|token| token != *poisoned)) {
        history.record_unless(HistoryEvent::Healed { token: poisoned, by: token }, |records| {
            let healed = |record: &HistoryRecord| matches!(record.event, HistoryEvent::Healed { token, .. } if token == poisoned);
            records.iter().any(healed)
        });
    }
}

/// Returns whether the last event that says what is stored says that it is `token`.
fn is_recorded(records: &[HistoryRecord], token: Option<Fingerprint>) -> bool {
    records.iter().rev().find_map(|record| record.event.stored_token()) == Some(token)
}

/// Returns how the stored document differs from what `state` says that this library left; `None` if it does not.
#[must_use]
pub fn foreign_change(
    state: &HomeState,
    stored: Option<&AuthDocument>,
) -> Option<(ForeignChange, Option<Fingerprint>)> {
    let token = stored.and_then(AuthDocument::fingerprint);
    let change = match (state.current, stored) {
        (current, Some(_)) if current == token => return None,
        (None, None) => return None,
        // A credential without a refresh token is not followed.
        (None, Some(_)) if token.is_none() => return None,
        (_, Some(_)) if token.is_some_and(|token| state.spent.contains(&token)) => ForeignChange::OldCopy,
        (None, Some(_)) => ForeignChange::Appeared,
        (Some(_), None) => ForeignChange::Removed,
        (Some(_), Some(document)) => match (state.owner, store::owner_of(document)) {
            (Some(before), Some(now)) if before == now => ForeignChange::NewTokens,
            (Some(_), Some(_)) => ForeignChange::OtherAccount,
            _ => ForeignChange::Other,
        },
    };
    Some((change, token))
}

/// Records that a store cannot be used, unless the last event says so.
pub(crate) fn record_unavailable(history: &History, error: &store::Error) {
    let Some((store, why)) = unavailable(error) else { return };
    let event = HistoryEvent::StoreUnavailable { store, why };
    let known = event.clone();
    history.record_unless(event, |records| records.last().is_some_and(|last| last.event == known));
}

/// Returns why a store could not be used, if that is what `error` says.
#[must_use]
pub fn store_failure(error: &store::Error) -> Option<StoreFailure> {
    unavailable(error).map(|(_, why)| why)
}

fn unavailable(error: &store::Error) -> Option<(Option<StoreKind>, StoreFailure)> {
    let keychain = Some(StoreKind::Keychain);
    Some(match error {
        store::Error::Keychain(error) => (keychain, keychain_failure(error)),
        store::Error::RescueSealed { source, .. } => (keychain, keychain_failure(source)),
        store::Error::ReadOnlyHome { .. } => (None, StoreFailure::ReadOnly),
        store::Error::File(FileError::NoSpace { .. }) => (Some(StoreKind::File), StoreFailure::NoSpace),
        store::Error::File(error) if error.is_read_only() => (Some(StoreKind::File), StoreFailure::ReadOnly),
        store::Error::File(_) => (Some(StoreKind::File), StoreFailure::Other),
        store::Error::Document { location, .. } => (Some(location.kind()), StoreFailure::Unparsable),
        _ => return None,
    })
}

fn keychain_failure(error: &KeychainError) -> StoreFailure {
    match error {
        KeychainError::Locked { .. } | KeychainError::PromptRequired { .. } => StoreFailure::Locked,
        KeychainError::Unavailable { .. } | KeychainError::NotSetUp { .. } => StoreFailure::NoService,
        KeychainError::TimedOut { .. } => StoreFailure::TimedOut,
        KeychainError::Denied { .. } => StoreFailure::Denied,
        _ => StoreFailure::Other,
    }
}
