//! The Secret Service of a Linux session, over D-Bus.
//!
//! Secrets go through the `keyring` store, over an encrypted session. That store unlocks what it finds locked, which
//! prompts or hangs, and answers "no entry" for a keyring that was never set up (measured with
//! zbus-secret-service-keyring-store 1.0.1). So each call first checks over a plain connection whether there is a
//! default collection, whether it or a matching item is locked, and which items match, and only then calls the store.
//! A keyring that is locked between the check and the call can still show the service's own dialogue.
//!
//! A new item has the attributes `service`, `username`, `target=default` and `application=rust-keyring`, as keyring 3
//! writes them, so that programs built on it find our items as theirs. The store creates an item with the first three
//! and adds the last in a second request. If this process dies in between, `application` is missing; nothing searches
//! by it, and the next write adds it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyring_core::Entry;
use keyring_core::api::CredentialStoreApi;
use zbus::blocking::Connection;
use zbus::zvariant::{DynamicType, ObjectPath, OwnedObjectPath, OwnedValue, Type, Value};
use zbus_secret_service_keyring_store::Store;
use zbus_secret_service_keyring_store::cred::Wrapper;
use zeroize::Zeroizing;

use super::bus;
use super::contract::{Cancellation, Keychain, Readiness};
use super::error::{CallEffect, Error, Operation};
use super::item::{
    Item, ItemId, ItemName, ItemSelection, ItemSharing, ItemWrite, LastModified, WriteTarget, newest_first,
};

pub(super) const SERVICE: &str = "Secret Service";
pub(super) const SHARING: ItemSharing = ItemSharing::AnyProgram;
pub(super) const HOW_TO_UNLOCK: &str = "unlock the keychain, for example by logging in to the desktop";

/// Names of the Secret Service API draft 0.2, freedesktop.org.
const BUS_NAME: &str = "org.freedesktop.secrets";
const ROOT: &str = "/org/freedesktop/secrets";
const SERVICE_INTERFACE: &str = "org.freedesktop.Secret.Service";
const COLLECTION_INTERFACE: &str = "org.freedesktop.Secret.Collection";
const ITEM_INTERFACE: &str = "org.freedesktop.Secret.Item";
const PROPERTIES_INTERFACE: &str = "org.freedesktop.DBus.Properties";
/// The path that means "no object" in the API.
const NO_OBJECT: &str = "/";

/// Attributes that keyring 3 adds to the two of a name.
const KEYRING_3_ATTRIBUTES: [(&str, &str); 2] = [("target", "default"), ("application", "rust-keyring")];

/// Connects to the bus of this session without calling the service.
pub(super) fn connect(cancellation: &Cancellation) -> Result<Box<dyn Keychain>, Error> {
    let bus = bus::session().map_err(|error| unavailable(error.into()))?;
    Ok(Box::new(SecretService { cancellation: cancellation.clone(), bus, session: None }))
}

struct SecretService {
    cancellation: Cancellation,
    bus: Connection,
    /// Opened by the first call that carries a secret; searches need none.
    session: Option<ServiceSession>,
}

/// An encrypted session, valid as long as the process that granted it.
struct ServiceSession {
    owner: String,
    store: Arc<Store>,
}

impl Keychain for SecretService {
    fn read(&mut self, name: &ItemName) -> Result<Vec<Item>, Error> {
        let mut found = self.search_unlocked(Operation::Read, name)?;
        loop {
            let error = match self.fetch(name, &found) {
                Ok(items) => return Ok(items),
                Err(error) => error,
            };
            // An item that was deleted meanwhile is no failure; read what is there now.
            let now = self.search_unlocked(Operation::Read, name)?;
            if now == found {
                return Err(error);
            }
            found = now;
        }
    }

    /// The Secret Service guards no item from the user's other programs, so it never prompts.
    fn read_with_prompt(&mut self, name: &ItemName) -> Result<Vec<Item>, Error> {
        self.read(name)
    }

    fn modified(&mut self, name: &ItemName) -> Result<LastModified, Error> {
        let mut latest = LastModified::NoItem;
        for path in self.search_unlocked(Operation::Modified, name)? {
            latest = match (latest, self.item_modified(&path).map_err(|e| bus_error(Operation::Modified, e))?)
            {
                (LastModified::At(one), Some(other)) => LastModified::At(one.max(other)),
                (_, Some(time)) => LastModified::At(time),
                (LastModified::NoItem, None) => LastModified::Unknown,
                (known, None) => known,
            };
        }
        Ok(latest)
    }

    fn contains(&mut self, name: &ItemName) -> Result<bool, Error> {
        let body = (attributes(name),);
        let (unlocked, locked): (Vec<OwnedObjectPath>, Vec<OwnedObjectPath>) = self
            .call(ROOT, SERVICE_INTERFACE, "SearchItems", &body)
            .map_err(|error| bus_error(Operation::Modified, error))?;
        Ok(!(unlocked.is_empty() && locked.is_empty()))
    }

    fn write(&mut self, name: &ItemName, slot: &WriteTarget, secret: &[u8]) -> Result<ItemWrite, Error> {
        let found = self.search_unlocked(Operation::Write, name)?;
        let path = match slot {
            WriteTarget::Item(id) => match found.into_iter().find(|path| path.as_str() == id.0) {
                Some(path) => Some(path),
                None => return Err(Error::ItemMissing { service: SERVICE, name: name.clone() }),
            },
            WriteTarget::OnlyItem if found.len() > 1 => {
                return Err(Error::Ambiguous { service: SERVICE, name: name.clone(), copies: found.len() });
            }
            WriteTarget::OnlyItem => found.into_iter().next(),
        };
        let store = self.store(Operation::Write)?;
        match path {
            Some(path) => {
                let entry = entry_at(&store, name, &path, Operation::Write)?;
                self.check_not_cancelled(Operation::Write)?;
                entry
                    .set_secret(secret)
                    .map_err(|error| store_error(Operation::Write, CallEffect::Unknown, error))?;
                self.add_missing_attributes(&[path]);
                Ok(ItemWrite::Updated)
            }
            None => {
                self.check_not_cancelled(Operation::Write)?;
                create(&store, name, secret)?;
                self.add_missing_attributes(
                    &self.search_unlocked(Operation::Write, name).unwrap_or_default(),
                );
                Ok(ItemWrite::Created)
            }
        }
    }

    fn delete(&mut self, name: &ItemName, selection: &ItemSelection) -> Result<usize, Error> {
        let mut found = self.search_unlocked(Operation::Delete, name)?;
        if let ItemSelection::Item(id) = selection {
            found.retain(|path| path.as_str() == id.0);
        }
        let mut deleted = 0;
        // After an error, something may have been deleted all the same.
        let too_late = |source| failed(Operation::Delete, CallEffect::Unknown, source);
        for path in found {
            self.check_not_cancelled(Operation::Delete)?;
            match self.call::<_, OwnedObjectPath>(&path, ITEM_INTERFACE, "Delete", &()) {
                Ok(prompt) if prompt.as_str() == NO_OBJECT => deleted += 1,
                // The service wants to prompt first. We do not start its prompt, so nothing is shown.
                Ok(_) if deleted == 0 => return Err(Error::Locked { service: SERVICE }),
                Ok(_) => return Err(too_late("the service requires a prompt".into())),
                Err(error) => {
                    if self
                        .search_unlocked(Operation::Delete, name)
                        .map_err(|e| too_late(e.into()))?
                        .contains(&path)
                    {
                        return Err(too_late(error.into()));
                    }
                }
            }
        }
        Ok(deleted)
    }
}

/// Requests over the plain connection.
impl SecretService {
    /// Stops a cancelled call before it changes something.
    fn check_not_cancelled(&self, operation: Operation) -> Result<(), Error> {
        if self.cancellation.is_cancelled() {
            return Err(failed(operation, operation.effect_if_interrupted(), "its caller timed out".into()));
        }
        Ok(())
    }

    /// Returns the items of this name, after checking that they and the default collection are unlocked.
    ///
    /// A service need not find items in a locked collection, so "no item" is true only if that one is unlocked.
    fn search_unlocked(&self, operation: Operation, name: &ItemName) -> Result<Vec<OwnedObjectPath>, Error> {
        let unlocked = (|| {
            if let Err(error) = self.default_collection()?.require_unlocked(SERVICE) {
                return Ok(Err(error));
            }
            let body = (attributes(name),);
            let (unlocked, locked): (Vec<OwnedObjectPath>, Vec<OwnedObjectPath>) =
                self.call(ROOT, SERVICE_INTERFACE, "SearchItems", &body)?;
            Ok(if locked.is_empty() { Ok(unlocked) } else { Err(Error::Locked { service: SERVICE }) })
        })();
        unlocked.unwrap_or_else(|error| Err(bus_error(operation, error)))
    }

    fn default_collection(&self) -> zbus::Result<Readiness> {
        let default_alias = || -> zbus::Result<Option<OwnedObjectPath>> {
            let path: OwnedObjectPath = self.call(ROOT, SERVICE_INTERFACE, "ReadAlias", &("default",))?;
            Ok(Some(path).filter(|path| path.as_str() != NO_OBJECT))
        };
        // Asked twice: gnome-keyring 42 was seen to report none right after it was written to.
        let path = match default_alias()? {
            Some(path) => Some(path),
            None => default_alias()?,
        };
        let Some(path) = path else { return Ok(Readiness::NotSetUp) };
        let locked = bool::try_from(self.property(&path, COLLECTION_INTERFACE, "Locked")?)?;
        Ok(if locked { Readiness::Locked } else { Readiness::Unlocked })
    }

    fn item_modified(&self, path: &OwnedObjectPath) -> zbus::Result<Option<SystemTime>> {
        let seconds = u64::try_from(self.property(path, ITEM_INTERFACE, "Modified")?)?;
        // A service that keeps no times answers 0.
        Ok((seconds != 0).then_some(seconds).and_then(|s| UNIX_EPOCH.checked_add(Duration::from_secs(s))))
    }

    /// Adds our attributes where items lack them, and leaves others as they are.
    ///
    /// Keyring 3 would not find an item without `target` outside the default collection, and would add a second one.
    fn add_missing_attributes(&self, paths: &[OwnedObjectPath]) {
        for path in paths {
            // The secret is stored already. Some services keep only attributes of their own choice; after another
            // failure, the next write tries again.
            let _ = self.add_missing_attributes_to(path);
        }
    }

    fn add_missing_attributes_to(&self, path: &OwnedObjectPath) -> zbus::Result<()> {
        let present = self.property(path, ITEM_INTERFACE, "Attributes")?;
        let mut attributes = HashMap::<String, String>::try_from(present)?;
        let before = attributes.len();
        for (key, value) in KEYRING_3_ATTRIBUTES {
            attributes.entry(key.into()).or_insert_with(|| value.into());
        }
        if attributes.len() > before {
            let body = (ITEM_INTERFACE, "Attributes", Value::from(attributes));
            self.call::<_, ()>(path, PROPERTIES_INTERFACE, "Set", &body)?;
        }
        Ok(())
    }

    fn property(&self, path: &OwnedObjectPath, interface: &str, name: &str) -> zbus::Result<OwnedValue> {
        self.call(path, PROPERTIES_INTERFACE, "Get", &(interface, name))
    }

    fn call<'p, B, R>(
        &self,
        path: impl TryInto<ObjectPath<'p>, Error: Into<zbus::Error>>,
        interface: &str,
        method: &str,
        body: &B,
    ) -> zbus::Result<R>
    where
        B: serde::Serialize + DynamicType,
        R: serde::de::DeserializeOwned + Type,
    {
        let answer = self.bus.call_method(Some(BUS_NAME), path, Some(interface), method, body)?;
        answer.body().deserialize()
    }
}

/// Requests that carry a secret.
impl SecretService {
    /// Returns the store, over a session with the process that now owns the service's name.
    fn store(&mut self, operation: Operation) -> Result<Arc<Store>, Error> {
        let bus = "org.freedesktop.DBus";
        let owner: String = self
            .bus
            .call_method(Some(bus), "/org/freedesktop/DBus", Some(bus), "GetNameOwner", &(BUS_NAME,))
            .and_then(|answer| answer.body().deserialize())
            .map_err(|error| bus_error(operation, error))?;
        if let Some(session) = &self.session
            && session.owner == owner
        {
            return Ok(Arc::clone(&session.store));
        }
        let store = Store::new().map_err(|error| store_error(operation, CallEffect::Unchanged, error))?;
        self.session = Some(ServiceSession { owner, store: Arc::clone(&store) });
        Ok(store)
    }

    fn fetch(&mut self, name: &ItemName, paths: &[OwnedObjectPath]) -> Result<Vec<Item>, Error> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let store = self.store(Operation::Read)?;
        let mut items = Vec::with_capacity(paths.len());
        for path in paths {
            let secret = entry_at(&store, name, path, Operation::Read)?
                .get_secret()
                .map_err(|error| store_error(Operation::Read, CallEffect::Unchanged, error))?;
            let secret = Zeroizing::new(secret);
            let modified = self.item_modified(path).map_err(|error| bus_error(Operation::Read, error))?;
            items.push(Item { id: ItemId(path.to_string()), secret, modified });
        }
        newest_first(&mut items);
        Ok(items)
    }
}

/// Returns the store's entry for an item; the store offers a search only.
fn entry_at(
    store: &Store,
    name: &ItemName,
    path: &OwnedObjectPath,
    operation: Operation,
) -> Result<Entry, Error> {
    let found = store
        .search(&attributes(name))
        .map_err(|error| store_error(operation, CallEffect::Unchanged, error))?;
    let is_it = |entry: &Entry| {
        entry.as_any().downcast_ref::<Wrapper>().is_some_and(|item| item.get_path() == path.as_str())
    };
    found.into_iter().find(is_it).ok_or_else(|| Error::ItemMissing { service: SERVICE, name: name.clone() })
}

fn create(store: &Store, name: &ItemName, secret: &[u8]) -> Result<(), Error> {
    let label = format!("{} ({})", name.service(), name.account());
    // With `target`, the store also names the collection that the item goes to.
    let modifiers = HashMap::from([("target", "default"), ("label", label.as_str())]);
    let entry = store
        .build(name.service(), name.account(), Some(&modifiers))
        .map_err(|error| store_error(Operation::Write, CallEffect::Unchanged, error))?;
    entry.set_secret(secret).map_err(|error| store_error(Operation::Write, CallEffect::Unknown, error))
}

/// The attributes that we and keyring 3 search by.
fn attributes(name: &ItemName) -> HashMap<&str, &str> {
    HashMap::from([("service", name.service()), ("username", name.account())])
}

/// Converts a bus error of a call that has changed nothing.
fn bus_error(operation: Operation, error: zbus::Error) -> Error {
    let gone = match &error {
        zbus::Error::MethodError(name, ..) => {
            let name = name.as_str();
            matches!(
                name.strip_prefix("org.freedesktop.DBus.Error."),
                Some("ServiceUnknown" | "NameHasNoOwner" | "Disconnected" | "NoServer" | "TimedOut")
            ) || name.starts_with("org.freedesktop.DBus.Error.Spawn.")
        }
        // The bus closed the connection.
        zbus::Error::InputOutput(_) => true,
        _ => false,
    };
    let locked = matches!(&error, zbus::Error::MethodError(name, ..)
        if name.as_str() == "org.freedesktop.Secret.Error.IsLocked");
    match (gone, locked) {
        (true, _) => unavailable(error.into()),
        (_, true) => Error::Locked { service: SERVICE },
        _ => failed(operation, CallEffect::Unchanged, error.into()),
    }
}

/// Converts an error of the store. `NoStorageAccess` means locked, and is found before anything was changed.
fn store_error(operation: Operation, effect: CallEffect, error: keyring_core::Error) -> Error {
    match error {
        keyring_core::Error::NoStorageAccess(_) => Error::Locked { service: SERVICE },
        keyring_core::Error::PlatformFailure(source) => failed(operation, effect, source),
        // Some other errors own the bytes of a secret; their messages do not contain them.
        other => failed(operation, effect, other.to_string().into()),
    }
}

fn failed(
    operation: Operation,
    effect: CallEffect,
    source: Box<dyn std::error::Error + Send + Sync>,
) -> Error {
    Error::Failed { service: SERVICE, operation, effect, source }
}

fn unavailable(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Unavailable { service: SERVICE, source }
}
