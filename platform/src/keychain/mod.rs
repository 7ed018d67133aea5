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

use std::fmt;
use std::time::SystemTime;

use zeroize::Zeroizing;

#[cfg(target_os = "linux")]
mod bus;
mod changes;
mod client;
mod error;
#[cfg(any(test, feature = "test-support"))]
mod memory;
// The operating systems differ only here: each `native` has SERVICE, SHARING, HOW_TO_UNLOCK and connect().
#[cfg(target_os = "macos")]
#[path = "macos.rs"]
mod native;
#[cfg(target_os = "linux")]
#[path = "secret_service.rs"]
mod native;
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod native {
    use super::{Cancellation, Error, ItemSharing, Keychain};

    pub(super) const SERVICE: &str = "keychain";
    pub(super) const SHARING: ItemSharing = ItemSharing::OwnerOnly;
    pub(super) const HOW_TO_UNLOCK: &str = "unlock the keychain";

    pub(super) fn connect(_: &Cancellation) -> Result<Box<dyn Keychain>, Error> {
        Err(Error::Unavailable { service: SERVICE, source: "this operating system has none".into() })
    }
}

pub use changes::ChangeListener;
pub use client::{Cancellation, Client};
pub use error::{CallEffect, Error, Operation};
#[cfg(any(test, feature = "test-support"))]
pub use memory::{Fault, Memory, MemoryState};

/// Whether a program may rewrite an item that another program created, on this operating system.
pub const SHARING: ItemSharing = native::SHARING;

/// How a user unlocks a locked keychain on this operating system: the start of a sentence.
pub const HOW_TO_UNLOCK: &str = native::HOW_TO_UNLOCK;

/// A keychain: named items with one secret each, kept by a service outside this process.
///
/// Calls are synchronous and have no deadline. An implementation may wait for its service for ever, so programs use a
/// [`Client`]. Only [`read_with_prompt`](Self::read_with_prompt) lets the operating system prompt, and no call
/// unlocks, creates or configures a collection; where only that would help, calls fail with [`Error::Locked`] or
/// [`Error::NotSetUp`].
///
/// # Errors
///
/// Every method except [`readiness`](Self::readiness) fails with [`Error::Unavailable`], [`Error::Locked`] or
/// [`Error::NotSetUp`] before it changes anything, and with [`Error::Failed`] and its [`CallEffect`] for other errors
/// of the service.
pub trait Keychain: Send {
    /// Returns whether this program can use the default collection now.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] and [`Error::Failed`]; a lock is an answer here, not an error.
    fn readiness(&mut self) -> Result<Readiness, Error>;

    /// Returns every item of this name, the one modified last first; empty if the keychain has none.
    ///
    /// Finds items in every collection, whichever program created them.
    ///
    /// # Errors
    ///
    /// Those of [the trait](Self). Fails if any secret cannot be read, so a result is always complete.
    fn read(&mut self, name: &ItemName) -> Result<Vec<Item>, Error>;

    /// Reads like [`read`](Self::read), and lets the operating system prompt for access to another program's item or
    /// for the password of a locked keychain.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read), and [`Error::Denied`].
    fn read_with_prompt(&mut self, name: &ItemName) -> Result<Vec<Item>, Error>;

    /// Returns when the items of this name were last modified, without reading a secret.
    ///
    /// Returns the latest time of several items. A different value means a change; an equal one does not rule a
    /// change out, because services count whole seconds.
    ///
    /// # Errors
    ///
    /// Those of [the trait](Self).
    fn modified(&mut self, name: &ItemName) -> Result<LastModified, Error>;

    /// Returns whether the keychain has an item of this name, including locked items and those of a locked keychain
    /// as far as the service lists them. Unlocks nothing.
    ///
    /// # Errors
    ///
    /// Those of [the trait](Self); a lock is no error if the service lists locked items.
    fn contains(&mut self, name: &ItemName) -> Result<bool, Error> {
        Ok(self.modified(name)? != LastModified::NoItem)
    }

    /// Stores a secret in the item that `slot` names.
    ///
    /// An existing item is updated in place and keeps its id, label and other attributes. When this returns, the
    /// secret is as durable as the service promises.
    ///
    /// # Errors
    ///
    /// Those of [the trait](Self); [`Error::Ambiguous`] for [`WriteTarget::OnlyItem`] if there are several items,
    /// none of which was changed; [`Error::ItemMissing`] for [`WriteTarget::Item`] if that item does not exist, and
    /// for an item that another program deletes during the call.
    fn write(&mut self, name: &ItemName, slot: &WriteTarget, secret: &[u8]) -> Result<ItemWrite, Error>;

    /// Removes items and returns how many; removing what does not exist counts none and is no error.
    ///
    /// # Errors
    ///
    /// Those of [the trait](Self). With [`ItemSelection::All`], some items may be gone after a failure.
    fn delete(&mut self, name: &ItemName, selection: &ItemSelection) -> Result<usize, Error>;
}

/// The name of an item: a service and an account, both case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ItemName {
    service: String,
    account: String,
}

impl ItemName {
    /// Creates a name. Neither part may be empty: macOS takes an empty part to match any, so calls fail there.
    pub fn new(service: impl Into<String>, account: impl Into<String>) -> Self {
        Self { service: service.into(), account: account.into() }
    }

    /// Returns the program or purpose that the item belongs to.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Returns which of that service's items it is.
    pub fn account(&self) -> &str {
        &self.account
    }
}

impl fmt::Display for ItemName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.account, self.service)
    }
}

/// Identifies one of several items of one name, until that item is deleted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemId(String);

/// A stored item. `Debug` shows everything except the secret.
#[non_exhaustive]
#[derive(Clone)]
pub struct Item {
    /// The id of the item.
    pub id: ItemId,
    /// The stored bytes; wiped when dropped.
    pub secret: Zeroizing<Vec<u8>>,
    /// When it was last modified, by the service's clock in whole seconds; `None` if the service does not report it.
    pub modified: Option<SystemTime>,
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item").field("id", &self.id).field("modified", &self.modified).finish_non_exhaustive()
    }
}

/// The state of a keychain's default collection.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Items can be read and written.
    Unlocked,
    /// The user has to unlock the collection first.
    Locked,
    /// There is no default collection: it was never set up for this user.
    NotSetUp,
}

/// When the items of a name were last modified.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastModified {
    /// There is no item of that name.
    NoItem,
    /// There is an item, and this operating system does not report its time.
    Unknown,
    /// The latest time of all items of the name.
    At(SystemTime),
}

/// The item that a write goes to.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteTarget {
    /// The only item of the name, which is created if there is none; several are an error.
    OnlyItem,
    /// The item with this id, which is never created.
    Item(ItemId),
}

/// The items that a deletion removes.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemSelection {
    /// Every item of the name.
    All,
    /// The item with this id.
    Item(ItemId),
}

/// What a write did.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemWrite {
    /// It created the item.
    Created,
    /// It updated an existing item.
    Updated,
}

/// Which programs may rewrite an item without a prompt.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemSharing {
    /// Every program of the user, because items have no list of programs (Secret Service).
    AnyProgram,
    /// The program that created the item; macOS prompts for any other.
    OwnerOnly,
}

/// Sorts items in the order that [`Keychain::read`] promises.
#[cfg(any(target_os = "linux", test, feature = "test-support"))]
fn newest_first(items: &mut [Item]) {
    items.sort_by_key(|item| std::cmp::Reverse(item.modified));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_an_item_shows_no_secret() {
        let item = Item {
            id: ItemId("7".into()),
            secret: Zeroizing::new(b"hunter2".to_vec()),
            modified: Some(SystemTime::UNIX_EPOCH),
        };
        let shown = format!("{item:?} {item:#?}");
        assert!(
            shown.contains("modified") && !shown.contains("hunter2") && !shown.contains("104"),
            "{shown}"
        );
    }
}
