//! An encrypted session with a Secret Service, through the `keyring` store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use keyring_core::Entry;
use keyring_core::api::CredentialStoreApi;
use zbus::zvariant::OwnedObjectPath;
use zbus_secret_service_keyring_store::Store;
use zbus_secret_service_keyring_store::cred::Wrapper;

use super::error::{CallEffect, Error, Operation};
use super::item::ItemName;
use super::service_error::store_error;
use super::service_program::SERVICE;

/// How often a session is opened again with another key.
const MAX_KEY_RETRIES: u8 = 3;
/// The D-Bus error of a service that refuses a key.
const INVALID_ARGUMENTS: &str = "org.freedesktop.DBus.Error.InvalidArgs";

/// A session with one process, which ends with that process.
pub(super) struct ServiceSession {
    owner: String,
    store: Arc<Store>,
    /// The store's handles of items, by path; it gives one out only by searching.
    entries: HashMap<OwnedObjectPath, Arc<Entry>>,
    /// Items that have all attributes of keyring 3, or whose service does not keep them.
    complete: HashSet<OwnedObjectPath>,
}

impl ServiceSession {
    /// Opens a session with the process whose unique bus name is `owner`.
    pub(super) fn open(owner: String, operation: Operation) -> Result<Self, Error> {
        let mut store = Store::new();
        // One public key in 256 begins with a zero byte, which secret-service 5.2 leaves out and KWallet 5.103 refuses.
        for _ in 0..MAX_KEY_RETRIES {
            match &store {
                Err(keyring_core::Error::PlatformFailure(error))
                    if error.to_string().contains(INVALID_ARGUMENTS) =>
                {
                    store = Store::new();
                }
                _ => break,
            }
        }
        let store = store.map_err(|error| store_error(operation, CallEffect::Unchanged, error))?;
        Ok(Self { owner, store, entries: HashMap::new(), complete: HashSet::new() })
    }

    pub(super) fn owner(&self) -> &str {
        &self.owner
    }

    /// Returns the handle of the item at `path`.
    pub(super) fn entry(
        &mut self,
        name: &ItemName,
        path: &OwnedObjectPath,
        operation: Operation,
    ) -> Result<Arc<Entry>, Error> {
        if !self.entries.contains_key(path) {
            let found = self
                .store
                .search(&attributes(name))
                .map_err(|error| store_error(operation, CallEffect::Unchanged, error))?;
            for entry in found {
                let path = entry.as_any().downcast_ref::<Wrapper>().map(Wrapper::get_path);
                if let Some(Ok(path)) = path.map(OwnedObjectPath::try_from) {
                    self.entries.insert(path, Arc::new(entry));
                }
            }
        }
        let entry = self.entries.get(path).cloned();
        entry.ok_or_else(|| Error::ItemMissing { service: SERVICE, name: name.clone() })
    }

    /// Creates an item in the default collection.
    pub(super) fn create(&self, name: &ItemName, secret: &[u8]) -> Result<(), Error> {
        let label = label(name);
        // With `target`, the store also names the collection that the item goes to.
        let modifiers = HashMap::from([("target", "default"), ("label", label.as_str())]);
        let entry = self
            .store
            .build(name.service(), name.account(), Some(&modifiers))
            .map_err(|error| store_error(Operation::Write, CallEffect::Unchanged, error))?;
        entry.set_secret(secret).map_err(|error| store_error(Operation::Write, CallEffect::Unknown, error))
    }

    /// Deletes the items of this name that have the label of [`Self::create`]: another program gives its items another
    /// one. Returns whether none is left.
    pub(super) fn delete_created(&self, name: &ItemName) -> bool {
        let label = label(name);
        let Ok(found) = self.store.search(&attributes(name)) else { return false };
        found.into_iter().all(|entry| {
            let item = entry.as_any().downcast_ref::<Wrapper>();
            let is_ours = item.is_some_and(|item| item.get_label().is_ok_and(|other| other == label));
            !is_ours || entry.delete_credential().is_ok()
        })
    }

    /// Returns whether [`Self::set_complete`] was called for the item.
    pub(super) fn is_complete(&self, path: &OwnedObjectPath) -> bool {
        self.complete.contains(path)
    }

    pub(super) fn set_complete(&mut self, path: OwnedObjectPath) {
        self.complete.insert(path);
    }
}

/// Returns the attributes that this library and keyring 3 search by.
pub(super) fn attributes(name: &ItemName) -> HashMap<&str, &str> {
    HashMap::from([("service", name.service()), ("username", name.account())])
}

/// Returns the label of the items that we create.
fn label(name: &ItemName) -> String {
    format!("{} ({})", name.service(), name.account())
}
