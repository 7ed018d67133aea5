//! The login that is stored in the home of a member: compares it with the record, and replaces it.
//!
//! A member's store holds an exported document: the access token of the record, and a dummy instead of the refresh token.
//! Whatever else is found there was stored by a program that knows nothing of the fleet.

use jiff::Timestamp;

use super::super::record::SharedRecord;
use crate::clock::Clock;
use crate::config::{Environment, StoreKind};
use crate::document::AuthDocument;
use crate::home::Home;
use crate::store::{
    Error, KeychainClient, Lease, LockDeadline, RemoveOutcome, ReplaceOutcome, SeenRevision, StoredDocument,
    Stores, WriteIntent, Writer,
};

/// The stored login of a member, under the lease of its home.
#[derive(Debug)]
pub struct LocalLogin {
    lease: Lease,
    stores: Stores,
    clock: Clock,
}

/// What is stored in the home of a member.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a caller must handle every case")]
pub enum LocalFinding {
    /// The access token of the record, or of the last one that had a login.
    InStep,
    /// Nothing.
    Nothing,
    /// Another token of the fleet.
    Outdated(LocalPlace),
    /// A login that is not in the record, and may become the fleet's: it is of the same account.
    Login(LocalPlace, Box<AuthDocument>),
    /// A login of another account, or one that no fleet can share.
    OtherAccount,
}

/// A place with what was found there.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LocalPlace {
    /// The store.
    pub kind: StoreKind,
    /// What it holds.
    pub seen: SeenRevision,
}

/// Whether a store was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a caller must handle both")]
pub enum LocalChange {
    /// It was.
    Done,
    /// It was not: it holds something else by now.
    Overtaken,
}

impl LocalFinding {
    /// Returns its name, for the log.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::InStep => "in step",
            Self::Nothing => "nothing",
            Self::Outdated(_) => "outdated",
            Self::Login(..) => "another login of the account",
            Self::OtherAccount => "another account",
        }
    }
}

impl LocalLogin {
    /// Acquires the lease of `home` within `deadline`.
    ///
    /// # Errors
    /// As [`Lease::acquire`] and [`Stores::open`].
    pub fn open(
        home: &Home,
        environment: &Environment,
        clock: &Clock,
        deadline: &LockDeadline,
    ) -> Result<Self, Error> {
        let lease = Lease::acquire(home, deadline, |_| {})?;
        let stores = Stores::with_keychain(home.clone(), environment, KeychainClient::system())?;
        Ok(Self { lease, stores, clock: clock.clone() })
    }

    /// Returns the lease.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Compares the stored login with `record`.
    ///
    /// # Errors
    /// As [`Stores::find`]: the store cannot be read, which is not a logout.
    pub fn examine(&self, record: Option<&SharedRecord>) -> Result<LocalFinding, Error> {
        let writer = self.writer()?;
        let Some(stored) = writer.stores().find()?.stored else { return Ok(LocalFinding::Nothing) };
        Ok(compare(&stored, record, self.clock.now()))
    }

    /// Replaces what was found at `place` by the access token of `document`, and removes a copy of the login in the other
    /// store.
    ///
    /// # Errors
    /// As [`Writer::replace`].
    pub fn write(&self, place: LocalPlace, document: &AuthDocument) -> Result<LocalChange, Error> {
        let now = self.clock.now();
        let Some(exported) = document.exported(now) else { return Ok(LocalChange::Overtaken) };
        let mut writer = self.writer()?;
        let outcome = writer.replace(place.kind, place.seen, &exported, WriteIntent::Save, |state| {
            // What is recorded of an own refresh token is over.
            (state.poison, state.outcome, state.received_at) = (None, None, Some(now));
        })?;
        match outcome {
            ReplaceOutcome::Changed(_) => Ok(LocalChange::Overtaken),
            ReplaceOutcome::Written(_) => {
                remove_copy(&mut writer, place.kind.other(), document)?;
                Ok(LocalChange::Done)
            }
        }
    }

    /// Stores the access token of `document` where nothing is stored.
    ///
    /// # Errors
    /// As [`Stores::choose`], [`Writer::replace`] and [`Writer::select`].
    pub fn write_first(&self, document: &AuthDocument) -> Result<LocalChange, Error> {
        let choice = self.stores.choose(None)?;
        let (kind, _) = self.stores.resolve(choice.selection);
        let change = self.write(LocalPlace { kind, seen: SeenRevision::Nothing }, document)?;
        if change == LocalChange::Done {
            self.writer()?.select(choice.selection)?;
        }
        Ok(change)
    }

    /// Removes the access token of the fleet, if it is stored.
    ///
    /// # Errors
    /// As [`Writer::remove`].
    pub fn remove(&self) -> Result<LocalChange, Error> {
        let mut writer = self.writer()?;
        let stored = writer.stores().find()?.stored.filter(|stored| stored.document.is_handed_in());
        let Some(stored) = stored else { return Ok(LocalChange::Overtaken) };
        let place = place_of(&stored);
        match writer.remove(place.kind, place.seen)? {
            RemoveOutcome::Removed(_) => Ok(LocalChange::Done),
            RemoveOutcome::Changed(_) => Ok(LocalChange::Overtaken),
        }
    }

    fn writer(&self) -> Result<Writer<'_>, Error> {
        self.stores.writer(&self.lease)
    }
}

fn place_of(stored: &StoredDocument) -> LocalPlace {
    let seen = SeenRevision::Credential(stored.document.revision());
    LocalPlace { kind: stored.location.kind(), seen }
}

fn compare(stored: &StoredDocument, record: Option<&SharedRecord>, now: Timestamp) -> LocalFinding {
    let (place, document) = (place_of(stored), &stored.document);
    let shared = record.filter(|record| !record.is_logged_out());
    if document.is_handed_in() {
        let exported = shared.and_then(|record| record.document().exported(now));
        return match exported {
            Some(exported) if exported.revision() != document.revision() => LocalFinding::Outdated(place),
            _ => LocalFinding::InStep,
        };
    }
    let Some(token) = document.fingerprint() else { return LocalFinding::OtherAccount };
    let Some(record) = shared else { return LocalFinding::Login(place, Box::new(document.clone())) };
    if record.has_spent(token) || record.document().fingerprint() == Some(token) {
        return LocalFinding::Outdated(place);
    }
    match document.identity().contradicts(&record.document().identity()) {
        true => LocalFinding::OtherAccount,
        false => LocalFinding::Login(place, Box::new(document.clone())),
    }
}

/// Removes a copy of the login of `document` from the store of `kind`: no store of a member has a refresh token.
fn remove_copy(writer: &mut Writer<'_>, kind: StoreKind, document: &AuthDocument) -> Result<(), Error> {
    // A machine without a keychain has no copy there.
    let Ok(there) = writer.read(kind) else { return Ok(()) };
    let is_copy = there.document().is_some_and(|copy| !copy.identity().contradicts(&document.identity()));
    if is_copy {
        let _ = writer.remove(kind, there.seen())?;
    }
    Ok(())
}
