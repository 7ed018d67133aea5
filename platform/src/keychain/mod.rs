//! The one keychain of the operating system: named items, each answer told apart, and never a prompt.
//!
//! [`Keychain`] is the contract, synchronous and without a deadline; [`Client`] is what a program holds: the one
//! connection of the process, on a thread of its own, with a deadline on every call. The implementations are the
//! Secret Service on Linux, the login keychain on macOS, and `Memory` (feature `test-support`), the reference that
//! the contract tests hold the others to.
//!
//! Four situations that libraries like to call "not found" are four answers here: no keychain can be reached
//! ([`Error::Unavailable`]), it is locked ([`Error::Locked`]), it was never set up ([`Error::NeverUnlocked`]), and it
//! was searched and holds no such item (an empty [`read`](Keychain::read)).
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use codex_auth_platform::keychain::{Client, ItemName, Outcome, Slot};
//!
//! let (keychain, within) = (Client::system(), Duration::from_secs(5));
//! let name = ItemName::new("an example", "somebody");
//! match keychain.write(&name, &Slot::Only, b"a secret", within) {
//!     Ok(written) => eprintln!("{written:?}"),
//!     Err(error) if error.outcome() == Outcome::Unknown => eprintln!("read it back: {error}"),
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
// The one seam between operating systems: each `native` offers SERVICE, SHARING, HOW_TO_UNLOCK and connect().
#[cfg(target_os = "macos")]
#[path = "macos.rs"]
mod native;
#[cfg(target_os = "linux")]
#[path = "secret_service.rs"]
mod native;
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod native {
    use super::{Caller, Error, ItemSharing, Keychain};

    pub(super) const SERVICE: &str = "keychain";
    pub(super) const SHARING: ItemSharing = ItemSharing::OwnerOnly;
    pub(super) const HOW_TO_UNLOCK: &str = "unlock the keychain";

    pub(super) fn connect(_: &Caller) -> Result<Box<dyn Keychain>, Error> {
        Err(Error::Unavailable { service: SERVICE, source: "this operating system has none".into() })
    }
}

pub use changes::ChangeListener;
pub use client::{Caller, Client};
pub use error::{CallEffect, Error, Operation};
#[cfg(any(test, feature = "test-support"))]
pub use memory::{Fault, Memory, MemoryState};

/// Whether a program may rewrite an item that another program made, on this operating system.
pub const SHARING: ItemSharing = native::SHARING;

/// What a person does about a keychain that is locked, on this operating system; words that begin a sentence.
pub const HOW_TO_UNLOCK: &str = native::HOW_TO_UNLOCK;

/// A keychain: items with a secret each, found by name, kept by a service outside this process.
///
/// Calls are synchronous and have no deadline of their own; an implementation may wait for its service for ever, which
/// is why programs hold a [`Client`]. No call but [`read_asking`](Self::read_asking) makes the operating system ask its
/// user anything, and none unlocks, creates or configures a collection; where only that would help, the answer is
/// [`Error::Locked`] or [`Error::NeverUnlocked`].
///
/// # Errors
///
/// Of every method but [`readiness`](Self::readiness): [`Error::Unavailable`], [`Error::Locked`] and
/// [`Error::NeverUnlocked`] as above, before anything was changed; [`Error::Failed`] for whatever else the service
/// answers, with the [`CallEffect`].
pub trait Keychain: Send {
    /// Whether the service lets this program at its default collection, at this moment.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] and [`Error::Failed`]; a lock is an answer here, not an error.
    fn readiness(&mut self) -> Result<Readiness, Error>;

    /// Every item of this name, the one modified last first; empty when the keychain holds none.
    ///
    /// Items are found in every collection, whichever program made them.
    ///
    /// # Errors
    ///
    /// Those of [the trait](Self). One secret that cannot be read fails the call: a part is never given for the whole.
    fn read(&mut self, name: &ItemName) -> Result<Vec<Item>, Error>;

    /// As [`read`](Self::read), for an item that another program owns: where the operating system guards such items, it
    /// may ask its user for leave, and for the password of a locked keychain.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read), and [`Error::Declined`].
    fn read_asking(&mut self, name: &ItemName) -> Result<Vec<Item>, Error>;

    /// When the items of this name were last modified, without fetching a secret.
    ///
    /// Of several items, the latest. A changed value means a change; an unchanged one does not mean none, because
    /// services count whole seconds.
    ///
    /// # Errors
    ///
    /// Those of [the trait](Self).
    fn modified(&mut self, name: &ItemName) -> Result<LastModified, Error>;

    /// Whether the keychain holds an item of this name, locked ones and those of a locked keychain included, as far as the
    /// service tells. Unlocks nothing.
    ///
    /// # Errors
    ///
    /// Those of [the trait](Self); a lock is no error where the service tells of locked items.
    fn holds(&mut self, name: &ItemName) -> Result<bool, Error> {
        Ok(self.modified(name)? != LastModified::NoEntry)
    }

    /// Stores a secret, in the item that `slot` says.
    ///
    /// An existing item is updated in place and keeps its identity, label and further attributes. It is durable as far
    /// as the service promises it when this returns.
    ///
    /// # Errors
    ///
    /// Those of [the trait](Self); [`Error::Ambiguous`] for [`Slot::Only`] with several items, none of which was
    /// touched; [`Error::Vanished`] for [`Slot::This`] when that item is gone, and for an item
    /// that another program deletes during the call.
    fn write(&mut self, name: &ItemName, slot: &Slot, secret: &[u8]) -> Result<ItemWrite, Error>;

    /// Removes items and says how many; removing what is not there is no error and counts none.
    ///
    /// # Errors
    ///
    /// Those of [the trait](Self). With [`ItemSelection::All`], some items may be gone after a failure.
    fn delete(&mut self, name: &ItemName, selection: &ItemSelection) -> Result<usize, Error>;
}

/// What an item is found by: a service and an account within it, both case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ItemName {
    service: String,
    account: String,
}

impl ItemName {
    /// A name of these two parts, neither of them empty: to macOS an empty one would mean any, so calls fail there.
    pub fn new(service: impl Into<String>, account: impl Into<String>) -> Self {
        Self { service: service.into(), account: account.into() }
    }

    /// The program or purpose that the item belongs to.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Which of that service's items.
    pub fn account(&self) -> &str {
        &self.account
    }
}

impl fmt::Display for ItemName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.account, self.service)
    }
}

/// Which of several items of one name; good until that item is deleted, on the service that gave it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemId(String);

/// One stored item. `Debug` shows everything but the secret.
#[non_exhaustive]
#[derive(Clone)]
pub struct Item {
    /// Which item of its name this is.
    pub id: ItemId,
    /// The stored bytes, as they were written; wiped when dropped.
    pub secret: Zeroizing<Vec<u8>>,
    /// When it was last modified, by the service's clock in whole seconds; `None` where the service does not tell.
    pub modified: Option<SystemTime>,
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item").field("id", &self.id).field("modified", &self.modified).finish_non_exhaustive()
    }
}

/// What a service that answered says of its default collection.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Items can be read and written.
    Unlocked,
    /// Its user has to unlock it first.
    Locked,
    /// There is no default collection: nobody ever set one up for this user.
    NeverUnlocked,
}

/// When the items of a name were last modified.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastModified {
    /// There is no item of that name.
    NoEntry,
    /// There is one, and this operating system does not tell its time.
    NotTold,
    /// The latest time of all items of the name.
    At(SystemTime),
}

/// Which item a write goes to.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The only item of the name, which is created if there is none; several are an error.
    Only,
    /// This very item, which is never created anew.
    This(ItemId),
}

/// Which items a deletion removes.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemSelection {
    /// Every item of the name.
    All,
    /// This very item.
    This(ItemId),
}

/// What a write did.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemWrite {
    /// There was no item of the name; there is one now.
    Created,
    /// An item was there and has the new secret.
    Updated,
}

/// Who may rewrite an item without the operating system asking its user.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemSharing {
    /// Every program of the user: items carry no list of programs (Secret Service).
    AnyProgram,
    /// The program that made it; any other, or a rewrite by any other, makes macOS ask.
    OwnerOnly,
}

/// The order that [`Keychain::read`] promises.
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
