//! The keychain store: the document in an item of the system's keychain, on Linux the item that Codex uses.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use codex_auth_platform::keychain::{
    Client, Item, ItemId, ItemName, ItemSelection, ItemSharing, LastModified, WriteTarget,
};
use codex_auth_platform::private_file::Removal;
use codex_auth_platform::sync::lock;
use zeroize::Zeroizing;

use super::Store;
use super::commit::CommitLocks;
use super::content::{DocumentLocation, StorageNote, StoreContent, StoredDocument, WriteReport};
use super::error::Error;
use super::lease::Lease;
use super::preference::{CopyPreference, LaterCopy, later};
use super::sealed::Sealed;
use crate::document::{self, AuthDocument};
use crate::home::{Home, RecordPaths};

/// The service of items that only this library uses.
const OWN_SERVICE: &str = "codex-auth";
/// The service of the item that Codex stores its login in.
const CODEX_SERVICE: &str = "Codex Auth";

/// The keychain store of a home.
///
/// On Linux, where any program may rewrite an item, it is Codex's own item: service `Codex Auth`, account `cli|` and 16
/// hex digits of SHA-256 of the canonical home. On macOS it is an item of our own with the service `codex-auth`: after
/// another program rewrites an item, the system prompts Codex's user at every access. An existing item is updated in
/// place; no second one is created.
///
/// If another program left several items, the preferred one is used and reported as [`StorageNote::Duplicates`].
#[derive(Clone)]
pub struct KeychainStore {
    name: ItemName,
    codex_name: ItemName,
    client: Client,
    /// The item that the last read preferred, so that a write under the commit locks need not search for it again.
    last_read: Arc<Mutex<Option<ItemId>>>,
}

/// Whether the system may prompt the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PromptPolicy {
    /// It may prompt; the user expects it.
    Allowed,
    /// A call that would prompt fails as if the keychain were locked.
    Forbidden,
}

impl KeychainStore {
    /// Returns the keychain store of `home`, accessed through `client`.
    #[must_use]
    pub fn new(home: &Home, client: Client) -> Self {
        let hash = home.hash();
        let [codexs, ours] =
            [CODEX_SERVICE, OWN_SERVICE].map(|service| ItemName::new(service, format!("cli|{hash}")));
        let name = if client.sharing() == ItemSharing::OwnerOnly { ours } else { codexs.clone() };
        Self { name, codex_name: codexs, client, last_read: Arc::default() }
    }

    /// Checks, within `within`, whether an item could be read and written now.
    ///
    /// # Errors
    /// [`Error::Keychain`].
    pub fn check(&self, within: Duration) -> Result<(), Error> {
        // Looking up an item fails for every reason for which a read or write would fail.
        self.modified(within).map(drop)
    }

    /// Returns, within `within`, when the item was last modified, in whole seconds. Fetches no secret.
    ///
    /// # Errors
    /// [`Error::Keychain`].
    pub fn modified(&self, within: Duration) -> Result<LastModified, Error> {
        Ok(self.client.modified(&self.name, within)?)
    }

    /// Returns whether the login's item exists, also in a locked keychain if the service lists its items.
    ///
    /// # Errors
    /// [`Error::Keychain`].
    pub fn has_item(&self, within: Duration) -> Result<bool, Error> {
        Ok(self.client.contains(&self.name, within)?)
    }

    /// Returns whether the login's item is the one that Codex uses, so that there is nothing to import from it.
    #[must_use]
    pub fn shares_codex_item(&self) -> bool {
        self.codex_name == self.name
    }

    /// Reads the document in Codex's own item. No other call accesses another program's item. With
    /// [`PromptPolicy::Allowed`] it waits at most `within` for the user to answer a prompt.
    ///
    /// # Errors
    /// - [`Error::Keychain`], also if the user denied access.
    /// - [`Error::Document`]: the item's content is not a document.
    pub fn read_codex_item(
        &self,
        prompts: PromptPolicy,
        within: Duration,
    ) -> Result<Option<StoredDocument>, Error> {
        let items = match prompts {
            PromptPolicy::Allowed => self.client.read_with_prompt(&self.codex_name, within)?,
            PromptPolicy::Forbidden => self.client.read(&self.codex_name, within)?,
        };
        let location = location_of(&self.codex_name);
        let Some((_, document, _)) = preferred(&items) else { return Ok(None) };
        match document {
            Ok(document) => Ok(Some(StoredDocument { document, location, notes: Vec::new() })),
            Err(source) => Err(Error::Document { location, source }),
        }
    }

    /// Removes the duplicates of the item in use, except those that hold a login of another account. Returns how many
    /// were removed.
    ///
    /// # Errors
    /// As [`Store::remove`].
    pub fn remove_duplicates(&self, commit: &CommitLocks<'_>) -> Result<usize, Error> {
        let items = self.client.read(&self.name, commit.remaining()?)?;
        let Some((kept, Ok(login), _)) = preferred(&items) else { return Ok(0) };
        // Codex reads none of several items, so every item that may be of the same account is removed.
        let is_other = |item: &Item| {
            let document = AuthDocument::parse(&item.secret);
            document.is_ok_and(|document| document.identity().contradicts(&login.identity()))
        };
        let mut removed = 0;
        for item in items.iter().filter(|item| item.id != kept.id && !is_other(item)) {
            removed +=
                self.client.delete(&self.name, &ItemSelection::Item(item.id.clone()), commit.remaining()?)?;
        }
        Ok(removed)
    }

    /// Reads the key that seals the rescues of the document with these records, if there is one.
    ///
    /// # Errors
    /// [`Error::Keychain`].
    pub(super) fn sealing_key(
        &self,
        records: &RecordPaths,
        within: Duration,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let items = self.client.read(&sealing_key_name(records), within)?;
        Ok(items.into_iter().min_by(|one, other| one.id.cmp(&other.id)).map(|item| item.secret))
    }

    /// Stores the key that seals the rescues of the lease's document.
    ///
    /// # Errors
    /// [`Error::Keychain`].
    pub(super) fn set_sealing_key(&self, lease: &Lease, key: &[u8], within: Duration) -> Result<(), Error> {
        self.client.write(&sealing_key_name(&lease.records()), &WriteTarget::OnlyItem, key, within)?;
        Ok(())
    }

    /// Removes the key that seals the rescues of the lease's document; no rescue may be left.
    ///
    /// # Errors
    /// [`Error::Keychain`].
    pub(super) fn remove_sealing_key(&self, lease: &Lease, within: Duration) -> Result<(), Error> {
        self.client.delete(&sealing_key_name(&lease.records()), &ItemSelection::All, within)?;
        Ok(())
    }

    /// Returns the item's location, as messages name it.
    #[must_use]
    pub fn location(&self) -> DocumentLocation {
        location_of(&self.name)
    }
}

impl Sealed for KeychainStore {}

impl Store for KeychainStore {
    fn read(&self, within: Duration) -> Result<StoreContent, Error> {
        let items = self.client.read(&self.name, within)?;
        *lock(&self.last_read) = preferred(&items).map(|(item, ..)| item.id.clone());
        let Some((item, document, preference)) = preferred(&items) else { return Ok(StoreContent::Nothing) };
        let document = match document {
            Ok(document) => document,
            Err(source) => {
                let (location, bytes) = (self.location(), item.secret.clone());
                return Ok(StoreContent::Unparsable { location, source, bytes });
            }
        };
        let mut notes = Vec::new();
        if items.len() > 1 {
            notes.push(StorageNote::Duplicates { copies: items.len(), preference });
        }
        notes.extend(document.warnings().iter().cloned().map(StorageNote::from));
        Ok(StoreContent::Document(Box::new(StoredDocument { document, location: self.location(), notes })))
    }

    fn check_write(&self, within: Duration) -> Result<(), Error> {
        self.check(within)
    }

    fn check_remove(&self, within: Duration) -> Result<(), Error> {
        self.check(within)
    }

    fn encode(&self, document: &AuthDocument) -> Zeroizing<Vec<u8>> {
        document.to_compact()
    }

    fn write_bytes(&self, commit: &CommitLocks<'_>, bytes: &[u8]) -> Result<WriteReport, Error> {
        let target = lock(&self.last_read).clone().map_or(WriteTarget::OnlyItem, WriteTarget::Item);
        self.client.write(&self.name, &target, bytes, commit.remaining()?)?;
        Ok(WriteReport { location: self.location(), notes: Vec::new() })
    }

    fn remove(&self, commit: &CommitLocks<'_>) -> Result<Removal, Error> {
        match self.client.delete(&self.name, &ItemSelection::All, commit.remaining()?)? {
            0 => Ok(Removal::Absent),
            _ => Ok(Removal::Removed),
        }
    }
}

impl fmt::Debug for KeychainStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeychainStore").field("name", &self.name).finish_non_exhaustive()
    }
}

fn sealing_key_name(records: &RecordPaths) -> ItemName {
    ItemName::new(OWN_SERVICE, format!("rescue|{}", records.hash()))
}

fn location_of(name: &ItemName) -> DocumentLocation {
    DocumentLocation::Keychain { service: name.service().to_owned(), account: name.account().to_owned() }
}

type ParseResult = Result<AuthDocument, document::Error>;

/// Selects the item to use, and returns its content and the reason. A document takes precedence over unparsable
/// content, then the later token of one login, then the item that the service lists as modified last (so that a written
/// item is the one that is read afterwards), then the first by id.
fn preferred(items: &[Item]) -> Option<(&Item, ParseResult, CopyPreference)> {
    let mut items: Vec<_> = items.iter().map(|item| (item, AuthDocument::parse(&item.secret))).collect();
    items.sort_by(|(one, _), (other, _)| other.modified.cmp(&one.modified).then(one.id.cmp(&other.id)));
    let mut items = items.into_iter();
    let (mut best, mut document) = items.next()?;
    let mut reason = CopyPreference::First;
    for (item, other) in items {
        let decision = match (&document, &other) {
            (Ok(ours), Ok(theirs)) => later(ours, theirs).map(|later| (later, CopyPreference::LaterToken)),
            (Err(_), Ok(_)) => Some((LaterCopy::Second, CopyPreference::Readable)),
            (Ok(_), Err(_)) => Some((LaterCopy::First, CopyPreference::Readable)),
            (Err(_), Err(_)) => None,
        };
        if let Some((later, preference)) = decision {
            reason = preference;
            if later == LaterCopy::Second {
                (best, document) = (item, other);
            }
        }
    }
    Some((best, document, reason))
}
