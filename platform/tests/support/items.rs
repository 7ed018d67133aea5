//! Calls the Secret Service as another program would, over D-Bus and without our code.

use std::collections::HashMap;

use codex_auth_platform::keychain::ItemName;
use zbus::blocking::Connection;
use zbus::zvariant::{ObjectPath, OwnedObjectPath, OwnedValue, Value};

const BUS_NAME: &str = "org.freedesktop.secrets";
const ROOT: &str = "/org/freedesktop/secrets";
const SERVICE_INTERFACE: &str = "org.freedesktop.Secret.Service";
pub(crate) const LOGIN: &str = "/org/freedesktop/secrets/collection/login";
/// A collection in memory that ends with the service and is never locked.
pub(crate) const SESSION: &str = "/org/freedesktop/secrets/collection/session";

/// Returns only the attributes that items are searched by.
pub(crate) fn bare(name: &ItemName) -> HashMap<&str, &str> {
    HashMap::from([("service", name.service()), ("username", name.account())])
}

/// Creates an item without searching for one.
pub(crate) fn plant(collection: &str, attributes: &HashMap<&str, &str>, secret: &[u8]) {
    let bus = Connection::session().unwrap();
    let session = session(&bus);
    let properties = HashMap::from([
        ("org.freedesktop.Secret.Item.Label", Value::from("planted by a test")),
        ("org.freedesktop.Secret.Item.Attributes", Value::from(attributes.clone())),
    ]);
    let parameters: &[u8] = b"";
    let body = (properties, (session, parameters, secret, "text/plain"), false);
    bus.call_method(
        Some(BUS_NAME),
        collection,
        Some("org.freedesktop.Secret.Collection"),
        "CreateItem",
        &body,
    )
    .unwrap();
}

/// Returns path, attributes and label of every item of this name, without the attribute that gnome-keyring adds to
/// every item when it reads its file again.
pub(crate) fn found(name: &ItemName) -> Vec<(String, HashMap<String, String>, String)> {
    let bus = Connection::session().unwrap();
    let body = (bare(name),);
    let answer =
        bus.call_method(Some(BUS_NAME), ROOT, Some(SERVICE_INTERFACE), "SearchItems", &body).unwrap();
    let (unlocked, locked): (Vec<OwnedObjectPath>, Vec<OwnedObjectPath>) =
        answer.body().deserialize().unwrap();
    let property = |path: &OwnedObjectPath, name: &str| -> OwnedValue {
        let body = ("org.freedesktop.Secret.Item", name);
        bus.call_method(Some(BUS_NAME), path, Some("org.freedesktop.DBus.Properties"), "Get", &body)
            .unwrap()
            .body()
            .deserialize()
            .unwrap()
    };
    unlocked
        .iter()
        .chain(&locked)
        .map(|path| {
            let mut attributes: HashMap<String, String> = property(path, "Attributes").try_into().unwrap();
            attributes.remove("xdg:schema");
            (path.to_string(), attributes, property(path, "Label").try_into().unwrap())
        })
        .collect()
}

/// Creates a second, unlocked collection with the method that gnome-keyring has for its own tests, because the public
/// one prompts.
pub(crate) fn make_collection(label: &str) -> String {
    let bus = Connection::session().unwrap();
    let properties = HashMap::from([("org.freedesktop.Secret.Collection.Label", Value::from(label))]);
    let parameters: &[u8] = b"";
    let body = (properties, (session(&bus), parameters, &b"master"[..], "text/plain"));
    let interface = "org.gnome.keyring.InternalUnsupportedGuiltRiddenInterface";
    let answer =
        bus.call_method(Some(BUS_NAME), ROOT, Some(interface), "CreateWithMasterPassword", &body).unwrap();
    answer.body().deserialize::<OwnedObjectPath>().unwrap().to_string()
}

/// Locks a collection, as its user would.
pub(crate) fn lock(collection: &str) {
    let bus = Connection::session().unwrap();
    let body = (vec![ObjectPath::try_from(collection).unwrap()],);
    bus.call_method(Some(BUS_NAME), ROOT, Some(SERVICE_INTERFACE), "Lock", &body).unwrap();
}

/// Opens an unencrypted session, which lasts as long as the connection.
fn session(bus: &Connection) -> OwnedObjectPath {
    let body = ("plain", Value::from(""));
    let opened =
        bus.call_method(Some(BUS_NAME), ROOT, Some(SERVICE_INTERFACE), "OpenSession", &body).unwrap();
    let (_, session): (OwnedValue, OwnedObjectPath) = opened.body().deserialize().unwrap();
    session
}
