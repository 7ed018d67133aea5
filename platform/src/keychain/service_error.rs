//! Converts the errors of a Secret Service, and of the store over it.

use super::error::{CallEffect, Error, Operation};
use super::service_program::SERVICE;

/// Converts a bus error of a call that has changed nothing.
pub(super) fn bus_error(operation: Operation, error: zbus::Error) -> Error {
    let gone = match &error {
        zbus::Error::MethodError(name, ..) => {
            let name = name.as_str();
            matches!(
                name.strip_prefix("org.freedesktop.DBus.Error."),
                Some(
                    // A sandbox that forbids calls to the service.
                    "AccessDenied"
                        | "ServiceUnknown"
                        | "NameHasNoOwner"
                        | "Disconnected"
                        | "NoServer"
                        | "NoReply"
                        | "TimedOut"
                )
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

/// Converts an error of the store. `NoStorageAccess` means locked, and the store reports it before it changes
/// anything.
pub(super) fn store_error(operation: Operation, effect: CallEffect, error: keyring_core::Error) -> Error {
    match error {
        keyring_core::Error::NoStorageAccess(_) => Error::Locked { service: SERVICE },
        keyring_core::Error::PlatformFailure(source) => failed(operation, effect, source),
        // Some other errors own the bytes of a secret; their messages do not contain them.
        other => failed(operation, effect, other.to_string().into()),
    }
}

pub(super) fn failed(
    operation: Operation,
    effect: CallEffect,
    source: Box<dyn std::error::Error + Send + Sync>,
) -> Error {
    Error::Failed { service: SERVICE, operation, effect, source }
}

pub(super) fn unavailable(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Unavailable { service: SERVICE, source }
}
