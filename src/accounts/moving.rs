//! Moves the login of a home into the folder of an account, and back.
//!
//! While a login is moved, its entry in `accounts.toml` says so, and the login is where `auth.json` leads: the copy in the
//! other place is not used. One rename of `auth.json` moves it. What a killed process leaves is completed or undone by the
//! next [`AccountWriter`].

use std::ffi::OsStr;
use std::path::Path;

use codex_auth_platform::private_file::{self, FileMode, Links, MountPolicy};
use serde_json::{Map, Value};

use super::error::Error;
use super::file::{Account, AccountPlace, Moving, user_of};
use super::name::AccountName;
use super::set::ActiveLink;
use super::writer::AccountWriter;
use crate::config::{Environment, StoreKind};
use crate::document::AuthDocument;
use crate::failpoint;
use crate::home::Home;
use crate::store::{
    self, CommitLocks, DocumentTarget, FileStore, HomeState, Store as _, Stores, WriteIntent,
};

const MAX_DOCUMENT_BYTES: u64 = 1024 * 1024;
const MAX_STATE_BYTES: u64 = 256 * 1024;
/// The name of the new `auth.json` until it replaces the link. Leftover temporary files of this form are removed by every
/// writer of `auth.json`.
const TEMPORARY: &str = ".auth.json.0000000000000000.tmp";

impl AccountWriter<'_> {
    /// Makes the present login of the home an account, which is then the active one. A file moves into the account's
    /// folder and `auth.json` becomes a link to it. An item in the keychain stays, because its name is that of the home.
    /// Call [`crate::manager::finish_rescue`] first.
    ///
    /// # Errors
    /// - [`Error::NoneActive`]: there is no login.
    /// - [`Error::LinkedElsewhere`]: `auth.json` is a link of the user's.
    /// - [`Error::NameTaken`].
    /// - [`Error::Store`]: a file cannot be written; the login is where it was.
    pub fn adopt(&mut self, name: &AccountName, environment: &Environment) -> Result<Account, Error> {
        self.check_name(name, None)?;
        let home = self.lease.home().clone();
        match ActiveLink::of(&home)? {
            ActiveLink::None => {}
            ActiveLink::Elsewhere(target) => {
                return Err(Error::LinkedElsewhere { link: home.document(), target });
            }
            ActiveLink::Account(_) => return Err(Error::Changed { path: home.document() }),
        }
        let stored = Stores::open(home, environment)?.find()?.stored.ok_or(Error::NoneActive)?;
        let place = match stored.location.kind() {
            StoreKind::File => AccountPlace::Folder,
            StoreKind::Keychain => AccountPlace::Home,
        };
        let mut account = self.new_account(name.clone(), place)?;
        account.user = user_of(&stored.document);
        if place == AccountPlace::Home {
            self.set.file.accounts.push(account.clone());
            self.write()?;
            return Ok(account);
        }
        account.moving = Some(Moving::In);
        self.set.file.accounts.push(account.clone());
        self.write()?;
        failpoint::at("move announced");
        if let Err(error) = self.move_in(&account) {
            // If this fails too, the next writer undoes the move.
            let _ = self.complete_moves();
            return Err(error);
        }
        failpoint::at("link placed");
        self.complete_moves()?;
        Ok(Account { moving: None, ..account })
    }

    /// Moves the login of the active account back into the home: `auth.json` is a file again, and the account is no more.
    /// Call [`crate::manager::finish_rescue`] first.
    ///
    /// # Errors
    /// - [`Error::NoneActive`].
    /// - [`Error::LoggedOut`]: there is no login to move.
    /// - [`Error::Store`]: a file cannot be written; the login is where it was.
    pub fn unlink(&mut self) -> Result<Account, Error> {
        let account = self.set.active().cloned().ok_or(Error::NoneActive)?;
        if account.place == AccountPlace::Home {
            self.forget(&account.id)?;
            return Ok(account);
        }
        self.entry(&account.id)?.moving = Some(Moving::Out);
        self.write()?;
        failpoint::at("move announced");
        if let Err(error) = self.move_out(&account) {
            let _ = self.complete_moves();
            return Err(error);
        }
        failpoint::at("link replaced");
        self.complete_moves()?;
        Ok(account)
    }

    /// Moves the login in the file of the home into the folder of an account of the same user, where it replaces the older
    /// login, and makes that account the active one: another program has replaced the link by a new login. Requires the
    /// lease of [`super::AccountSet::lease_for`].
    ///
    /// # Errors
    /// - [`Error::Changed`]: another program changed the file meanwhile.
    /// - [`Error::Store`]: a file cannot be written; the login is where it was.
    pub fn absorb(&mut self, account: &Account) -> Result<(), Error> {
        let home = self.lease.home().clone();
        let there = self.set.home_of(account)?;
        let target = DocumentTarget::of(&there)?;
        if !self.lease.covers(target.folder()) || ActiveLink::of(&home)? != ActiveLink::None {
            return Err(Error::Changed { path: home.document() });
        }
        let (state, _) = HomeState::read(&there)?;
        let commit = CommitLocks::acquire_with_other(self.lease, &target)?;
        let path = home.document();
        let bytes = read_login(&path)?.bytes;
        let token = AuthDocument::parse(&bytes).ok().and_then(|document| document.fingerprint());
        // A login that this account has refreshed since a killed process copied it is not put back.
        if !token.is_some_and(|token| state.spent.contains(&token)) {
            write(&there.document(), &bytes)?;
        }
        failpoint::at("document copied");
        commit.remaining()?;
        private_file::replace_with_link(&path, &ActiveLink::target(&home, &account.id))?;
        drop(commit);
        self.set.file.active = Some(account.id.clone());
        if let Ok(document) = AuthDocument::parse(&bytes) {
            self.entry(&account.id)?.user = user_of(&document);
        }
        self.write()
    }

    fn move_in(&self, account: &Account) -> Result<(), Error> {
        let home = self.lease.home();
        let there = self.create_folder(&account.id)?;
        copy_state(home, &there)?;
        let commit = CommitLocks::acquire(self.lease, WriteIntent::Save)?;
        let path = home.document();
        let bytes = read_login(&path)?.bytes;
        write(&there.document(), &bytes)?;
        failpoint::at("document copied");
        // A mount point cannot be replaced by a link; `replace_with_link` says so.
        commit.remaining()?;
        private_file::replace_with_link(&path, &ActiveLink::target(home, &account.id))?;
        Ok(())
    }

    fn move_out(&self, account: &Account) -> Result<(), Error> {
        let home = self.lease.home();
        let there = self.set.home_of(account)?;
        copy_state(&there, home)?;
        let commit = CommitLocks::acquire(self.lease, WriteIntent::Save)?;
        let bytes = private_file::read(&there.document(), MAX_DOCUMENT_BYTES, Links::Refuse)?;
        let bytes = bytes.ok_or_else(|| Error::LoggedOut { name: account.name.clone() })?.bytes;
        if ActiveLink::of(home)? != ActiveLink::Account(account.id.clone()) {
            return Err(Error::Changed { path: home.document() });
        }
        let temporary = home.path().join(TEMPORARY);
        write(&temporary, &bytes)?;
        failpoint::at("document copied");
        commit.remaining()?;
        private_file::rename(&temporary, OsStr::new("auth.json"))?;
        Ok(())
    }

    /// Completes or undoes the moves that a process began. The account keeps its login if `auth.json` leads there, or does
    /// not hold that login; otherwise the home has it.
    pub(super) fn complete_moves(&mut self) -> Result<(), Error> {
        let moving: Vec<_> =
            self.set.file.accounts.iter().filter(|account| account.moving.is_some()).cloned().collect();
        for account in moving {
            let is_linked = ActiveLink::of(self.lease.home())? == ActiveLink::Account(account.id.clone());
            if is_linked || !self.is_in_home(&account)? {
                self.entry(&account.id)?.moving = None;
                if is_linked {
                    self.set.file.active = Some(account.id);
                }
                self.write()?;
                failpoint::at("move recorded");
            } else {
                // Only a copy of the home's login is in the folder. The entry stays until the copy is gone, and the folder,
                // which may be leased, until the entry is.
                let folder = self.set.folder_of(&account.id);
                private_file::remove(&folder.join("auth.json"), Links::Refuse)?;
                failpoint::at("copy removed");
                self.forget(&account.id)?;
                private_file::remove_tree(&folder)?;
            }
        }
        Ok(())
    }

    /// Returns whether the login of `account` is in the file of the home, or is nowhere.
    fn is_in_home(&self, account: &Account) -> Result<bool, Error> {
        let load = |home: Home| FileStore::new(home, None).load(std::time::Duration::ZERO);
        let Some(there) = load_if_present(self.set.folder_of(&account.id).as_path(), load)? else {
            return Ok(true);
        };
        let here = load(self.lease.home().clone())?;
        Ok(here.is_some_and(|here| here.document.is_same_login_as(&there.document)))
    }
}

fn load_if_present(
    folder: &Path,
    load: impl Fn(Home) -> Result<Option<store::StoredDocument>, store::Error>,
) -> Result<Option<store::StoredDocument>, Error> {
    let home = Home::at(folder)?;
    if home.is_found() { Ok(load(home)?) } else { Ok(None) }
}

/// Copies the state of a login. What a login set in `config.toml` stays recorded where it was.
fn copy_state(from: &Home, to: &Home) -> Result<(), Error> {
    private_file::create_directory(&to.folder())?;
    let contents = private_file::read(&from.own_records().state(), MAX_STATE_BYTES, Links::Refuse)?;
    let mut state: Map<String, Value> =
        contents.and_then(|contents| serde_json::from_slice(&contents.bytes).ok()).unwrap_or_default();
    state.remove("setting");
    // Encoding a map of JSON cannot fail.
    let bytes = serde_json::to_vec_pretty(&state).unwrap_or_default();
    write(&to.own_records().state(), &bytes)
}

/// Reads the login in the file of a home, which was there before the commit locks were taken.
fn read_login(path: &Path) -> Result<private_file::Contents, Error> {
    let contents = private_file::read(path, MAX_DOCUMENT_BYTES, Links::Refuse)?;
    contents.ok_or_else(|| Error::Changed { path: path.to_owned() })
}

/// Replaces a private file, which is no link.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    private_file::replace(path, bytes, Links::Refuse, MountPolicy::Refuse, FileMode::Private)?;
    Ok(())
}
