//! The items of a keychain: names, ids, contents, and what reads and writes report of them.

use std::fmt;
use std::time::SystemTime;

use zeroize::Zeroizing;

/// The name of an item: a service and an account, both case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ItemName {
    service: String,
    account: String,
}

impl ItemName {
    /// Creates a name. Neither part may be empty: macOS would match every item, so calls fail there.
    pub fn new(service: impl Into<String>, account: impl Into<String>) -> Self {
        Self { service: service.into(), account: account.into() }
    }

    /// Returns the program or purpose that the item belongs to.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Returns the part that distinguishes the items of one service.
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
pub struct ItemId(pub(super) String);

impl ItemId {
    /// Creates the id that a keychain gives an item.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }
}

/// A stored item. `Debug` shows everything except the secret.
#[non_exhaustive]
#[derive(Clone)]
pub struct Item {
    /// The id of the item.
    pub id: ItemId,
    /// The stored bytes; wiped when dropped.
    pub secret: Zeroizing<Vec<u8>>,
    /// When it was last modified, by the service's clock in whole seconds; `None` if the service does not report it, or
    /// if this is the only item of its name and its time was not read.
    pub modified: Option<SystemTime>,
}

impl Item {
    /// Creates an item that a keychain returns, without a time of its modification.
    pub fn new(id: ItemId, secret: impl Into<Vec<u8>>) -> Self {
        Self { id, secret: Zeroizing::new(secret.into()), modified: None }
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item").field("id", &self.id).field("modified", &self.modified).finish_non_exhaustive()
    }
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
#[cfg(any(all(feature = "keychain", target_os = "linux"), test, feature = "test-support"))]
pub(super) fn newest_first(items: &mut [Item]) {
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
        // 104 is the first byte of the secret.
        assert!(
            shown.contains("modified") && !shown.contains("hunter2") && !shown.contains("104"),
            "{shown}"
        );
    }
}
