//! The contract of every keychain.

use super::error::Error;
use super::item::{Item, ItemName, ItemSelection, ItemWrite, LastModified, WriteTarget};

/// A keychain: named items with one secret each, kept by a service outside this process.
///
/// Calls are synchronous and have no deadline. An implementation may wait for its service for ever, so programs use a
/// [`Client`](super::Client). Only [`read_with_prompt`](Self::read_with_prompt) lets the operating system prompt, and
/// no call unlocks, creates or configures a collection; where only that would help, calls fail with [`Error::Locked`]
/// or [`Error::NotSetUp`].
///
/// # Errors
///
/// Every method fails with [`Error::Unavailable`], [`Error::Locked`] or [`Error::NotSetUp`] before it changes
/// anything, and with [`Error::Failed`] and its [`CallEffect`](super::CallEffect) for other errors of the service.
pub trait Keychain: Send {
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

    /// Stores a secret in the item that `target` names.
    ///
    /// An existing item is updated in place and keeps its id, label and other attributes. When this returns, the
    /// secret is as durable as the service promises.
    ///
    /// # Errors
    ///
    /// Those of [the trait](Self); [`Error::Ambiguous`] for [`WriteTarget::OnlyItem`] if there are several items,
    /// none of which was changed; [`Error::ItemMissing`] for [`WriteTarget::Item`] if that item does not exist, and
    /// for an item that another program deletes during the call.
    fn write(&mut self, name: &ItemName, target: &WriteTarget, secret: &[u8]) -> Result<ItemWrite, Error>;

    /// Removes items and returns how many; removing what does not exist counts none and is no error.
    ///
    /// # Errors
    ///
    /// Those of [the trait](Self). With [`ItemSelection::All`], some items may be gone after a failure.
    fn delete(&mut self, name: &ItemName, selection: &ItemSelection) -> Result<usize, Error>;
}

/// The state of a keychain's default collection.
#[cfg(feature = "keychain")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// Items can be read and written.
    Unlocked,
    /// The user has to unlock the collection first.
    Locked,
    /// There is no default collection: it was never set up for this user.
    NotSetUp,
}

#[cfg(feature = "keychain")]
impl Readiness {
    /// Fails unless the collection of `service` is unlocked.
    pub(super) fn require_unlocked(self, service: &'static str) -> Result<(), Error> {
        match self {
            Self::Unlocked => Ok(()),
            Self::Locked => Err(Error::Locked { service }),
            Self::NotSetUp => Err(Error::NotSetUp { service }),
        }
    }
}
