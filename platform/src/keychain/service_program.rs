//! The programs that offer a Secret Service, which differ in what their user has to do.

use zbus::blocking::Connection;

use super::bus::{Method, ServiceStart, call};
use super::error::Operation;

/// What errors call a service that is none of the others.
pub(super) const SERVICE: &str = "Secret Service";
const GNOME_KEYRING: &str = "GNOME Keyring";
const KEEPASSXC: &str = "KeePassXC";
const KWALLET: &str = "KWallet";

/// Bus names that each program owns beside that of the service.
const NAMES: [(&str, &str); 4] = [
    ("org.gnome.keyring", GNOME_KEYRING),
    ("org.keepassxc.KeePassXC.MainWindow", KEEPASSXC),
    ("org.kde.kwalletd6", KWALLET),
    ("org.kde.kwalletd5", KWALLET),
];

const BUS: Method<'static> = Method {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    name: "GetNameOwner",
};

/// The unique name of the process that owns `name`, if one does. Starts nothing.
pub(super) fn owner(bus: &Connection, name: &str) -> zbus::Result<Option<String>> {
    match call::<_, String>(bus, BUS, &(name,), ServiceStart::Forbidden) {
        Ok(reply) => Ok(Some(reply.value)),
        Err(zbus::Error::MethodError(error, ..)) if error.ends_with("NameHasNoOwner") => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the program with the unique bus name `process` is called in messages.
pub(super) fn name_of(bus: &Connection, process: &str) -> &'static str {
    NAMES
        .into_iter()
        .find(|(name, _)| owner(bus, name).is_ok_and(|owner| owner.as_deref() == Some(process)))
        .map_or(SERVICE, |(_, program)| program)
}

/// Whether `process` is a KWallet whose wallet `wallet` is open. KWallet 5.103 calls an open wallet locked until a
/// client has unlocked it over this API, which shows no dialogue then.
pub(super) fn is_open_kwallet(bus: &Connection, process: &str, wallet: &str) -> bool {
    ["5", "6"].into_iter().any(|version| {
        let (name, path) = (format!("org.kde.kwalletd{version}"), format!("/modules/kwalletd{version}"));
        let method = Method { destination: &name, path: &path, interface: "org.kde.KWallet", name: "isOpen" };
        owner(bus, &name).is_ok_and(|owner| owner.as_deref() == Some(process))
            && call::<_, bool>(bus, method, &(wallet,), ServiceStart::Forbidden).is_ok_and(|open| open.value)
    })
}

/// What a user does about a locked keychain of `service`.
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

/// What a user does about a service that asks before it does `operation`.
pub(super) fn how_to_allow(service: &str, operation: Operation) -> &'static str {
    match (service, operation) {
        (KEEPASSXC, Operation::Read | Operation::Modified | Operation::Write) => {
            "in KeePassXC, turn off Settings > Secret Service Integration > Confirm when passwords are retrieved by \
             clients"
        }
        _ => "run the command in a terminal, so that the question can be answered",
    }
}
