//! The document as an item of the system's keychain: on Linux the very item that Codex keeps.

use std::fmt;
use std::time::Duration;

use codex_auth_platform::keychain::{Client, Item, ItemName, ItemSelection, ItemSharing, LastModified, Slot};
use codex_auth_platform::private_file::Removal;
use zeroize::Zeroizing;

use super::preference::{self, CopyPreference, LaterCopy};
use super::{
    CommitLocks, DocumentLocation, Error, Lease, StorageNote, Store, StoreContent, StoredDocument,
    WriteReport,
};
use crate::config::StoreKind;
use crate::document::{self, AuthDocument};
use crate::home::{Home, RecordPaths};

/// The service of items that are ours alone.
const OURS: &str = "codex-auth";
/// The service of the item that Codex keeps its login in.
const CODEXS: &str = "Codex Auth";

/// The keychain store of a home.
///
/// Where any program may rewrite an item (Linux), it is Codex's own: service `Codex Auth`, account `cli|` and 16 hex
/// digits of SHA-256 of the canonical home. Where that would make the system ask Codex's user for ever (macOS), it is
/// one of ours with the service `codex-auth` (`peers.md` 3.6). It is updated in place, and never made a second time.
///
/// Should others have left several items, the preferred one is used, and [`StorageNote::Duplicates`] says so.
#[derive(Clone)]
pub struct KeychainStore {
    name: ItemName,
    codexs: ItemName,
    client: Client,
}

/// Whether the system may ask its user something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PromptPolicy {
    /// There is a person who expects it.
    Allowed,
    /// What would bring one up fails, and the keychain counts as locked.
    Forbidden,
}

impl KeychainStore {
    /// The keychain store of `home`, reached through `client`.
    #[must_use]
    pub fn new(home: &Home, client: Client) -> Self {
        let hash = home.hash();
        let [codexs, ours] = [CODEXS, OURS].map(|service| ItemName::new(service, format!("cli|{hash}")));
        let name = if client.sharing() == ItemSharing::OwnerOnly { ours } else { codexs.clone() };
        Self { name, codexs, client }
    }

    /// Whether an item could be read and written now, within `within`.
    ///
    /// # Errors
    /// [`Error::Keychain`] says why not, and what to do.
    pub fn check(&self, within: Duration) -> Result<(), Error> {
        // Asking for an item asks for everything that could be in the way of it.
        self.modified(within).map(drop)
    }

    /// When the item was modified last, in whole seconds, within `within`. Fetches no secret.
    ///
    /// # Errors
    /// [`Error::Keychain`].
    pub fn modified(&self, within: Duration) -> Result<LastModified, Error> {
        Ok(self.client.modified(&self.name, within)?)
    }

    /// Whether there is an item of the login, in a locked keychain too, as far as the service tells.
    ///
    /// # Errors
    /// [`Error::Keychain`].
    pub fn holds(&self, within: Duration) -> Result<bool, Error> {
        Ok(self.client.holds(&self.name, within)?)
    }

    /// Whether the item of the login is the one that Codex keeps, so that there is nothing to take over.
    #[must_use]
    pub fn shares_codexs_item(&self) -> bool {
        self.codexs == self.name
    }

    /// What Codex keeps in an item of its own. This is the only call that touches an item of another program's, and it
    /// changes nothing there; with [`PromptPolicy::Allowed`] it waits for the answer of a person for at most `within`.
    ///
    /// # Errors
    /// - [`Error::Keychain`]; among them that whoever was asked did not allow it.
    /// - [`Error::Document`]: what it keeps cannot be understood.
    pub fn codexs_item(
        &self,
        dialogues: PromptPolicy,
        within: Duration,
    ) -> Result<Option<StoredDocument>, Error> {
        let items = match dialogues {
            PromptPolicy::Allowed => self.client.read_asking(&self.codexs, within)?,
            PromptPolicy::Forbidden => self.client.read(&self.codexs, within)?,
        };
        let location = called(&self.codexs);
        let Some((_, document, _)) = preferred(&items) else { return Ok(None) };
        match document {
            Ok(document) => Ok(Some(StoredDocument { document, location, notes: Vec::new() })),
            Err(source) => Err(Error::Document { location, source }),
        }
    }

    /// Removes all items but the one in use, and those of other accounts.
    ///
    /// # Errors
    /// As [`Store::remove`].
    pub fn remove_duplicates(&self, commit: &CommitLocks<'_>) -> Result<usize, Error> {
        let items = self.client.read(&self.name, commit.remaining()?)?;
        let Some((kept, Ok(login), _)) = preferred(&items) else { return Ok(0) };
        // Codex reads none of several items, so what is not known to be another account's goes.
        let is_other = |item: &Item| {
            let document = AuthDocument::parse(&item.secret);
            document.is_ok_and(|document| document.identity().contradicts(&login.identity()))
        };
        let mut removed = 0;
        for item in items.iter().filter(|item| item.id != kept.id && !is_other(item)) {
            removed +=
                self.client.delete(&self.name, &ItemSelection::This(item.id.clone()), commit.remaining()?)?;
        }
        Ok(removed)
    }

    /// The key that rescues of the document with these records are sealed with, if there is one.
    ///
    /// # Errors
    /// [`Error::Keychain`].
    pub(super) fn sealing_key(
        &self,
        records: &RecordPaths,
        within: Duration,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let items = self.client.read(&sealing(records), within)?;
        Ok(items.into_iter().min_by(|one, other| one.id.cmp(&other.id)).map(|item| item.secret))
    }

    /// Stores the key that rescues are sealed with.
    ///
    /// # Errors
    /// [`Error::Keychain`].
    pub(super) fn set_sealing_key(&self, lease: &Lease, key: &[u8], within: Duration) -> Result<(), Error> {
        self.client.write(&sealing(&lease.records()), &Slot::Only, key, within)?;
        Ok(())
    }

    /// Removes the key that rescues are sealed with; there must be no rescue any more.
    ///
    /// # Errors
    /// [`Error::Keychain`].
    pub(super) fn remove_sealing_key(&self, lease: &Lease, within: Duration) -> Result<(), Error> {
        self.client.delete(&sealing(&lease.records()), &ItemSelection::All, within)?;
        Ok(())
    }

    /// What the item is called for people.
    #[must_use]
    pub fn location(&self) -> DocumentLocation {
        called(&self.name)
    }
}

impl Store for KeychainStore {
    fn kind(&self) -> StoreKind {
        StoreKind::Keychain
    }

    fn read(&self, within: Duration) -> Result<StoreContent, Error> {
        let items = self.client.read(&self.name, within)?;
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
        notes.extend(document.oddities().iter().cloned().map(StorageNote::from));
        Ok(StoreContent::Document(Box::new(StoredDocument { document, location: self.location(), notes })))
    }

    fn check_write(&self, within: Duration) -> Result<(), Error> {
        self.check(within)
    }

    fn check_remove(&self, within: Duration) -> Result<(), Error> {
        self.check(within)
    }

    fn write(&self, commit: &CommitLocks<'_>, document: &AuthDocument) -> Result<WriteReport, Error> {
        let items = self.client.read(&self.name, commit.remaining()?)?;
        let slot = preferred(&items).map_or(Slot::Only, |(item, ..)| Slot::This(item.id.clone()));
        self.client.write(&self.name, &slot, &document.to_compact(), commit.remaining()?)?;
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

fn sealing(records: &RecordPaths) -> ItemName {
    ItemName::new(OURS, format!("rescue|{}", records.hash()))
}

fn called(name: &ItemName) -> DocumentLocation {
    DocumentLocation::Keychain { service: name.service().to_owned(), account: name.account().to_owned() }
}

type KeychainRead = Result<AuthDocument, document::Error>;

/// The item to use, what is in it, and why it: one that can be read before one that cannot, then as two copies of a
/// login are told apart, then the one that was written last by the service's own account, so that what is written to an
/// item is what is read afterwards; then the first by a name that does not change.
fn preferred(items: &[Item]) -> Option<(&Item, KeychainRead, CopyPreference)> {
    let mut items: Vec<_> = items.iter().map(|item| (item, AuthDocument::parse(&item.secret))).collect();
    items.sort_by(|(one, _), (other, _)| other.modified.cmp(&one.modified).then(one.id.cmp(&other.id)));
    let mut items = items.into_iter();
    let (mut best, mut reading) = items.next()?;
    let mut why = CopyPreference::First;
    for (item, other) in items {
        let verdict = match (&reading, &other) {
            (Ok(ours), Ok(theirs)) => {
                preference::later(ours, theirs).map(|later| (later, CopyPreference::LaterToken))
            }
            (Err(_), Ok(_)) => Some((LaterCopy::Second, CopyPreference::Readable)),
            (Ok(_), Err(_)) => Some((LaterCopy::First, CopyPreference::Readable)),
            (Err(_), Err(_)) => None,
        };
        if let Some((later, preference)) = verdict {
            why = preference;
            if later == LaterCopy::Second {
                (best, reading) = (item, other);
            }
        }
    }
    Some((best, reading, why))
}
