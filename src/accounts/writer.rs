//! The writer of accounts: the only way to change the names, the pins and the link of a home.

use std::path::{Path, PathBuf};

use codex_auth_platform::private_file::{self, Removal};

use super::error::Error;
use super::file::{Account, AccountPlace, AccountsFile, Pin, user_of};
use super::import::suggested_name;
use super::name::{AccountId, AccountName};
use super::set::{AccountSet, ActiveLink};
use crate::config::Environment;
use crate::document::AuthDocument;
use crate::failpoint;
use crate::home::Home;
use crate::store::{self, FileStore, HomeState, Lease, Store as _, Stores};

/// Changes the accounts of a home under its lease.
#[derive(Debug)]
pub struct AccountWriter<'lease> {
    pub(super) lease: &'lease Lease,
    pub(super) set: AccountSet,
}

impl<'lease> AccountWriter<'lease> {
    /// Reads the accounts of the leased home again, and completes or undoes what a killed process began: the move of a
    /// login into or out of the folder of an account, or a removal.
    ///
    /// # Errors
    /// As [`AccountSet::open`]; [`Error::Store`].
    pub fn new(lease: &'lease Lease) -> Result<Self, Error> {
        let mut writer = Self { lease, set: AccountSet::open(lease.home().clone())? };
        writer.complete_moves()?;
        writer.remove_leftovers()?;
        Ok(writer)
    }

    /// Returns the accounts as they were read or last written.
    #[must_use]
    pub fn set(&self) -> &AccountSet {
        &self.set
    }

    /// Adds an account without a login, with a new folder. Its `config.toml` is a link to that of the home.
    ///
    /// # Errors
    /// - [`Error::NameTaken`].
    /// - [`Error::Store`]: the folder or `accounts.toml` cannot be written.
    pub fn create(&mut self, name: &AccountName) -> Result<Account, Error> {
        self.check_name(name, None)?;
        let account = self.new_account(name.clone(), AccountPlace::Folder)?;
        self.create_folder(&account.id)?;
        failpoint::at("account folder created");
        self.set.file.accounts.push(account.clone());
        self.write()?;
        Ok(account)
    }

    /// Lists the accounts again whose folders have a login and that the list does not name, each with a name like that of
    /// its user.
    ///
    /// # Errors
    /// [`Error::Store`]: a login cannot be read, or `accounts.toml` cannot be written; nothing was changed.
    pub fn recover(&mut self, environment: &Environment) -> Result<Vec<Account>, Error> {
        let link = ActiveLink::of(self.lease.home())?;
        let mut recovered = Vec::new();
        for id in self.set.unlisted()? {
            let home = Home::at(self.set.folder_of(&id))?;
            let stored = Stores::open(home, environment)?.find()?.stored;
            let name = match &stored {
                Some(stored) => suggested_name(&stored.document)?,
                None => AccountName::parse("account")?,
            };
            let name = self.free_name(&name);
            if link == ActiveLink::Account(id.clone()) {
                self.set.file.active = Some(id.clone());
            }
            let user = stored.as_ref().and_then(|stored| user_of(&stored.document));
            let account = Account { id, name, place: AccountPlace::Folder, user, moving: None };
            self.set.file.accounts.push(account.clone());
            recovered.push(account);
        }
        if !recovered.is_empty() {
            self.write()?;
        }
        Ok(recovered)
    }

    /// Changes the name of an account, and nothing else.
    ///
    /// # Errors
    /// [`Error::Unknown`]; [`Error::NameTaken`]; [`Error::Store`].
    pub fn rename(&mut self, id: &AccountId, name: &AccountName) -> Result<(), Error> {
        self.check_name(name, Some(id))?;
        self.entry(id)?.name = name.clone();
        self.write()
    }

    /// Removes an account that is logged out, with its pins and its folder. If it is active, no account is active
    /// afterwards.
    ///
    /// # Errors
    /// - [`Error::Unknown`].
    /// - [`Error::StillLoggedIn`]: nothing was changed.
    /// - [`Error::Store`].
    pub fn remove(&mut self, id: &AccountId, environment: &Environment) -> Result<(), Error> {
        let account = self.entry(id)?.clone();
        let home = self.set.home_of(&account)?;
        if Stores::open(home, environment)?.find()?.stored.is_some() {
            return Err(Error::StillLoggedIn { name: account.name });
        }
        if *self.set.link() == ActiveLink::Account(id.clone()) {
            private_file::remove_link(&self.lease.home().document())?;
            failpoint::at("account link removed");
        }
        let (state, _) = HomeState::read_own(&self.set.home_of(&account)?)?;
        self.set.file.end(state.spent);
        self.forget(id)?;
        failpoint::at("account forgotten");
        if account.place == AccountPlace::Folder {
            private_file::remove_tree(&self.set.folder_of(id))?;
        }
        Ok(())
    }

    /// Uses the account for the folder at `path` and everything in it. Returns the canonical path.
    ///
    /// # Errors
    /// - [`Error::Unknown`].
    /// - [`Error::Pin`]: the folder does not exist, or its path is not UTF-8.
    /// - [`Error::Store`].
    pub fn pin(&mut self, id: &AccountId, path: &Path) -> Result<Pin, Error> {
        self.entry(id)?;
        let failed = |problem: String| Error::Pin { path: path.to_owned(), problem };
        let folder = private_file::canonical(path).map_err(|error| failed(error.to_string()))?;
        if private_file::directory_state(&folder)? == private_file::DirectoryState::NotADirectory {
            return Err(failed("it is not a folder".to_owned()));
        }
        if folder.to_str().is_none() {
            return Err(failed("its path is not UTF-8".to_owned()));
        }
        let pin = Pin { folder, account: id.clone() };
        let pins = &mut self.set.file.pins;
        match pins.iter_mut().find(|known| known.folder == pin.folder) {
            Some(known) => known.clone_from(&pin),
            None => pins.push(pin.clone()),
        }
        self.write()?;
        Ok(pin)
    }

    /// Removes the pin of the folder at `path`, which need not exist any more. Returns whether there was one.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn unpin(&mut self, path: &Path) -> Result<Removal, Error> {
        let folder = private_file::canonical(path).unwrap_or_else(|_| absolute(path));
        let pins = &mut self.set.file.pins;
        let before = pins.len();
        pins.retain(|pin| pin.folder != folder);
        if pins.len() == before {
            return Ok(Removal::Absent);
        }
        self.write()?;
        Ok(Removal::Removed)
    }

    /// Returns a name that no account has: `wanted`, or that with a number after it.
    #[must_use]
    pub fn free_name(&self, wanted: &AccountName) -> AccountName {
        let is_free = |name: &AccountName| self.check_name(name, None).is_ok();
        let numbered = (2..).map(|number| wanted.numbered(number));
        std::iter::once(wanted.clone()).chain(numbered).find(is_free).unwrap_or_else(|| wanted.clone())
    }

    /// Checks that no other account than `own` is called `name`.
    ///
    /// # Errors
    /// [`Error::NameTaken`].
    pub fn check_name(&self, name: &AccountName, own: Option<&AccountId>) -> Result<(), Error> {
        let taken = self.set.file.accounts.iter().find(|account| account.name == *name);
        match taken.filter(|account| Some(&account.id) != own) {
            Some(account) => Err(Error::NameTaken { name: account.name.clone() }),
            None => Ok(()),
        }
    }

    pub(super) fn new_account(&self, name: AccountName, place: AccountPlace) -> Result<Account, Error> {
        let id = AccountId::random().map_err(Error::Random)?;
        Ok(Account { id, name, place, user: None, moving: None })
    }

    /// Creates the folder of an account, which shares `config.toml` with the home.
    pub(super) fn create_folder(&self, id: &AccountId) -> Result<Home, Error> {
        self.lease.check_folders()?;
        let home = Home::at(self.create_path(id)?)?;
        private_file::replace_with_link(&home.config(), Path::new("../../config.toml"))?;
        Ok(home)
    }

    fn create_path(&self, id: &AccountId) -> Result<std::path::PathBuf, Error> {
        let folder = self.set.folder_of(id);
        private_file::create_directory(&folder)?;
        Ok(folder)
    }

    /// Remembers the user of the login that an account holds.
    pub(super) fn remember_user(&mut self, id: &AccountId, document: &AuthDocument) -> Result<(), Error> {
        let user = user_of(document);
        let entry = self.entry(id)?;
        if entry.user != user {
            entry.user = user;
            self.write()?;
        }
        Ok(())
    }

    pub(super) fn entry(&mut self, id: &AccountId) -> Result<&mut Account, Error> {
        let known: Vec<_> = self.set.accounts().map(|account| account.name.clone()).collect();
        let found = self.set.file.accounts.iter_mut().find(|account| account.id == *id);
        found.ok_or_else(|| Error::Unknown { name: id.to_string(), known })
    }

    /// Removes the entry and the pins of an account.
    pub(super) fn forget(&mut self, id: &AccountId) -> Result<(), Error> {
        self.set.file.accounts.retain(|account| account.id != *id);
        self.set.file.pins.retain(|pin| pin.account != *id);
        if self.set.file.active.as_ref() == Some(id) {
            self.set.file.active = None;
        }
        self.write()
    }

    /// Writes `accounts.toml`, and reads what was written and the link again.
    pub(super) fn write(&mut self) -> Result<(), Error> {
        self.set.file.write(self.lease)?;
        self.set = AccountSet::open(self.lease.home().clone())?;
        Ok(())
    }

    /// Removes the folders of removed accounts. A folder with a login stays, whatever it is; without a list it is not known
    /// which were removed.
    fn remove_leftovers(&self) -> Result<(), Error> {
        if AccountsFile::read(self.lease.home())?.is_none() {
            return Ok(());
        }
        let accounts = self.lease.home().accounts();
        for name in private_file::names(&accounts)? {
            let Some(id) = name.to_str().and_then(AccountId::parse) else { continue };
            let is_used =
                self.set.file.account(&id).is_some() || *self.set.link() == ActiveLink::Account(id.clone());
            if !is_used && !self.set.holds_login(&id)? {
                private_file::remove_tree(&accounts.join(id.as_str()))?;
            }
        }
        Ok(())
    }
}

/// Returns the path of a folder that is gone; that of the folder around it is canonical.
fn absolute(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match (path.parent().map(private_file::canonical), path.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => path,
    }
}

/// Returns whether a document is stored in the file of `home`.
pub(super) fn has_document(home: &Home, stores: &Stores) -> Result<bool, store::Error> {
    Ok(FileStore::new(home.clone(), None).load(stores.timeout())?.is_some())
}
