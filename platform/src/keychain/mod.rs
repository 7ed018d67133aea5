//! The keychain of the operating system: named items, distinct errors, and no prompts.
//!
//! [`Keychain`] is the contract, synchronous and without a deadline. [`Client`] is what a program uses: the one
//! connection of the process, on its own thread, with a deadline on every call. The implementations are the Secret
//! Service on Linux, the login keychain on macOS, and `Memory` (feature `test-support`), the reference that the
//! contract tests compare the others with.
//!
//! Four situations that other libraries report as "not found" are distinct here: no keychain can be reached
//! ([`Error::Unavailable`]), it is locked ([`Error::Locked`]), it was never set up ([`Error::NotSetUp`]), or it was
//! searched and has no such item (an empty [`read`](Keychain::read)).
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use codex_auth_platform::keychain::{CallEffect, Client, ItemName, WriteTarget};
//!
//! let (keychain, within) = (Client::system(), Duration::from_secs(5));
//! let name = ItemName::new("an example", "ada");
//! match keychain.write(&name, &WriteTarget::OnlyItem, b"a secret", within) {
//!     Ok(written) => eprintln!("{written:?}"),
//!     Err(error) if error.effect() == CallEffect::Unknown => eprintln!("read it back: {error}"),
//!     Err(error) => eprintln!("{error}"),
//! }
//! ```

#[cfg(all(feature = "keychain", target_os = "linux"))]
mod bus;
mod changes;
mod client;
mod context;
mod contract;
mod error;
mod item;
// The rules of the macOS keychain are tested on every system.
#[cfg(all(feature = "keychain", any(test, target_os = "macos")))]
mod login_keychain;
#[cfg(any(test, feature = "test-support"))]
mod memory;
// The operating systems differ only here: each `native` has SERVICE, SHARING, how_to_unlock(), how_to_allow() and
// connect().
#[cfg(all(feature = "keychain", target_os = "macos"))]
#[path = "macos.rs"]
mod native;
#[cfg(all(feature = "keychain", target_os = "linux"))]
#[path = "secret_service.rs"]
mod native;
#[cfg(not(feature = "keychain"))]
mod native {
    use super::context::CallContext;
    use super::contract::Keychain;
    use super::error::Error;
    use super::item::ItemSharing;

    pub(super) const SERVICE: &str = "keychain";
    pub(super) const SHARING: ItemSharing = ItemSharing::OwnerOnly;

    pub(super) fn how_to_unlock(_: &str) -> &'static str {
        "unlock it and try again"
    }

    pub(super) fn how_to_allow(_: &str, _: super::Operation) -> &'static str {
        "allow it and try again"
    }

    pub(super) fn connect(_: &CallContext) -> Result<Box<dyn Keychain>, Error> {
        Err(Error::Unavailable {
            service: SERVICE,
            source: "this program was built without keychain support".into(),
        })
    }
}
#[cfg(all(feature = "keychain", target_os = "linux"))]
mod prompt;
#[cfg(all(feature = "keychain", any(test, target_os = "macos")))]
mod security;
#[cfg(all(feature = "keychain", target_os = "linux"))]
mod service_bus;
#[cfg(all(feature = "keychain", target_os = "linux"))]
mod service_error;
#[cfg(all(feature = "keychain", target_os = "linux"))]
mod service_program;
#[cfg(all(feature = "keychain", target_os = "linux"))]
mod service_session;
mod worker;

pub use changes::ChangeListener;
pub use client::Client;
pub use context::CallContext;
pub use contract::Keychain;
pub use error::{CallEffect, Error, Operation};
pub use item::{Item, ItemId, ItemName, ItemSelection, ItemSharing, ItemWrite, LastModified, WriteTarget};
#[cfg(any(test, feature = "test-support"))]
pub use memory::{Fault, Memory, MemoryState};
