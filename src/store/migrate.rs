//! Moving a login to another store: copy, read back, select, and only then remove what was copied.

use codex_auth_platform::private_file::Removal;

use super::preference::{self, LaterCopy, is_copy};
use super::{
    DocumentLocation, Error, RemoveOutcome, ReplaceOutcome, Seal, SeenRevision, StorageNote, StoreContent,
    StoredDocument, Stores, WriteIntent, Writer,
};
use crate::config::StoreKind;

/// A login is refreshed before it is moved if its token lasts less than this, in seconds: a program that refreshes it
/// while the old copy is removed drops the answer.
pub const FRESH_FOR: u64 = 600;
/// How often a login that another program changes meanwhile is copied.
const TRIES: usize = 3;

/// What a migration will do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MigrationPlan {
    /// The login to move.
    pub stored: StoredDocument,
    /// Where to.
    pub to: StoreKind,
    /// What is to be done about the document.
    pub action: MigrationMove,
    /// What a person should hear.
    pub notes: Vec<StorageNote>,
}

/// What is to be done about the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MigrationMove {
    /// Copy it, then remove the old copy.
    Copy,
    /// It is there already; only other copies are dealt with.
    Stay,
}

/// What a migration did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MigrationReport {
    /// Where the login is now.
    pub location: DocumentLocation,
    /// Whether the document moved.
    pub action: MigrationMove,
    /// Where copies were removed.
    pub removed: Vec<DocumentLocation>,
    /// Copies that could not be removed, and why. The login has moved all the same.
    pub left: Vec<(StoreKind, String)>,
    /// What a person should hear.
    pub notes: Vec<StorageNote>,
}

/// Finds the login and what moving it to `to` takes; `None` without a login. Nothing is changed.
///
/// # Errors
/// - As [`Stores::find`].
/// - The destination, the old copy or `config.toml` could not be written: the error that the change would end with.
/// - [`Error::Occupied`]: the destination holds another login.
pub fn plan(stores: &Stores, to: StoreKind) -> Result<Option<MigrationPlan>, Error> {
    let found = stores.find()?;
    let Some(mut stored) = found.stored else { return Ok(None) };
    let destination = stores.store(to);
    destination.check_write(stores.deadline())?;
    if stores.setting_for(to.into()).is_some() {
        stores.settings().check_writable(stores.home())?;
    }
    // Of two copies the later one counts, wherever it is.
    if let Ok(Some(other)) = stores.store(stored.location.kind().other()).load(stores.deadline())
        && preference::later(&stored.document, &other.document) == Some(LaterCopy::Second)
    {
        stored = other;
    }
    let action = if stored.location.kind() == to { MigrationMove::Stay } else { MigrationMove::Copy };
    if action == MigrationMove::Copy {
        stores.store(to.other()).check_remove(stores.deadline())?;
        if let Ok(Some(there)) = destination.load(stores.deadline())
            && !is_copy(&there.document, &stored.document)
        {
            return Err(Error::Occupied { location: there.location });
        }
    }
    Ok(Some(MigrationPlan { stored, to, action, notes: found.notes }))
}

/// Moves the login to `to`; `None` without a login. The caller has recovered what was left behind.
///
/// The order is: copy, read back, `config.toml`, then remove exactly the revision that was copied. If another program
/// changes the old copy before that, it is copied again, three times; then everything is put back. Whatever fails or dies
/// in between leaves the current login in a store that is read.
///
/// A program that has sent its refresh before the removal and commits after it finds nothing to commit to: that answer is
/// lost to it, and cannot be saved from here.
///
/// # Errors
/// - As [`plan`].
/// - [`Error::NotKept`]: what was read back is not the login; the old copy is untouched.
/// - [`Error::Contended`]: another program kept changing the login; nothing was moved.
pub fn migrate(writer: &mut Writer<'_>, to: StoreKind) -> Result<Option<MigrationReport>, Error> {
    let Some(MigrationPlan { stored, action, mut notes, .. }) = plan(writer.stores(), to)? else {
        return Ok(None);
    };
    notes.extend(writer.take_notes());
    let mut done = MigrationReport {
        location: stored.location.clone(),
        action,
        removed: Vec::new(),
        left: Vec::new(),
        notes,
    };
    match action {
        MigrationMove::Copy => copy(writer, to, stored, &mut done)?,
        MigrationMove::Stay => {
            writer.select(to.into())?;
            writer.record(|state| state.store = Some(to))?;
            remove_older(writer, to.other(), &stored, &mut done);
        }
    }
    if to == StoreKind::Keychain && writer.remove_duplicates()? > 0 {
        done.removed.push(done.location.clone());
    }
    Ok(Some(done))
}

fn copy(
    writer: &mut Writer<'_>,
    to: StoreKind,
    stored: StoredDocument,
    done: &mut MigrationReport,
) -> Result<(), Error> {
    let before = writer.selected();
    let there = writer.read(to)?;
    // What is compared with is what was checked.
    if let StoreContent::Document(copy) = &there {
        if !is_copy(&copy.document, &stored.document) {
            return Err(Error::Occupied { location: copy.location.clone() });
        }
        if preference::later(&stored.document, &copy.document) == Some(LaterCopy::Second) {
            return Err(Error::Contended);
        }
    }
    if to == StoreKind::Keychain && stored.document.fingerprint().is_some() {
        Seal::make(writer.lease(), to, &writer.stores().keychain(), writer.stores().deadline())?;
    }
    let (mut source, mut seen) = (stored, there.seen());
    for left in (0..TRIES).rev() {
        match copy_once(writer, to, seen, &source, done) {
            Ok(None) => return Ok(()),
            Ok(Some(newer)) if left > 0 => {
                seen = SeenRevision::Credential(source.document.revision());
                source = newer;
            }
            outcome => {
                // The copy that failed may not have got as far as replacing the one before.
                for wrote in [SeenRevision::Credential(source.document.revision()), seen] {
                    writer.roll_back(to, wrote, &there, &before, WriteIntent::Keep);
                }
                return outcome.and(Err(Error::Contended));
            }
        }
    }
    Err(Error::Contended)
}

/// Copies `source` over what was `seen`, and removes it; what another program has replaced it by meanwhile, if one has.
fn copy_once(
    writer: &mut Writer<'_>,
    to: StoreKind,
    seen: SeenRevision,
    source: &StoredDocument,
    done: &mut MigrationReport,
) -> Result<Option<StoredDocument>, Error> {
    match writer.replace(to, seen, &source.document, WriteIntent::Keep, |_| {})? {
        ReplaceOutcome::Written(written) => {
            done.location = written.location;
            done.notes.extend(written.notes);
        }
        ReplaceOutcome::Moved(_) => return Err(Error::Contended),
    }
    writer.select(to.into())?;
    let from = to.other();
    let copied = SeenRevision::Credential(source.document.revision());
    match writer.remove(from, copied) {
        Ok(RemoveOutcome::Gone(Removal::Absent)) => {}
        Ok(RemoveOutcome::Gone(Removal::Removed)) => done.removed.push(source.location.clone()),
        Ok(RemoveOutcome::Moved(StoreContent::Document(newer)))
            if is_copy(&newer.document, &source.document) =>
        {
            return Ok(Some(*newer));
        }
        Ok(RemoveOutcome::Moved(_)) => return Err(Error::Contended),
        Err(error) => match writer.read(from).map(|now| now.seen()) {
            Ok(SeenRevision::Nothing) => done.removed.push(source.location.clone()),
            Ok(now) if now == copied => return Err(error),
            // It may be gone: the new copy must stay.
            _ => done.left.push((from, error.to_string())),
        },
    }
    Ok(None)
}

/// Removes the copy in the store of `kind` if it is an older one of `stored`, exactly as it was compared.
fn remove_older(
    writer: &mut Writer<'_>,
    kind: StoreKind,
    stored: &StoredDocument,
    done: &mut MigrationReport,
) {
    let content = match writer.read(kind) {
        Ok(content) => content,
        // Where the login never was there is nothing to complain about.
        Err(_) if kind == StoreKind::Keychain => return,
        Err(error) => return done.left.push((kind, error.to_string())),
    };
    let seen = content.seen();
    let Some(copy) = content.stored() else { return };
    if !is_copy(&copy.document, &stored.document) {
        let why = "it is another login; log out of it first if it is not wanted";
        return done.left.push((kind, why.to_owned()));
    }
    if preference::later(&stored.document, &copy.document) == Some(LaterCopy::Second) {
        return done.left.push((kind, Error::Contended.to_string()));
    }
    match writer.remove(kind, seen) {
        Ok(RemoveOutcome::Gone(Removal::Removed)) => done.removed.push(copy.location),
        Ok(RemoveOutcome::Gone(_)) => {}
        Ok(RemoveOutcome::Moved(_)) => done.left.push((kind, Error::Contended.to_string())),
        Err(error) => done.left.push((kind, error.to_string())),
    }
}
