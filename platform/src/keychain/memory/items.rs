//! The items of a keychain in memory, and which of them this program may read and write.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zeroize::Zeroizing;

use super::super::error::Error;
use super::super::item::{
    Item, ItemId, ItemName, ItemSelection, ItemSharing, ItemWrite, WriteTarget, newest_first,
};

/// The name of the keychain in errors.
pub(super) const SERVICE: &str = "memory keychain";

#[derive(Debug)]
pub(super) struct Items {
    items: Vec<(ItemName, Item)>,
    /// Items that another program created.
    foreign: Vec<ItemId>,
    created: usize,
    sharing: ItemSharing,
}

impl Items {
    pub(super) fn new(sharing: ItemSharing) -> Self {
        Self { items: Vec::new(), foreign: Vec::new(), created: 0, sharing }
    }

    pub(super) fn sharing(&self) -> ItemSharing {
        self.sharing
    }

    /// Adds one more item, as another program.
    pub(super) fn add_foreign(&mut self, name: &ItemName, secret: &[u8]) -> ItemId {
        let id = self.add(name, secret);
        self.foreign.push(id.clone());
        id
    }

    pub(super) fn set_modified(&mut self, id: &ItemId, modified: Option<SystemTime>) {
        for (_, item) in self.items.iter_mut().filter(|(_, item)| item.id == *id) {
            item.modified = modified;
        }
    }

    fn add(&mut self, name: &ItemName, secret: &[u8]) -> ItemId {
        self.created += 1;
        let id = ItemId(self.created.to_string());
        let item = Item { id: id.clone(), secret: Zeroizing::new(secret.to_vec()), modified: Some(now()) };
        self.items.push((name.clone(), item));
        id
    }

    pub(super) fn matching(&self, name: &ItemName) -> Vec<Item> {
        let mut items: Vec<Item> =
            self.items.iter().filter(|(of, _)| of == name).map(|(_, item)| item.clone()).collect();
        newest_first(&mut items);
        items
    }

    /// Fails if another program owns an item of this name, because a real keychain would prompt.
    fn require_access(&self, name: &ItemName) -> Result<(), Error> {
        let is_foreign = |(of, item): &(ItemName, Item)| of == name && self.foreign.contains(&item.id);
        match self.sharing {
            ItemSharing::OwnerOnly if self.items.iter().any(is_foreign) => {
                Err(Error::Locked { service: SERVICE })
            }
            _ => Ok(()),
        }
    }

    /// Returns [`Self::matching`] if this program may read the items.
    pub(super) fn readable(&self, name: &ItemName) -> Result<Vec<Item>, Error> {
        self.require_access(name).map(|()| self.matching(name))
    }

    pub(super) fn write(
        &mut self,
        name: &ItemName,
        target: &WriteTarget,
        secret: &[u8],
    ) -> Result<ItemWrite, Error> {
        self.require_access(name)?;
        let mut copies: Vec<&mut Item> =
            self.items.iter_mut().filter(|(of, _)| of == name).map(|(_, item)| item).collect();
        let item = match target {
            WriteTarget::Item(id) => copies.into_iter().find(|item| item.id == *id),
            WriteTarget::OnlyItem if copies.len() > 1 => {
                return Err(Error::Ambiguous { service: SERVICE, name: name.clone(), copies: copies.len() });
            }
            WriteTarget::OnlyItem => copies.pop(),
        };
        match (item, target) {
            (Some(item), _) => {
                item.secret = Zeroizing::new(secret.to_vec());
                item.modified = item.modified.map(|_| now());
                Ok(ItemWrite::Updated)
            }
            (None, WriteTarget::OnlyItem) => {
                self.add(name, secret);
                Ok(ItemWrite::Created)
            }
            (None, WriteTarget::Item(_)) => Err(Error::ItemMissing { service: SERVICE, name: name.clone() }),
        }
    }

    pub(super) fn delete(&mut self, name: &ItemName, selection: &ItemSelection) -> usize {
        let before = self.items.len();
        self.items.retain(|(of, item)| {
            of != name
                || match selection {
                    ItemSelection::All => false,
                    ItemSelection::Item(id) => item.id != *id,
                }
        });
        before - self.items.len()
    }
}

/// Returns the current time in whole seconds, as the real services do.
fn now() -> SystemTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(since.as_secs())
}
