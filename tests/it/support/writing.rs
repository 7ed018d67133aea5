//! Single changes of a store, each under its own lease.

use std::time::Duration;

use codex_auth::store::{
    Error, RemoveOutcome, ReplaceOutcome, SeenRevision, StoreContent, WriteIntent, Writer,
};
use codex_auth::{AuthDocument, Lease, StoreKind, Stores};

const SOON: Duration = Duration::from_secs(20);

/// Calls `work` with the writer of a home.
pub fn writing<T>(stores: &Stores, work: impl FnOnce(&mut Writer<'_>) -> T) -> T {
    let lease = Lease::acquire(stores.home(), SOON, |_| {}).unwrap();
    work(&mut stores.writer(&lease).unwrap())
}

/// Replaces the document if the store still holds `seen`.
pub fn replace(
    stores: &Stores,
    kind: StoreKind,
    seen: SeenRevision,
    document: &AuthDocument,
) -> Result<ReplaceOutcome, Error> {
    writing(stores, |writer| writer.replace(kind, seen, document, WriteIntent::Save, |_| {}))
}

/// Removes the document if the store still holds `seen`.
pub fn remove(stores: &Stores, kind: StoreKind, seen: SeenRevision) -> Result<RemoveOutcome, Error> {
    writing(stores, |writer| writer.remove(kind, seen))
}

/// The content of a store.
pub fn content(stores: &Stores, kind: StoreKind) -> StoreContent {
    stores.store(kind).read(SOON).unwrap()
}

/// The revision in a store, for a later comparison.
pub fn seen(stores: &Stores, kind: StoreKind) -> SeenRevision {
    content(stores, kind).seen()
}
