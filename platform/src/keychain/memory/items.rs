//! The items of a keychain in memory, and who may have them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zeroize::Zeroizing;

use super::super::{
    Error, Item, ItemId, ItemName, ItemSelection, ItemSharing, ItemWrite, Slot, newest_first,
};
use super::SERVICE;

#[derive(Debug)]
pub(super) struct Items {
    items: Vec<(ItemName, Item)>,
    /// What another program made.
    planted: Vec<ItemId>,
    made: usize,
    sharing: ItemSharing,
}

impl Items {
    pub(super) fn new(sharing: ItemSharing) -> Self {
        Self { items: Vec::new(), planted: Vec::new(), made: 0, sharing }
    }

    pub(super) fn sharing(&self) -> ItemSharing {
        self.sharing
    }

    /// Adds one more, as another program.
    pub(super) fn plant(&mut self, name: &ItemName, secret: &[u8]) -> ItemId {
        let id = self.add(name, secret);
        self.planted.push(id.clone());
        id
    }

    pub(super) fn set_modified(&mut self, id: &ItemId, modified: Option<SystemTime>) {
        for (_, item) in self.items.iter_mut().filter(|(_, item)| item.id == *id) {
            item.modified = modified;
        }
    }

    fn add(&mut self, name: &ItemName, secret: &[u8]) -> ItemId {
        self.made += 1;
        let id = ItemId(self.made.to_string());
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

    /// That no item of this name is another program's alone; that would bring up a dialogue.
    fn is_ours(&self, name: &ItemName) -> Result<(), Error> {
        let theirs = |(of, item): &(ItemName, Item)| of == name && self.planted.contains(&item.id);
        match self.sharing {
            ItemSharing::OwnerOnly if self.items.iter().any(theirs) => {
                Err(Error::Locked { service: SERVICE })
            }
            _ => Ok(()),
        }
    }

    /// What [`Self::matching`] gives, if it is ours to read.
    pub(super) fn readable(&self, name: &ItemName) -> Result<Vec<Item>, Error> {
        self.is_ours(name).map(|()| self.matching(name))
    }

    pub(super) fn write(&mut self, name: &ItemName, slot: &Slot, secret: &[u8]) -> Result<ItemWrite, Error> {
        self.is_ours(name)?;
        let mut copies: Vec<&mut Item> =
            self.items.iter_mut().filter(|(of, _)| of == name).map(|(_, item)| item).collect();
        let item = match slot {
            Slot::This(id) => copies.into_iter().find(|item| item.id == *id),
            Slot::Only if copies.len() > 1 => {
                return Err(Error::Ambiguous { service: SERVICE, name: name.clone(), copies: copies.len() });
            }
            Slot::Only => copies.pop(),
        };
        match (item, slot) {
            (Some(item), _) => {
                item.secret = Zeroizing::new(secret.to_vec());
                item.modified = item.modified.map(|_| now());
                Ok(ItemWrite::Updated)
            }
            (None, Slot::Only) => {
                self.add(name, secret);
                Ok(ItemWrite::Created)
            }
            (None, Slot::This(_)) => Err(Error::Vanished { service: SERVICE, name: name.clone() }),
        }
    }

    pub(super) fn delete(&mut self, name: &ItemName, selection: &ItemSelection) -> usize {
        let before = self.items.len();
        self.items.retain(|(of, item)| {
            of != name
                || match selection {
                    ItemSelection::All => false,
                    ItemSelection::This(id) => item.id != *id,
                }
        });
        before - self.items.len()
    }
}

/// The present time as the real services tell it: in whole seconds.
fn now() -> SystemTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(since.as_secs())
}
