//! The Secret Service of a Linux session, asked over D-Bus.
//!
//! Secrets go through the `keyring` store, over an encrypted session. That store unlocks what it finds locked, which
//! prompts or hangs, and answers "no entry" for a keyring that was never set up (measured with
//! zbus-secret-service-keyring-store 1.0.1). So each call first looks for itself, over a plain connection: is there a
//! default collection, is it or a matching item locked, which items match. Only then is the store asked. A keyring that
//! is locked in the moment between the look and the call can still bring up the service's own dialogue.
//!
//! An item that we make carries `service`, `username`, `target=default` and `application=rust-keyring`, the attributes
//! of keyring 3, so that programs built on it find our items as theirs. The store creates an item with the first three
//! and adds the last in a second request. If this process dies in between, `application` is missing; nothing searches
//! by it, and the next write completes it.

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

use super::{
    CallEffect, Caller, Error, Item, ItemId, ItemName, ItemSelection, ItemSharing, ItemWrite, Keychain,
    LastModified, Operation, Readiness, Slot, newest_first,
};

pub(super) const SERVICE: &str = "Secret Service";
pub(super) const SHARING: ItemSharing = ItemSharing::AnyProgram;
pub(super) const HOW_TO_UNLOCK: &str = "unlock the keychain, for example by logging in to the desktop";

/// The names of the Secret Service API draft 0.2, freedesktop.org.
const BUS_NAME: &str = "org.freedesktop.secrets";
const ROOT: &str = "/org/freedesktop/secrets";
const SERVICE_INTERFACE: &str = "org.freedesktop.Secret.Service";
const COLLECTION_INTERFACE: &str = "org.freedesktop.Secret.Collection";
const ITEM_INTERFACE: &str = "org.freedesktop.Secret.Item";
const PROPERTIES_INTERFACE: &str = "org.freedesktop.DBus.Properties";
/// What the API says where there is no object to name.
const NO_OBJECT: &str = "/";

/// What keyring 3 adds to the two attributes of a name.
const FURTHER_ATTRIBUTES: [(&str, &str); 2] = [("target", "default"), ("application", "rust-keyring")];

/// Connects to the bus of this session; the service itself is not asked anything yet.
pub(super) fn connect(caller: &Caller) -> Result<Box<dyn Keychain>, Error> {
    let bus = super::bus::session().map_err(|error| unavailable(error.into()))?;
    Ok(Box::new(SecretService { caller: caller.clone(), bus, session: None }))
}

struct SecretService {
    caller: Caller,
    bus: Connection,
    /// Opened by the first call that carries a secret; looking needs none.
    session: Option<ServiceSession>,
}

/// An encrypted session, which ends with the process that granted it.
struct ServiceSession {
    owner: String,
    store: Arc<Store>,
}

impl Keychain for SecretService {
    fn readiness(&mut self) -> Result<Readiness, Error> {
        self.default_collection().map_err(|error| refused(Operation::Readiness, error))
    }

    fn read(&mut self, name: &ItemName) -> Result<Vec<Item>, Error> {
        let mut found = self.look(Operation::Read, name)?;
        loop {
            let error = match self.fetch(name, &found) {
                Ok(items) => return Ok(items),
                Err(error) => error,
            };
            // An item deleted under our hands is no failure: what counts is what is there now.
            let now = self.look(Operation::Read, name)?;
            if now == found {
                return Err(error);
            }
            found = now;
        }
    }

    /// No item is guarded from the other programs of its user, so there is nobody to ask.
    fn read_asking(&mut self, name: &ItemName) -> Result<Vec<Item>, Error> {
        self.read(name)
    }

    fn modified(&mut self, name: &ItemName) -> Result<LastModified, Error> {
        let mut latest = LastModified::NoEntry;
        for path in self.look(Operation::Modified, name)? {
            latest = match (latest, self.item_modified(&path).map_err(|e| refused(Operation::Modified, e))?) {
                (LastModified::At(one), Some(other)) => LastModified::At(one.max(other)),
                (_, Some(time)) => LastModified::At(time),
                (LastModified::NoEntry, None) => LastModified::NotTold,
                (known, None) => known,
            };
        }
        Ok(latest)
    }

    fn holds(&mut self, name: &ItemName) -> Result<bool, Error> {
        let body = (attributes(name),);
        let (unlocked, locked): (Vec<OwnedObjectPath>, Vec<OwnedObjectPath>) = self
            .call(ROOT, SERVICE_INTERFACE, "SearchItems", &body)
            .map_err(|error| refused(Operation::Modified, error))?;
        Ok(!(unlocked.is_empty() && locked.is_empty()))
    }

    fn write(&mut self, name: &ItemName, slot: &Slot, secret: &[u8]) -> Result<ItemWrite, Error> {
        let found = self.look(Operation::Write, name)?;
        let path = match slot {
            Slot::This(id) => match found.into_iter().find(|path| path.as_str() == id.0) {
                Some(path) => Some(path),
                None => return Err(Error::Vanished { service: SERVICE, name: name.clone() }),
            },
            Slot::Only if found.len() > 1 => {
                return Err(Error::Ambiguous { service: SERVICE, name: name.clone(), copies: found.len() });
            }
            Slot::Only => found.into_iter().next(),
        };
        let store = self.store(Operation::Write)?;
        match path {
            Some(path) => {
                let entry = entry_at(&store, name, &path, Operation::Write)?;
                self.before_a_change(Operation::Write)?;
                entry
                    .set_secret(secret)
                    .map_err(|error| store_refused(Operation::Write, CallEffect::Unknown, error))?;
                self.complete(&[path]);
                Ok(ItemWrite::Updated)
            }
            None => {
                self.before_a_change(Operation::Write)?;
                create(&store, name, secret)?;
                self.complete(&self.look(Operation::Write, name).unwrap_or_default());
                Ok(ItemWrite::Created)
            }
        }
    }

    fn delete(&mut self, name: &ItemName, selection: &ItemSelection) -> Result<usize, Error> {
        let mut found = self.look(Operation::Delete, name)?;
        if let ItemSelection::This(id) = selection {
            found.retain(|path| path.as_str() == id.0);
        }
        let mut deleted = 0;
        // Whatever an error says, something may have been done by then.
        let too_late = |source| failed(Operation::Delete, CallEffect::Unknown, source);
        for path in found {
            self.before_a_change(Operation::Delete)?;
            match self.call::<_, OwnedObjectPath>(&path, ITEM_INTERFACE, "Delete", &()) {
                Ok(prompt) if prompt.as_str() == NO_OBJECT => deleted += 1,
                // The service wants to ask its user first. It was not told to, so nothing appears.
                Ok(_) if deleted == 0 => return Err(Error::Locked { service: SERVICE }),
                Ok(_) => return Err(too_late("it wants to ask its user".into())),
                Err(error) => {
                    if self.look(Operation::Delete, name).map_err(|e| too_late(e.into()))?.contains(&path) {
                        return Err(too_late(error.into()));
                    }
                }
            }
        }
        Ok(deleted)
    }
}

/// What is asked over the plain connection.
impl SecretService {
    /// Stops a call that nobody waits for, before it does what nobody would learn of.
    fn before_a_change(&self, operation: Operation) -> Result<(), Error> {
        if self.caller.has_left() {
            return Err(failed(operation, operation.broken_off(), "its caller has left".into()));
        }
        Ok(())
    }

    /// The items of this name, all of them unlocked, once the default collection is known to be unlocked too.
    ///
    /// The latter, because a service need not find what is in a locked collection, and "no entry" must be true.
    fn look(&self, operation: Operation, name: &ItemName) -> Result<Vec<OwnedObjectPath>, Error> {
        let unlocked = (|| {
            match self.default_collection()? {
                Readiness::Unlocked => {}
                Readiness::Locked => return Ok(Err(Error::Locked { service: SERVICE })),
                Readiness::NeverUnlocked => return Ok(Err(Error::NeverUnlocked { service: SERVICE })),
            }
            let body = (attributes(name),);
            let (unlocked, locked): (Vec<OwnedObjectPath>, Vec<OwnedObjectPath>) =
                self.call(ROOT, SERVICE_INTERFACE, "SearchItems", &body)?;
            Ok(if locked.is_empty() { Ok(unlocked) } else { Err(Error::Locked { service: SERVICE }) })
        })();
        unlocked.unwrap_or_else(|error| Err(refused(operation, error)))
    }

    fn default_collection(&self) -> zbus::Result<Readiness> {
        let asked = || -> zbus::Result<Option<OwnedObjectPath>> {
            let path: OwnedObjectPath = self.call(ROOT, SERVICE_INTERFACE, "ReadAlias", &("default",))?;
            Ok(Some(path).filter(|path| path.as_str() != NO_OBJECT))
        };
        // There is none when it says so twice: gnome-keyring 42 was seen to say so of one that it had just written to.
        let path = match asked()? {
            Some(path) => Some(path),
            None => asked()?,
        };
        let Some(path) = path else { return Ok(Readiness::NeverUnlocked) };
        let locked = bool::try_from(self.property(&path, COLLECTION_INTERFACE, "Locked")?)?;
        Ok(if locked { Readiness::Locked } else { Readiness::Unlocked })
    }

    fn item_modified(&self, path: &OwnedObjectPath) -> zbus::Result<Option<SystemTime>> {
        let seconds = u64::try_from(self.property(path, ITEM_INTERFACE, "Modified")?)?;
        // A service that keeps no times says 0.
        Ok((seconds != 0).then_some(seconds).and_then(|s| UNIX_EPOCH.checked_add(Duration::from_secs(s))))
    }

    /// Adds what items lack of our attributes and leaves the others as they are.
    ///
    /// One without `target` would be missed by keyring 3 outside the default collection, and doubled.
    fn complete(&self, paths: &[OwnedObjectPath]) {
        for path in paths {
            // The secret is stored by now, and said to be. Some services keep attributes of their own choice only; where
            // it failed otherwise, the next write does it.
            let _ = self.complete_one(path);
        }
    }

    fn complete_one(&self, path: &OwnedObjectPath) -> zbus::Result<()> {
        let present = self.property(path, ITEM_INTERFACE, "Attributes")?;
        let mut attributes = HashMap::<String, String>::try_from(present)?;
        let before = attributes.len();
        for (key, value) in FURTHER_ATTRIBUTES {
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

/// What carries a secret.
impl SecretService {
    /// The store, over a session with the process that owns the service's name now.
    fn store(&mut self, operation: Operation) -> Result<Arc<Store>, Error> {
        let bus = "org.freedesktop.DBus";
        let owner: String = self
            .bus
            .call_method(Some(bus), "/org/freedesktop/DBus", Some(bus), "GetNameOwner", &(BUS_NAME,))
            .and_then(|answer| answer.body().deserialize())
            .map_err(|error| refused(operation, error))?;
        if let Some(session) = &self.session
            && session.owner == owner
        {
            return Ok(Arc::clone(&session.store));
        }
        let store = Store::new().map_err(|error| store_refused(operation, CallEffect::Unchanged, error))?;
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
                .map_err(|error| store_refused(Operation::Read, CallEffect::Unchanged, error))?;
            let secret = Zeroizing::new(secret);
            let modified = self.item_modified(path).map_err(|error| refused(Operation::Read, error))?;
            items.push(Item { id: ItemId(path.to_string()), secret, modified });
        }
        newest_first(&mut items);
        Ok(items)
    }
}

/// The store's handle on an item we found; it gives one out only by searching.
fn entry_at(
    store: &Store,
    name: &ItemName,
    path: &OwnedObjectPath,
    operation: Operation,
) -> Result<Entry, Error> {
    let found = store
        .search(&attributes(name))
        .map_err(|error| store_refused(operation, CallEffect::Unchanged, error))?;
    let is_it = |entry: &Entry| {
        entry.as_any().downcast_ref::<Wrapper>().is_some_and(|item| item.get_path() == path.as_str())
    };
    found.into_iter().find(is_it).ok_or_else(|| Error::Vanished { service: SERVICE, name: name.clone() })
}

fn create(store: &Store, name: &ItemName, secret: &[u8]) -> Result<(), Error> {
    let label = format!("{} ({})", name.service(), name.account());
    // With `target`, the store also names the collection that the item goes to.
    let modifiers = HashMap::from([("target", "default"), ("label", label.as_str())]);
    let entry = store
        .build(name.service(), name.account(), Some(&modifiers))
        .map_err(|error| store_refused(Operation::Write, CallEffect::Unchanged, error))?;
    entry.set_secret(secret).map_err(|error| store_refused(Operation::Write, CallEffect::Unknown, error))
}

/// What items are searched by, here and by keyring 3.
fn attributes(name: &ItemName) -> HashMap<&str, &str> {
    HashMap::from([("service", name.service()), ("username", name.account())])
}

/// What a refusal means while nothing has been changed.
fn refused(operation: Operation, error: zbus::Error) -> Error {
    let gone = match &error {
        zbus::Error::MethodError(name, ..) => {
            let name = name.as_str();
            matches!(
                name.strip_prefix("org.freedesktop.DBus.Error."),
                Some("ServiceUnknown" | "NameHasNoOwner" | "Disconnected" | "NoServer" | "TimedOut")
            ) || name.starts_with("org.freedesktop.DBus.Error.Spawn.")
        }
        // The bus itself hung up.
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

/// What a refusal of the store means. Its `NoStorageAccess` is a lock, found before anything was changed.
fn store_refused(operation: Operation, outcome: CallEffect, error: keyring_core::Error) -> Error {
    match error {
        keyring_core::Error::NoStorageAccess(_) => Error::Locked { service: SERVICE },
        keyring_core::Error::PlatformFailure(source) => failed(operation, outcome, source),
        // Some of its other errors own the bytes of a secret; their words do not.
        other => failed(operation, outcome, other.to_string().into()),
    }
}

fn failed(
    operation: Operation,
    outcome: CallEffect,
    source: Box<dyn std::error::Error + Send + Sync>,
) -> Error {
    Error::Failed { service: SERVICE, operation, outcome, source }
}

fn unavailable(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Unavailable { service: SERVICE, source }
}
