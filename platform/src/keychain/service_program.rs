//! The programs that offer a Secret Service, which differ in what their user has to do.

use zbus::blocking::Connection;

use super::bus::{Method, ServiceStart, call};
use super::error::Operation;

/// The name, in errors, of a service that is none of the programs below.
pub(super) const SERVICE: &str = "Secret Service";
const GNOME_KEYRING: &str = "GNOME Keyring";
const KEEPASSXC: &str = "KeePassXC";
const KWALLET: &str = "KWallet";

/// The bus name that each program owns besides that of the service.
const NAMES: [(&str, &str); 4] = [
    ("org.gnome.keyring", GNOME_KEYRING),
    ("org.keepassxc.KeePassXC.MainWindow", KEEPASSXC),
    ("org.kde.kwalletd6", KWALLET),
    ("org.kde.kwalletd5", KWALLET),
];

const GET_NAME_OWNER: Method<'static> = Method {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    name: "GetNameOwner",
};

/// Returns the unique name of the process that owns `name`, if one does. Starts nothing.
pub(super) fn owner(bus: &Connection, name: &str) -> zbus::Result<Option<String>> {
    match call::<_, String>(bus, GET_NAME_OWNER, &(name,), ServiceStart::Forbidden) {
        Ok(reply) => Ok(Some(reply.value)),
        Err(zbus::Error::MethodError(error, ..)) if error.ends_with("NameHasNoOwner") => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the name, in messages, of the program with the unique bus name `process`.
pub(super) fn name_of(bus: &Connection, process: &str) -> &'static str {
    NAMES
        .into_iter()
        .find(|(name, _)| owner(bus, name).is_ok_and(|owner| owner.as_deref() == Some(process)))
        .map_or(SERVICE, |(_, program)| program)
}

/// Returns whether `process` is a KWallet whose wallet `wallet` is open. KWallet 5.103 reports an open wallet as locked
/// until a client has unlocked it over the Secret Service API, which then shows no dialogue.
pub(super) fn is_open_kwallet(bus: &Connection, process: &str, wallet: &str) -> bool {
    ["5", "6"].into_iter().any(|version| {
        let (name, path) = (format!("org.kde.kwalletd{version}"), format!("/modules/kwalletd{version}"));
        let method = Method { destination: &name, path: &path, interface: "org.kde.KWallet", name: "isOpen" };
        owner(bus, &name).is_ok_and(|owner| owner.as_deref() == Some(process))
            && call::<_, bool>(bus, method, &(wallet,), ServiceStart::Forbidden).is_ok_and(|open| open.value)
    })
}

/// Returns how a user unlocks the keychain of `service`.
pub(super) fn how_to_unlock(service: &str) -> &'static str {
    match service {
        KEEPASSXC => "unlock its database and try again",
        KWALLET => "open the wallet, for example in KWalletManager, and try again",
        GNOME_KEYRING => {
            "log in to the desktop, or unlock the login keyring in Passwords and Keys, and try again"
        }
        _ => "unlock it, for example by logging in to the desktop, and try again",
    }
}

/// Returns how a user allows `operation` on a `service` that asks first.
pub(super) fn how_to_allow(service: &str, operation: Operation) -> &'static str {
    match (service, operation) {
        (KEEPASSXC, Operation::Read | Operation::Modified | Operation::Write) => {
            "in KeePassXC, turn off Settings > Secret Service Integration > Confirm when passwords are retrieved by \
             clients"
        }
        _ => "run the command in a terminal, so that the question can be answered",
    }
}
