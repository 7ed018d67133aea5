//! Moving a login to another store: copy, read back, select, and only then remove what was copied.

use codex_auth_platform::private_file::Removal;
use jiff::Timestamp;

use super::commit::WriteIntent;
use super::content::{DocumentLocation, SeenRevision, StorageNote, StoreContent, StoredDocument};
use super::error::Error;
use super::find::Stores;
use super::preference::{LaterCopy, is_copy, later};
use super::seal::Seal;
use super::settings::SettingChange;
use super::writer::{RemoveOutcome, ReplaceOutcome, Writer};
use crate::config::StoreKind;

/// A token with a shorter lifetime, in seconds, is refreshed before the login is moved: a program that refreshed it
/// while the old copy is removed would lose the response.
const MIN_TOKEN_LIFETIME_SECS: u64 = 600;
/// How often a login is copied again because another program changed it meanwhile.
const MAX_ATTEMPTS: usize = 3;

/// The plan of a migration.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MigrationPlan {
    /// The login to move.
    pub stored: StoredDocument,
    /// The destination.
    pub to: StoreKind,
    /// Whether the document has to be copied.
    pub action: MigrationMove,
    /// The change of `config.toml`.
    pub setting: Option<SettingChange>,
    /// Warnings to show to the user.
    pub notes: Vec<StorageNote>,
}

impl MigrationPlan {
    /// Returns the remaining lifetime, in seconds, that the token must have before the move; `None` if it need not be
    /// refreshed.
    #[must_use]
    pub fn required_lifetime(&self, now: Timestamp) -> Option<u64> {
        let document = &self.stored.document;
        let left = document.expires_at(now)?.duration_since(now).as_secs();
        let expires_soon = left < i64::try_from(MIN_TOKEN_LIFETIME_SECS).unwrap_or(i64::MAX);
        let is_refreshed =
            self.action == MigrationMove::Copy && document.fingerprint().is_some() && expires_soon;
        is_refreshed.then_some(MIN_TOKEN_LIFETIME_SECS)
    }
}

/// Whether a migration copies the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MigrationMove {
    /// Copy it, then remove the old copy.
    Copy,
    /// It is already in the destination; only older copies are removed.
    Stay,
}

/// The result of a migration.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MigrationReport {
    /// Where the login is stored now.
    pub location: DocumentLocation,
    /// Whether the document was copied.
    pub action: MigrationMove,
    /// Where copies were removed.
    pub removed: Vec<DocumentLocation>,
    /// The change of `config.toml`.
    pub setting: Option<SettingChange>,
    /// The copies that could not be removed, and why. The login was moved all the same.
    pub not_removed: Vec<(StoreKind, String)>,
    /// Warnings to show to the user.
    pub notes: Vec<StorageNote>,
}

/// Plans moving the login to the store `to`; returns `None` without a login. Changes nothing.
///
/// # Errors
/// - As [`Stores::find`].
/// - [`Error::HandedIn`]: a copy elsewhere would not be replaced.
/// - [`Error::EncryptedLogin`], [`Error::EncryptionConfigured`]: Codex would not read the login there.
/// - The destination, the old copy or `config.toml` could not be written: the error that the change would return.
/// - [`Error::Occupied`]: the destination holds another login.
pub fn plan(stores: &Stores, to: StoreKind) -> Result<Option<MigrationPlan>, Error> {
    let found = stores.find()?;
    let Some(mut stored) = found.stored else { return Ok(None) };
    if stored.document.is_handed_in() {
        return Err(Error::HandedIn { location: stored.location });
    }
    stores.check_encryption(to.into())?;
    let destination = stores.store(to);
    destination.check_write(stores.timeout())?;
    if stores.setting_for(to.into()).is_some() {
        stores.settings().check_writable(stores.home())?;
    }
    // Of two copies the later one is moved, whichever store it is in.
    if let Ok(Some(other)) = stores.store(stored.location.kind().other()).load(stores.timeout())
        && later(&stored.document, &other.document) == Some(LaterCopy::Second)
    {
        stored = other;
    }
    let action = if stored.location.kind() == to { MigrationMove::Stay } else { MigrationMove::Copy };
    if action == MigrationMove::Copy {
        stores.store(to.other()).check_remove(stores.timeout())?;
        if let Ok(Some(there)) = destination.load(stores.timeout())
            && !is_copy(&there.document, &stored.document)
        {
            return Err(Error::Occupied { location: there.location });
        }
    }
    let setting = stores.setting_for(to.into());
    let setting = setting.map(|selection| stores.settings().planned_change(selection, stores.home()));
    // The move itself puts the login where `config.toml` points.
    let is_fixed = |note: &StorageNote| matches!(note, StorageNote::Misplaced { .. });
    let notes = found.notes.into_iter().filter(|note| !is_fixed(note)).collect();
    Ok(Some(MigrationPlan { stored, to, action, setting, notes }))
}

/// Moves the login to the store `to`; returns `None` without a login. The caller has completed any rescue.
///
/// The order is: copy, read back, edit `config.toml`, then remove exactly the revision that was copied. If another
/// program changes the old copy before its removal, it is copied again, up to three times; then everything is rolled
/// back. After a failure or crash at any point the current login is in a store that is read.
///
/// Another program that sends a refresh before the removal and commits after it finds no document and loses the
/// response; this cannot be prevented here.
///
/// # Errors
/// - As [`plan`].
/// - [`Error::WriteLost`]: the login was not read back; the old copy is unchanged.
/// - [`Error::Contended`]: another program kept changing the login; nothing was moved.
pub fn migrate(writer: &mut Writer<'_>, to: StoreKind) -> Result<Option<MigrationReport>, Error> {
    let Some(MigrationPlan { stored, action, mut notes, .. }) = plan(writer.stores(), to)? else {
        return Ok(None);
    };
    notes.extend(writer.take_notes());
    let mut report = MigrationReport {
        location: stored.location.clone(),
        action,
        removed: Vec::new(),
        setting: None,
        not_removed: Vec::new(),
        notes,
    };
    match action {
        MigrationMove::Copy => copy(writer, to, stored, &mut report)?,
        MigrationMove::Stay => {
            report.setting = writer.select(to.into())?;
            writer.record(|state| state.store = Some(to))?;
            remove_older(writer, to.other(), &stored, &mut report);
        }
    }
    if to == StoreKind::Keychain && writer.remove_duplicates()? > 0 {
        report.removed.push(report.location.clone());
    }
    Ok(Some(report))
}

fn copy(
    writer: &mut Writer<'_>,
    to: StoreKind,
    stored: StoredDocument,
    report: &mut MigrationReport,
) -> Result<(), Error> {
    let before = writer.store_settings();
    let there = writer.read(to)?;
    // Checked again, because the replacement compares with this content.
    if let StoreContent::Document(copy) = &there {
        if !is_copy(&copy.document, &stored.document) {
            return Err(Error::Occupied { location: copy.location.clone() });
        }
        if later(&stored.document, &copy.document) == Some(LaterCopy::Second) {
            return Err(Error::Contended);
        }
    }
    if to == StoreKind::Keychain && stored.document.fingerprint().is_some() {
        Seal::for_store(writer.lease(), to, &writer.stores().keychain(), writer.stores().timeout())?;
    }
    let (mut source, mut seen) = (stored, there.seen());
    for left in (0..MAX_ATTEMPTS).rev() {
        match copy_once(writer, to, seen, &source, report) {
            Ok(None) => return Ok(()),
            Ok(Some(newer)) if left > 0 => {
                seen = SeenRevision::Credential(source.document.revision());
                source = newer;
            }
            outcome => {
                // The last attempt may have failed before it replaced the copy of the one before.
                for wrote in [SeenRevision::Credential(source.document.revision()), seen] {
                    writer.roll_back(to, wrote, &there, &before, WriteIntent::Save);
                }
                return outcome.and(Err(Error::Contended));
            }
        }
    }
    Err(Error::Contended)
}

/// Copies `source` over what was `seen`, then removes it from its old store. If another program has changed the old
/// copy meanwhile, returns the newer document.
fn copy_once(
    writer: &mut Writer<'_>,
    to: StoreKind,
    seen: SeenRevision,
    source: &StoredDocument,
    report: &mut MigrationReport,
) -> Result<Option<StoredDocument>, Error> {
    match writer.replace(to, seen, &source.document, WriteIntent::Save, |_| {})? {
        ReplaceOutcome::Written(written) => {
            report.location = written.location;
            report.notes.extend(written.notes);
        }
        ReplaceOutcome::Changed(_) => return Err(Error::Contended),
    }
    report.setting = writer.select(to.into())?.or_else(|| report.setting.take());
    let from = to.other();
    let copied = SeenRevision::Credential(source.document.revision());
    match writer.remove(from, copied) {
        Ok(RemoveOutcome::Removed(Removal::Absent)) => {}
        Ok(RemoveOutcome::Removed(Removal::Removed)) => report.removed.push(source.location.clone()),
        Ok(RemoveOutcome::Changed(StoreContent::Document(newer)))
            if is_copy(&newer.document, &source.document) =>
        {
            return Ok(Some(*newer));
        }
        Ok(RemoveOutcome::Changed(_)) => return Err(Error::Contended),
        Err(error) => match writer.read(from).map(|now| now.seen()) {
            Ok(SeenRevision::Nothing) => report.removed.push(source.location.clone()),
            Ok(now) if now == copied => return Err(error),
            // The old copy may be gone, so the new one must stay.
            _ => report.not_removed.push((from, error.to_string())),
        },
    }
    Ok(None)
}

/// Removes the copy in the store of `kind` if it is an older copy of `stored`.
fn remove_older(
    writer: &mut Writer<'_>,
    kind: StoreKind,
    stored: &StoredDocument,
    report: &mut MigrationReport,
) {
    let content = match writer.read(kind) {
        Ok(content) => content,
        // Without a usable keychain there is no copy to remove.
        Err(_) if kind == StoreKind::Keychain => return,
        Err(error) => return report.not_removed.push((kind, error.to_string())),
    };
    let seen = content.seen();
    let Some(copy) = content.stored() else { return };
    if !is_copy(&copy.document, &stored.document) {
        let reason = "it is another login; log out of it first if it is not wanted";
        return report.not_removed.push((kind, reason.to_owned()));
    }
    if later(&stored.document, &copy.document) == Some(LaterCopy::Second) {
        return report.not_removed.push((kind, Error::Contended.to_string()));
    }
    match writer.remove(kind, seen) {
        Ok(RemoveOutcome::Removed(Removal::Removed)) => report.removed.push(copy.location),
        Ok(RemoveOutcome::Removed(_)) => {}
        Ok(RemoveOutcome::Changed(_)) => report.not_removed.push((kind, Error::Contended.to_string())),
        Err(error) => report.not_removed.push((kind, error.to_string())),
    }
}
