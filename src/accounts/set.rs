//! The accounts of a home as they are listed, and which of them is active.

use std::path::{Path, PathBuf};

use codex_auth_platform::private_file::{self, Links};

use super::error::Error;
use super::file::{Account, AccountPlace, AccountsFile, Pin};
use super::name::AccountId;
use crate::config::{Environment, StoreKind};
use crate::document::{AuthDocument, AuthMode};
use crate::home::Home;
use crate::secret::Fingerprint;
use crate::store::{HomeState, StoredDocument, Stores};

/// The accounts of a home, as read once. Reading takes no lock.
#[derive(Clone, Debug)]
pub struct AccountSet {
    home: Home,
    pub(super) file: AccountsFile,
    link: ActiveLink,
}

/// What `auth.json` of a home is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ActiveLink {
    /// A link into the folder of this account.
    Account(AccountId),
    /// A link to something else.
    Elsewhere(PathBuf),
    /// A file, or nothing.
    None,
}

impl ActiveLink {
    /// Reads the link of `home`. Its target need not exist.
    ///
    /// # Errors
    /// [`Error::Store`]: it cannot be read.
    pub fn of(home: &Home) -> Result<Self, Error> {
        let Some(target) = private_file::read_link(&home.document())? else { return Ok(Self::None) };
        let inside = target.strip_prefix(home.path()).unwrap_or(&target);
        let names: Vec<_> = inside.iter().filter_map(|name| name.to_str()).collect();
        let id = match names.as_slice() {
            [folder, id, document]
                if *document == "auth.json" && home.path().join(folder) == home.accounts() =>
            {
                AccountId::parse(id)
            }
            _ => None,
        };
        Ok(id.map_or(Self::Elsewhere(target), Self::Account))
    }

    /// Returns the link to the document of `id`, relative to the home, so that the home can be moved.
    pub(super) fn target(home: &Home, id: &AccountId) -> PathBuf {
        let folder = home.accounts();
        let folder = folder.strip_prefix(home.path()).unwrap_or(&folder);
        folder.join(id.as_str()).join("auth.json")
    }
}

impl AccountSet {
    /// Reads the accounts of `home`. A home without accounts costs one failed `open`.
    ///
    /// # Errors
    /// - [`Error::File`], [`Error::LaterVersion`]: `accounts.toml` cannot be parsed.
    /// - [`Error::Store`]: it cannot be read.
    pub fn open(home: Home) -> Result<Self, Error> {
        match AccountsFile::read(&home)? {
            None => Ok(Self { home, file: AccountsFile::default(), link: ActiveLink::None }),
            Some(file) => Ok(Self { link: ActiveLink::of(&home)?, home, file }),
        }
    }

    /// As [`Self::open`]; where `home` is itself the folder of an account, reads the accounts of the home around it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn around(home: Home) -> Result<Self, Error> {
        match Self::outer(&home)? {
            Some((set, _)) => Ok(set),
            None => Self::open(home),
        }
    }

    /// Returns the accounts of the home around `home`, and which of them `home` is, if it is one.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn outer(home: &Home) -> Result<Option<(Self, Account)>, Error> {
        let id = home.path().file_name().and_then(|name| AccountId::parse(name.to_str()?));
        let outer = home.path().parent().and_then(Path::parent);
        let (Some(id), Some(outer)) = (id, outer) else { return Ok(None) };
        let Ok(outer) = Home::at(outer) else { return Ok(None) };
        if outer.accounts().join(id.as_str()) != home.path() {
            return Ok(None);
        }
        let set = Self::open(outer)?;
        let account = set.get(&id).cloned();
        Ok(account.map(|account| (set, account)))
    }

    /// Returns the home whose accounts these are.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Returns what `auth.json` of the home is.
    #[must_use]
    pub fn link(&self) -> &ActiveLink {
        &self.link
    }

    /// Returns the accounts in the order in which they were added.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.file.accounts.iter().filter(|account| self.is_whole(account))
    }

    /// Returns the pinned folders.
    #[must_use]
    pub fn pins(&self) -> &[Pin] {
        &self.file.pins
    }

    /// Returns whether the home has no accounts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts().next().is_none()
    }

    /// Returns the account with this id.
    #[must_use]
    pub fn get(&self, id: &AccountId) -> Option<&Account> {
        self.accounts().find(|account| account.id == *id)
    }

    /// Returns the account with this name, or with this id.
    ///
    /// # Errors
    /// [`Error::Unknown`]; [`Error::NoAccounts`]; [`Error::ListLost`].
    pub fn find(&self, name: &str) -> Result<&Account, Error> {
        let by_name = self.accounts().find(|account| account.name.as_str().eq_ignore_ascii_case(name));
        let by_id = || AccountId::parse(name).and_then(|id| self.get(&id));
        by_name.or_else(by_id).ok_or_else(|| match self.is_empty() {
            true if self.unlisted().is_ok_and(|unlisted| !unlisted.is_empty()) => {
                Error::ListLost { name: name.to_owned(), list: self.home.accounts_file() }
            }
            true => Error::NoAccounts { name: name.to_owned(), home: self.home.path().to_owned() },
            false => Error::Unknown {
                name: name.to_owned(),
                known: self.accounts().map(|account| account.name.clone()).collect(),
            },
        })
    }

    /// Returns the account that the home's own `auth.json`, or its keychain item, belongs to.
    #[must_use]
    pub fn active(&self) -> Option<&Account> {
        match &self.link {
            ActiveLink::Account(id) => self.get(id),
            ActiveLink::Elsewhere(_) => None,
            ActiveLink::None => self.accounts().find(|account| account.place == AccountPlace::Home),
        }
    }

    /// Returns the folders of accounts that the list does not name and that have a login or are active: the list was lost.
    ///
    /// # Errors
    /// [`Error::Store`]: the folders cannot be read.
    pub fn unlisted(&self) -> Result<Vec<AccountId>, Error> {
        let mut unlisted = Vec::new();
        let link = ActiveLink::of(&self.home)?;
        for name in private_file::names(&self.home.accounts())? {
            let Some(id) = name.to_str().and_then(AccountId::parse) else { continue };
            let is_active = link == ActiveLink::Account(id.clone());
            if self.file.account(&id).is_none() && (is_active || self.holds_login(&id)?) {
                unlisted.push(id);
            }
        }
        unlisted.sort();
        Ok(unlisted)
    }

    /// Whether the folder of an account has a login, which may be in the keychain.
    pub(super) fn holds_login(&self, id: &AccountId) -> Result<bool, Error> {
        let folder = self.folder_of(id);
        if private_file::stamp(&folder.join("auth.json"), Links::Refuse)?.is_some() {
            return Ok(true);
        }
        let (state, _) = HomeState::read_own(&Home::at(folder)?)?;
        Ok(state.store == Some(StoreKind::Keychain))
    }

    /// Returns whether `document`, which `account` holds, is not of the user of the login that this program stored there:
    /// another program has written through the link.
    #[must_use]
    pub fn is_replaced(&self, account: &Account, document: &AuthDocument) -> bool {
        let user = document.identity().user_id;
        match (account.user.as_deref(), user.as_deref()) {
            (None, _) => false,
            (Some(""), user) => user.is_some(),
            (Some(before), Some(now)) => before != now,
            // The id may be missing in a login of the same user.
            (Some(_), None) => document.mode() == Some(AuthMode::ApiKey),
        }
    }

    /// Returns the account that `auth.json` led to, if another program has removed or replaced the link since and
    /// [`super::AccountEditor::reconcile`] has something to do about it.
    ///
    /// # Errors
    /// [`Error::Store`]: the files cannot be examined.
    pub fn unlinked(&self) -> Result<Option<&Account>, Error> {
        let active = self.file.active.as_ref().and_then(|id| self.get(id));
        let Some(account) = active.filter(|account| account.place == AccountPlace::Folder) else {
            return Ok(None);
        };
        let is_there = |path: &Path| Ok::<_, Error>(private_file::stamp(path, Links::Refuse)?.is_some());
        let is_changed = self.link == ActiveLink::None
            && (is_there(&self.home.document())?
                || is_there(&self.folder_of(&account.id).join("auth.json"))?);
        Ok(is_changed.then_some(account))
    }

    /// Returns the home of an account.
    ///
    /// # Errors
    /// [`Error::Store`]: its folder cannot be used.
    pub fn home_of(&self, account: &Account) -> Result<Home, Error> {
        match account.place {
            AccountPlace::Home => Ok(self.home.clone()),
            AccountPlace::Folder => Ok(Home::at(self.folder_of(&account.id))?),
        }
    }

    /// Returns the account, or a description of the login, whose user is that of `document`. An old state of a stored
    /// login counts too.
    ///
    /// # Errors
    /// [`Error::Store`]: a login cannot be read, so that its user is not known.
    pub fn find_user(
        &self,
        document: &AuthDocument,
        environment: &Environment,
    ) -> Result<Option<String>, Error> {
        if let Some(account) = self.account_of_user(document, environment)? {
            return Ok(Some(account.name.to_string()));
        }
        if self.active().is_none() && has_user(&self.home, document, environment)? {
            return Ok(Some(format!("the login of {}", self.home.path().display())));
        }
        Ok(None)
    }

    /// Returns whether the refresh token of this fingerprint is one of a login that was logged out here.
    pub(super) fn has_ended(&self, fingerprint: Fingerprint) -> Result<bool, Error> {
        let mut homes = vec![self.home.clone()];
        for account in self.accounts() {
            homes.push(self.home_of(account)?);
        }
        for home in homes {
            let (state, _) = HomeState::read_own(&home)?;
            if state.spent.contains(&fingerprint) {
                return Ok(true);
            }
        }
        Ok(self.file.ended.contains(&fingerprint.to_string()))
    }

    /// Returns the homes that a login for `account` must not be in already: those of the other accounts, and the home
    /// itself if its login is no account.
    ///
    /// # Errors
    /// As [`Self::home_of`].
    pub fn other_homes(&self, account: &Account) -> Result<Vec<Home>, Error> {
        let others = self.accounts().filter(|other| other.id != account.id);
        let mut homes = others.map(|other| self.home_of(other)).collect::<Result<Vec<_>, _>>()?;
        if self.active().is_none() && !homes.contains(&self.home) {
            homes.push(self.home.clone());
        }
        Ok(homes)
    }

    /// Returns the account whose login is `document`, or an older or newer state of it.
    pub(super) fn account_of_login(
        &self,
        document: &AuthDocument,
        environment: &Environment,
    ) -> Result<Option<&Account>, Error> {
        for account in self.accounts() {
            let stored = Stores::open(self.home_of(account)?, environment)?.find()?.stored;
            if stored.is_some_and(|stored| stored.document.is_same_login_as(document)) {
                return Ok(Some(account));
            }
        }
        Ok(None)
    }

    /// Returns the account whose user is that of `document`, as [`Self::find_user`] does.
    pub(super) fn account_of_user(
        &self,
        document: &AuthDocument,
        environment: &Environment,
    ) -> Result<Option<&Account>, Error> {
        for account in self.accounts() {
            if has_user(&self.home_of(account)?, document, environment)? {
                return Ok(Some(account));
            }
        }
        Ok(None)
    }

    pub(super) fn folder_of(&self, id: &AccountId) -> PathBuf {
        self.home.accounts().join(id.as_str())
    }

    /// Whether the login of this entry is in the account's place. While it is moved, it is where `auth.json` leads.
    fn is_whole(&self, account: &Account) -> bool {
        account.moving.is_none() || self.link == ActiveLink::Account(account.id.clone())
    }
}

/// Returns whether the login of `home` is of the user of `document`, which may be an old state of it.
fn has_user(home: &Home, document: &AuthDocument, environment: &Environment) -> Result<bool, Error> {
    let stored = Stores::open(home.clone(), environment)?.find()?.stored;
    let (state, _) = HomeState::read(home)?;
    let spent = document.fingerprint().is_some_and(|fingerprint| state.spent.contains(&fingerprint));
    Ok(stored.is_some_and(|stored| spent || is_of_same_user(&stored, document)))
}

fn is_of_same_user(stored: &StoredDocument, document: &AuthDocument) -> bool {
    let (here, there) = (stored.document.identity(), document.identity());
    match (here.user_id.as_ref(), there.user_id.as_ref()) {
        (Some(here), Some(there)) => here == there,
        // Without the ids of both users, the same workspace may be the same user.
        _ => {
            stored.document.is_same_login_as(document)
                || here.account_id.is_some() && here.account_id == there.account_id
        }
    }
}
