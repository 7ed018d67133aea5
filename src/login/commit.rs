//! Stores a new login, and removes the old one only after the new one is safe.

use crate::clock::Clock;
use crate::config::{StoreKind, StoreSelection, StoreSetting};
use crate::document::AuthDocument;
use crate::failpoint;
use crate::history::{History, HistoryEvent, LoginOwnerChange};
use crate::manager::{history_of, record_foreign_change, record_recoveries};
use crate::secret::Fingerprint;
use crate::store::{
    self, ChoiceReason, DocumentLocation, Error, HomeState, Removal, RemoveOutcome, ReplaceOutcome, Seal,
    SeenRevision, SettingChange, StorageNote, StoreChoice, StoreContent, StoredDocument, WriteIntent,
    WriteReport, Writer,
};

/// How many times a store that another program changes meanwhile is read again.
const MAX_ATTEMPTS: usize = 5;

/// The result of storing a login.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoreReport {
    /// The location of the login.
    pub location: DocumentLocation,
    /// Why it is stored there.
    pub reason: ChoiceReason,
    /// The login that it replaced, as last read before the replacement; `None` if it could not be read.
    pub superseded: Option<AuthDocument>,
    /// The locations from which other copies were removed.
    pub removed: Vec<DocumentLocation>,
    /// The change of `config.toml`.
    pub setting: Option<SettingChange>,
    /// Further logins that were overwritten or removed in either store.
    pub also_superseded: Vec<AuthDocument>,
    /// Notes for the user.
    pub notes: Vec<StorageNote>,
}

/// Stores `document` according to `choice`, replacing the login that is there.
///
/// Writes, reads back, updates `config.toml` and `state.json`, then removes the copy in the other store if it is
/// unchanged. A failure before the removal restores everything. Of two concurrent logins the last to commit wins.
///
/// # Errors
/// - As [`store::Stores::check`]: nothing was changed.
/// - As [`Writer::replace`]; [`Error::Contended`].
pub fn commit_login(
    writer: &mut Writer<'_>,
    choice: &StoreChoice,
    document: &AuthDocument,
) -> Result<StoreReport, Error> {
    writer.stores().check(choice)?;
    // A rescue that cannot be recovered here is left for the next refresh, which can revoke it.
    let _ = writer.recover();
    record_recoveries(writer, &Clock::system());
    commit_recorded(writer, choice, document, &mut |_, _| Ok(()))
}

/// Called immediately before a login is stored, with the logins that are stored now; an error ends the login.
pub(super) type RecordCommit<'a> = &'a mut dyn FnMut(&mut Writer<'_>, &[&AuthDocument]) -> Result<(), Error>;

/// As [`commit_login`], for a caller that has checked the choice and recovered, and whose `record` names what is to be
/// revoked if this process is killed.
pub(super) fn commit_recorded(
    writer: &mut Writer<'_>,
    choice: &StoreChoice,
    document: &AuthDocument,
    record: RecordCommit<'_>,
) -> Result<StoreReport, Error> {
    let ended = writer.save_interrupted_logout().ok().flatten();
    // An unreadable old login must not prevent a new one.
    let old = writer.stores().find_readable().ok().and_then(|found| found.stored);
    let history = history_of(writer, &Clock::system());
    record_foreign_change(&history, writer.stores().home(), writer.state(), old.as_ref());
    let poisoned = writer.state().poison.as_ref().map(|poison| poison.fingerprint);
    let setting = writer.stores().settings().config.store;
    let named_keychain = writer.state().store == Some(StoreKind::Keychain)
        || setting == StoreSetting::Selected(StoreSelection::Keychain)
        || old.as_ref().is_some_and(|old| old.location.kind() == StoreKind::Keychain);
    let in_keychain_before = named_keychain || setting == StoreSetting::Selected(StoreSelection::Auto);

    let (kind, note) = writer.stores().resolve(choice.selection);
    let mut notes: Vec<_> = writer.take_notes().into_iter().chain(note).collect();
    let written = match store_in(writer, kind, choice, document, old.as_ref(), record) {
        // The keychain refused, and nothing was written to it.
        Err(error)
            if kind == StoreKind::Keychain
                && choice.selection == StoreSelection::Auto
                && !error.is_unknown() =>
        {
            notes.push(StorageNote::KeychainSkipped { reason: error.to_string() });
            store_in(writer, StoreKind::File, choice, document, old.as_ref(), record)?
        }
        written => written?,
    };
    notes.extend(written.written.notes);
    let kind = written.written.location.kind();
    record_new_login(&history, kind, document, written.superseded.as_ref(), poisoned);
    let other = written.other.as_ref().ok().and_then(StoreContent::document).cloned();
    let (mut removed, mut gone) = (Vec::new(), written.replaced);
    if kind == StoreKind::Keychain || in_keychain_before {
        match remove_copy(writer, kind.other(), written.other) {
            Ok(Some(location)) => {
                history.record(HistoryEvent::CopyRemoved { store: location.kind() });
                removed.push(location);
                gone.extend(other);
            }
            Ok(None) => {}
            // A machine without a keychain has no copy to leave behind.
            Err(error) if kind == StoreKind::File && !named_keychain && !error.may_hide_login() => {}
            Err(error) => {
                if kind == StoreKind::File {
                    // If this fails too, the login is stored, and the note reports the copy.
                    let _ = writer.record(|state| state.left_in_keychain = true);
                }
                notes.push(StorageNote::NotRemoved { kind: kind.other(), reason: error.to_string() });
            }
        }
    }
    let is_another = |gone: &AuthDocument| {
        let known = [Some(document), written.superseded.as_ref()].into_iter().flatten();
        let mut known = known.map(AuthDocument::logout_fingerprint);
        gone.logout_fingerprint().is_some() && known.all(|known| known != gone.logout_fingerprint())
    };
    let also_superseded = gone.into_iter().filter(is_another).collect();
    Ok(StoreReport {
        location: written.written.location,
        reason: choice.reason.clone(),
        superseded: written.superseded.filter(|old| ended.is_none() || old.logout_fingerprint() != ended),
        removed,
        setting: written.setting,
        also_superseded,
        notes,
    })
}

/// Records the stored login `new`, which replaced `old` and heals the token `poisoned`.
fn record_new_login(
    history: &History,
    store: StoreKind,
    new: &AuthDocument,
    old: Option<&AuthDocument>,
    poisoned: Option<Fingerprint>,
) {
    let owner = match old {
        None => LoginOwnerChange::First,
        Some(old) if old.identity().contradicts(&new.identity()) => LoginOwnerChange::Another,
        Some(old) if old.is_same_login_as(new) => LoginOwnerChange::Same,
        Some(_) => LoginOwnerChange::Unknown,
    };
    let (token, replaced) = (new.fingerprint(), old.and_then(AuthDocument::fingerprint));
    history.record(HistoryEvent::Login { token, replaced, owner, store });
    if let Some(poisoned) = poisoned {
        history.record(HistoryEvent::Healed { token: poisoned, by: token });
    }
}

/// A stored and selected login, the login in use before, and the previous content of both stores.
struct SelectedLogin {
    written: WriteReport,
    superseded: Option<AuthDocument>,
    replaced: Vec<AuthDocument>,
    setting: Option<SettingChange>,
    other: Result<StoreContent, Error>,
}

fn store_in(
    writer: &mut Writer<'_>,
    kind: StoreKind,
    choice: &StoreChoice,
    document: &AuthDocument,
    old: Option<&StoredDocument>,
    record: RecordCommit<'_>,
) -> Result<SelectedLogin, Error> {
    if kind == StoreKind::Keychain && document.fingerprint().is_some() {
        Seal::for_store(writer.lease(), kind, &writer.stores().keychain(), writer.stores().timeout())?;
    }
    let before = writer.store_settings();
    let other = writer.read(kind.other());
    let mut there = writer.read(kind)?;
    failpoint::at("old login read");
    for _ in 0..MAX_ATTEMPTS {
        // Another program may have refreshed the old login since it was read.
        let superseded = match (&there, old) {
            (_, Some(old)) if old.location.kind() != kind => Some(&old.document),
            (StoreContent::Document(stored), _) => Some(&stored.document),
            _ => None,
        };
        let stored = [superseded, there.document(), other.as_ref().ok().and_then(StoreContent::document)];
        record(writer, &stored.into_iter().flatten().collect::<Vec<_>>())?;
        failpoint::at("login recorded");
        let finished = match writer.replace(kind, there.seen(), document, WriteIntent::Login, |state| {
            record_login(state, document, superseded);
        }) {
            Ok(ReplaceOutcome::Changed(now)) => {
                there = now;
                continue;
            }
            Ok(ReplaceOutcome::Written(written)) => {
                failpoint::at("login written");
                writer.select(choice.selection).map(|setting| (written, setting))
            }
            Err(error) => Err(error),
        };
        return match finished {
            Ok((written, setting)) => {
                let superseded = superseded.cloned();
                Ok(SelectedLogin {
                    written,
                    superseded,
                    replaced: there.document().cloned().into_iter().collect(),
                    setting,
                    other,
                })
            }
            Err(error) => {
                let wrote = SeenRevision::Credential(document.revision());
                writer.roll_back(kind, wrote, &there, &before, WriteIntent::Login);
                Err(error)
            }
        };
    }
    Err(Error::Contended)
}

/// Records a new login.
fn record_login(state: &mut HomeState, document: &AuthDocument, old: Option<&AuthDocument>) {
    // A token of another account is still valid, and its document may come back.
    let same = old.filter(|old| old.is_same_login_as(document));
    let replaced = same.and_then(AuthDocument::fingerprint);
    if let Some(fingerprint) = replaced.filter(|replaced| Some(*replaced) != document.fingerprint()) {
        state.mark_spent(fingerprint);
    }
    // The recorded outcomes concern the previous token.
    (state.poison, state.outcome, state.received_at) = (None, None, None);
    state.clear_logout_mark();
}

/// Removes the copy in the store of `kind` if it is unchanged since the login began, and returns its location.
fn remove_copy(
    writer: &mut Writer<'_>,
    kind: StoreKind,
    before: Result<StoreContent, Error>,
) -> Result<Option<DocumentLocation>, store::Error> {
    let before = before?;
    let seen = before.seen();
    if seen == SeenRevision::Nothing {
        return Ok(None);
    }
    let location = writer.stores().location(kind);
    match writer.remove(kind, seen)? {
        RemoveOutcome::Removed(Removal::Removed) => Ok(Some(location)),
        RemoveOutcome::Removed(Removal::Absent) => Ok(None),
        RemoveOutcome::Changed(_) => Err(Error::Contended),
    }
}
