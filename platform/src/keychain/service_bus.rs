//! Calls to the Secret Service that carry no secret, and what is known of the process that answers them.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zbus::blocking::Connection;
use zbus::zvariant::{DynamicType, OwnedObjectPath, OwnedValue, Type, Value};

use super::bus::{self, Method, Reply, ServiceStart};
use super::context::CallContext;
use super::contract::Readiness;
use super::error::{Error, Operation};
use super::item::ItemName;
use super::prompt::{self, PromptOutcome};
use super::service_error::bus_error;
use super::service_program::{self, SERVICE};
use super::service_session::attributes;

/// The names of the Secret Service API draft 0.2, freedesktop.org.
const BUS_NAME: &str = "org.freedesktop.secrets";
const ROOT: &str = "/org/freedesktop/secrets";
const SERVICE_INTERFACE: &str = "org.freedesktop.Secret.Service";
const COLLECTION_INTERFACE: &str = "org.freedesktop.Secret.Collection";
const ITEM_INTERFACE: &str = "org.freedesktop.Secret.Item";
const PROPERTIES_INTERFACE: &str = "org.freedesktop.DBus.Properties";
/// The path that stands for no object.
const NO_OBJECT: &str = "/";

/// The attributes that keyring 3 adds to those of a name.
const KEYRING_3_ATTRIBUTES: [(&str, &str); 2] = [("target", "default"), ("application", "rust-keyring")];

/// How long a user has to answer a prompt.
const PROMPT_LIMIT: Duration = Duration::from_secs(30);
/// How long a prompt that shows no dialogue may take.
const SILENT_PROMPT_LIMIT: Duration = Duration::from_secs(2);

/// A connection to the session bus, for calls to the service.
pub(super) struct ServiceBus {
    pub(super) context: CallContext,
    bus: Connection,
    /// The unique bus name of the process that sent the last reply.
    sender: String,
    /// The default collection, as the last call found it.
    collection: Option<OwnedObjectPath>,
}

/// The items that a search found.
#[derive(PartialEq, Eq)]
pub(super) struct Matches {
    pub(super) unlocked: Vec<OwnedObjectPath>,
    pub(super) locked: Vec<OwnedObjectPath>,
}

impl ServiceBus {
    pub(super) fn new(bus: Connection, context: CallContext) -> Self {
        Self { context, bus, sender: String::new(), collection: None }
    }

    pub(super) fn sender(&self) -> &str {
        &self.sender
    }

    /// Returns the items of this name. Fails if one of them or the default collection is locked: a service need not
    /// find the items of a locked collection, and KeePassXC asks for its password before it searches one.
    pub(super) fn search_unlocked(
        &mut self,
        operation: Operation,
        name: &ItemName,
    ) -> Result<Vec<OwnedObjectPath>, Error> {
        let refused = |error| bus_error(operation, error);
        let collection = self.default_collection().map_err(refused)?;
        let service = if collection == Readiness::Locked { self.program() } else { SERVICE };
        collection.require_unlocked(service)?;
        let found = self.search(name).map_err(refused)?;
        let Some(locked) = found.locked.first() else { return Ok(found.unlocked) };
        // The item may be outside the default collection. If its collection is unlocked, the service would ask the user
        // about the item.
        let collection = locked.rsplit_once('/').map(|(collection, _)| OwnedObjectPath::try_from(collection));
        match collection {
            Some(Ok(path)) if !self.is_locked(&path).map_err(refused)? => {
                Err(self.prompt_required(operation))
            }
            _ => Err(Error::Locked { service: self.program() }),
        }
    }

    pub(super) fn search(&mut self, name: &ItemName) -> zbus::Result<Matches> {
        let (unlocked, locked) = self.call(ROOT, SERVICE_INTERFACE, "SearchItems", &(attributes(name),))?;
        Ok(Matches { unlocked, locked })
    }

    fn default_collection(&mut self) -> zbus::Result<Readiness> {
        if let Some(path) = self.collection.take()
            && let Ok(locked) = self.is_locked(&path)
        {
            return self.readiness_of(path, locked);
        }
        // Asks twice: gnome-keyring 42 was seen to report no default collection just after a write to it.
        let path = match self.default_alias()? {
            Some(path) => Some(path),
            None => self.default_alias()?,
        };
        let Some(path) = path else { return Ok(Readiness::NotSetUp) };
        let locked = self.is_locked(&path)?;
        self.readiness_of(path, locked)
    }

    fn readiness_of(&mut self, path: OwnedObjectPath, locked: bool) -> zbus::Result<Readiness> {
        let unlocked = !locked || self.unlock_open_wallet(&path)? && !self.is_locked(&path)?;
        self.collection = Some(path);
        Ok(if unlocked { Readiness::Unlocked } else { Readiness::Locked })
    }

    fn default_alias(&mut self) -> zbus::Result<Option<OwnedObjectPath>> {
        let path: OwnedObjectPath = self.call(ROOT, SERVICE_INTERFACE, "ReadAlias", &("default",))?;
        Ok(Some(path).filter(|path| path.as_str() != NO_OBJECT))
    }

    fn is_locked(&mut self, collection: &OwnedObjectPath) -> zbus::Result<bool> {
        Ok(bool::try_from(self.property(collection, COLLECTION_INTERFACE, "Locked")?)?)
    }

    /// Unlocks the collection of a KWallet that is open, which shows no dialogue. Returns whether it did.
    fn unlock_open_wallet(&mut self, path: &OwnedObjectPath) -> zbus::Result<bool> {
        let label = String::try_from(self.property(path, COLLECTION_INTERFACE, "Label")?)?;
        if !service_program::is_open_kwallet(&self.bus, &self.sender, &label) {
            return Ok(false);
        }
        let (unlocked, prompt): (Vec<OwnedObjectPath>, OwnedObjectPath) =
            self.call(ROOT, SERVICE_INTERFACE, "Unlock", &(vec![path],))?;
        if unlocked.contains(path) || prompt.as_str() == NO_OBJECT {
            return Ok(true);
        }
        let outcome = prompt::follow(&self.bus, &self.sender, &prompt, SILENT_PROMPT_LIMIT)?;
        Ok(outcome == PromptOutcome::Accepted)
    }

    /// Forgets which collection is the default one, so that the next call reads it again.
    pub(super) fn forget_default_collection(&mut self) {
        self.collection = None;
    }

    pub(super) fn item_modified(&mut self, path: &OwnedObjectPath) -> zbus::Result<Option<SystemTime>> {
        let seconds = u64::try_from(self.property(path, ITEM_INTERFACE, "Modified")?)?;
        // A service that keeps no times says 0.
        Ok((seconds != 0).then_some(seconds).and_then(|s| UNIX_EPOCH.checked_add(Duration::from_secs(s))))
    }

    /// Deletes one item. If the service prompts, waits for the user if prompts are allowed, and dismisses it otherwise.
    pub(super) fn delete_one(&mut self, path: &OwnedObjectPath) -> zbus::Result<PromptOutcome> {
        let prompt: OwnedObjectPath = self.call(path, ITEM_INTERFACE, "Delete", &())?;
        if prompt.as_str() == NO_OBJECT {
            Ok(PromptOutcome::Accepted)
        } else if self.context.may_prompt() {
            self.context.prompt(|| prompt::follow(&self.bus, &self.sender, &prompt, PROMPT_LIMIT))
        } else {
            let method = Method {
                destination: BUS_NAME,
                path: &prompt,
                interface: prompt::INTERFACE,
                name: "Dismiss",
            };
            // It was never shown, so the service only forgets it.
            let _ = bus::call::<_, ()>(&self.bus, method, &(), ServiceStart::Forbidden);
            Ok(PromptOutcome::Dismissed)
        }
    }

    pub(super) fn add_missing_attributes_to(&mut self, path: &OwnedObjectPath) -> zbus::Result<()> {
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

    fn property(&mut self, path: &str, interface: &str, name: &str) -> zbus::Result<OwnedValue> {
        self.call(path, PROPERTIES_INTERFACE, "Get", &(interface, name))
    }

    fn call<B, R>(&mut self, path: &str, interface: &str, name: &str, body: &B) -> zbus::Result<R>
    where
        B: serde::Serialize + DynamicType,
        R: serde::de::DeserializeOwned + Type,
    {
        let start =
            if self.context.may_start_service() { ServiceStart::Allowed } else { ServiceStart::Forbidden };
        let method = Method { destination: BUS_NAME, path, interface, name };
        let Reply { value, sender } = bus::call(&self.bus, method, body, start)?;
        self.sender = sender;
        self.context.report_progress();
        Ok(value)
    }

    /// Returns the name of the program behind the service.
    fn program(&self) -> &'static str {
        service_program::name_of(&self.bus, &self.sender)
    }

    pub(super) fn prompt_required(&self, operation: Operation) -> Error {
        Error::PromptRequired { service: self.program(), operation }
    }
}
