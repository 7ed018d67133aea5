//! The file `accounts.toml`: the names of the accounts, the pinned folders, and no secret.

use std::io;
use std::path::{Path, PathBuf};

use codex_auth_platform::private_file::{self, FileMode, Links, MountPolicy};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

use super::error::Error;
use super::name::{AccountId, AccountName};
use crate::document::AuthDocument;
use crate::home::Home;
use crate::secret::Fingerprint;
use crate::store::Lease;

/// The format that this version writes and reads.
const VERSION: i64 = 1;
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// An account as the file lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Account {
    /// The id, which is the name of the account's folder.
    pub id: AccountId,
    /// The name.
    pub name: AccountName,
    /// Where its login is.
    pub place: AccountPlace,
    /// The user of its last login, also after a logout; empty if that login names none. `None` if it is not known.
    pub(super) user: Option<String>,
    /// Set while the login is moved between `auth.json` of the home and the folder of the account.
    pub(super) moving: Option<Moving>,
}

/// The folder of an account's login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccountPlace {
    /// A folder of its own, `accounts/ID`.
    Folder,
    /// The home itself: the login was in the keychain when the first account was added, and its item belongs to the path
    /// of the home.
    Home,
}

/// The direction in which a login is moved. Until the move is complete, the login is where `auth.json` leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moving {
    /// From the home into the folder of the account.
    In,
    /// From the folder of the account into the home.
    Out,
}

impl Moving {
    fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// A folder for which an account is used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pin {
    /// The canonical path of the folder.
    pub folder: PathBuf,
    /// The account.
    pub account: AccountId,
}

/// The content of `accounts.toml`. Keys that this version does not know are kept.
#[derive(Clone, Debug, Default)]
pub(super) struct AccountsFile {
    text: DocumentMut,
    pub(super) accounts: Vec<Account>,
    pub(super) pins: Vec<Pin>,
    /// The account that `auth.json` last led to, according to this program.
    pub(super) active: Option<AccountId>,
    /// The fingerprints of the refresh tokens of removed accounts, the latest last.
    pub(super) ended: Vec<String>,
}

/// The most fingerprints of removed accounts that are remembered.
const MAX_ENDED: usize = 64;

impl AccountsFile {
    /// Reads the file of `home`; `None` if there is none.
    pub(super) fn read(home: &Home) -> Result<Option<Self>, Error> {
        let path = path(home);
        let contents = match private_file::read(&path, MAX_BYTES, Links::Refuse) {
            Ok(Some(contents)) => contents,
            Ok(None) => return Ok(None),
            // A file in place of the folder is named by what needs the folder.
            Err(private_file::Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotADirectory => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let text = std::str::from_utf8(&contents.bytes).map_err(|error| error.to_string());
        let parsed = text
            .and_then(|text| text.parse().map_err(|error: toml_edit::TomlError| error.message().to_owned()));
        let text: DocumentMut = parsed.map_err(|problem| Error::File { path: path.clone(), problem })?;
        match text.get("version").and_then(Item::as_integer) {
            Some(version) if version > VERSION => return Err(Error::LaterVersion { path, version }),
            _ => {}
        }
        let accounts = tables(&text, "account").map(read_account).collect::<Option<Vec<_>>>();
        let accounts = accounts.ok_or_else(|| Error::File {
            path: path.clone(),
            problem: "an account has no valid id and name".to_owned(),
        })?;
        let pin = |table: &Table| {
            Some(Pin { folder: PathBuf::from(string(table, "folder")?), account: id(table, "account")? })
        };
        let pins = tables(&text, "pin").filter_map(pin).collect();
        let active = text.get("active").and_then(Item::as_str).and_then(AccountId::parse);
        let ended = text.get("ended").and_then(Item::as_array).into_iter().flatten();
        let ended = ended.filter_map(|name| name.as_str().map(str::to_owned)).collect();
        Ok(Some(Self { accounts, pins, active, ended, text }))
    }

    pub(super) fn account(&self, id: &AccountId) -> Option<&Account> {
        self.accounts.iter().find(|account| account.id == *id)
    }

    /// Remembers the fingerprints of the refresh tokens of an account that is removed.
    pub(super) fn end(&mut self, fingerprints: impl IntoIterator<Item = Fingerprint>) {
        self.ended.extend(fingerprints.into_iter().map(|fingerprint| fingerprint.to_string()));
        self.ended.drain(..self.ended.len().saturating_sub(MAX_ENDED));
    }

    /// Replaces the file with these accounts, pins and active account. Requires the lease of `home`.
    pub(super) fn write(&mut self, lease: &Lease) -> Result<(), Error> {
        lease.check_folders()?;
        if self.text.get("version").is_none() {
            self.text["version"] = value(VERSION);
        }
        match &self.active {
            Some(id) => self.text["active"] = value(id.as_str()),
            None => drop(self.text.remove("active")),
        }
        match self.ended.is_empty() {
            true => drop(self.text.remove("ended")),
            false => self.text["ended"] = value(self.ended.iter().collect::<Array>()),
        }
        let (accounts, pins) = (self.accounts.clone(), self.pins.clone());
        self.update(
            "account",
            &accounts,
            |table, account| id(table, "id").as_ref() == Some(&account.id),
            |table, account| {
                set(table, "id", Some(account.id.as_str()));
                set(table, "name", Some(account.name.as_str()));
                set(table, "place", (account.place == AccountPlace::Home).then_some("home"));
                set(table, "user", account.user.as_deref());
                set(table, "moving", account.moving.map(Moving::as_str));
            },
        );
        self.update("pin", &pins, is_pin, |table, pin| {
            set(table, "folder", pin.folder.to_str());
            set(table, "account", Some(pin.account.as_str()));
        });
        if self.text.iter().all(|(key, _)| key == "version") {
            private_file::remove(&path(lease.home()), Links::Refuse)?;
            return Ok(());
        }
        let bytes = self.text.to_string();
        private_file::replace(
            &path(lease.home()),
            bytes.as_bytes(),
            Links::Refuse,
            MountPolicy::Refuse,
            FileMode::Private,
        )?;
        Ok(())
    }

    /// Makes the tables `name` those of `wanted`: updates the table of each, keeping its other keys, adds missing ones,
    /// and removes those of none.
    fn update<T>(
        &mut self,
        name: &str,
        wanted: &[T],
        is_of: impl Fn(&Table, &T) -> bool,
        write: impl Fn(&mut Table, &T),
    ) {
        let old: Vec<Table> = tables(&self.text, name).cloned().collect();
        let mut tables = ArrayOfTables::new();
        for one in wanted {
            let mut table = old.iter().find(|table| is_of(table, one)).cloned().unwrap_or_default();
            write(&mut table, one);
            tables.push(table);
        }
        match tables.is_empty() {
            true => drop(self.text.remove(name)),
            false => self.text[name] = Item::ArrayOfTables(tables),
        }
    }
}

/// Returns the user of a login as [`Account::user`] has it.
pub(super) fn user_of(document: &AuthDocument) -> Option<String> {
    Some(document.identity().user_id.unwrap_or_default())
}

/// Returns the path of the file.
fn path(home: &Home) -> PathBuf {
    home.accounts_file()
}

fn read_account(table: &Table) -> Option<Account> {
    let name = AccountName::parse(string(table, "name")?).ok()?;
    let place = match string(table, "place") {
        Some("home") => AccountPlace::Home,
        _ => AccountPlace::Folder,
    };
    let moving = match string(table, "moving") {
        Some("in") => Some(Moving::In),
        Some("out") => Some(Moving::Out),
        _ => None,
    };
    let user = string(table, "user").map(str::to_owned);
    Some(Account { id: id(table, "id")?, name, place, user, moving })
}

fn tables<'a>(text: &'a DocumentMut, name: &str) -> impl Iterator<Item = &'a Table> {
    text.get(name).and_then(Item::as_array_of_tables).into_iter().flat_map(ArrayOfTables::iter)
}

fn is_pin(table: &Table, pin: &Pin) -> bool {
    string(table, "folder").map(Path::new) == Some(&pin.folder)
}

fn string<'a>(table: &'a Table, key: &str) -> Option<&'a str> {
    table.get(key).and_then(Item::as_str)
}

fn id(table: &Table, key: &str) -> Option<AccountId> {
    string(table, key).and_then(AccountId::parse)
}

fn set(table: &mut Table, key: &str, text: Option<&str>) {
    match text {
        Some(text) if string(table, key) == Some(text) => {}
        Some(text) => table[key] = value(text),
        None => drop(table.remove(key)),
    }
}
