//! Changes of the accounts of a home, each in one transaction under the lease.

use std::path::Path;
use std::time::Duration;

use codex_auth_platform::private_file::{self, Removal};

use super::activate::{Activation, ForeignLink};
use super::error::Error;
use super::file::{Account, Pin};
use super::import::AccountImport;
use super::name::{AccountId, AccountName};
use super::set::{AccountSet, ActiveLink};
use super::writer::AccountWriter;
use crate::config::Environment;
use crate::home::Home;
use crate::manager;
use crate::store::{DocumentTarget, Lease, LockDeadline, Store as _, Stores, Waiting};

/// The name of the account that the present login becomes.
const FIRST_NAME: &str = "default";

/// Changes the accounts of a home. Every method takes the lease of the home, waits for it within one limit in total, and
/// calls the observer while another process holds it.
pub struct AccountEditor<'a> {
    pub(super) home: Home,
    pub(super) environment: &'a Environment,
    deadline: LockDeadline,
    on_wait: &'a dyn Fn(&Waiting<'_>),
}

/// An account that was found or created for a login.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReservedAccount {
    /// The account, which has no login.
    pub account: Account,
    /// Whether it was created now.
    pub is_new: bool,
}

/// What became of the login that was in the home before another account got one.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Settlement {
    /// The account that the login became.
    pub adopted: Option<Account>,
    /// The account that is active now.
    pub active: Option<Account>,
}

impl<'a> AccountEditor<'a> {
    /// Returns an editor of the accounts in `set`.
    #[must_use]
    pub fn new(
        set: &AccountSet,
        environment: &'a Environment,
        deadline: &LockDeadline,
        on_wait: &'a dyn Fn(&Waiting<'_>),
    ) -> Self {
        Self { home: set.home().clone(), environment, deadline: deadline.clone(), on_wait }
    }

    /// Returns an account without a login for a new one: that with this name, if it is logged out, or a new one.
    ///
    /// # Errors
    /// - [`Error::NameTaken`]: an account of this name is logged in.
    /// - [`Error::Store`].
    pub fn reserve(&self, name: &AccountName) -> Result<ReservedAccount, Error> {
        let lease = self.lease(&self.home)?;
        self.reserve_under(&mut AccountWriter::new(&lease)?, name)
    }

    /// Removes an account that [`Self::reserve`] has created and that got no login.
    ///
    /// # Errors
    /// As [`AccountWriter::remove`].
    pub fn withdraw(&self, account: &Account) -> Result<(), Error> {
        let lease = self.lease(&self.home)?;
        AccountWriter::new(&lease)?.remove(&account.id, self.environment)
    }

    /// Stores an import as an account: one called `name`, or by default one with a free name like the suggested one.
    /// Nothing is sent.
    ///
    /// # Errors
    /// - [`Error::NameTaken`]; [`Error::UserIsHere`].
    /// - [`Error::Store`].
    pub fn import(&self, import: &AccountImport, name: Option<&AccountName>) -> Result<Account, Error> {
        // Held until the login is stored, so that no other process imports or adds the same one meanwhile.
        let lease = self.lease(&self.home)?;
        let mut writer = AccountWriter::new(&lease)?;
        import.check(writer.set(), self.environment)?;
        let ReservedAccount { account, is_new } = match name {
            Some(name) => self.reserve_under(&mut writer, name)?,
            None => {
                let name = writer.free_name(&import.suggested_name()?);
                ReservedAccount { account: writer.create(&name)?, is_new: true }
            }
        };
        let home = writer.set().home_of(&account)?;
        let stored = self.lease(&home).and_then(|own| {
            let stores = Stores::open(home, self.environment)?;
            import.store(&stores, &own)
        });
        if stored.is_err() && is_new {
            // If this fails too, the account is listed as logged out.
            let _ = writer.remove(&account.id, self.environment);
        }
        stored?;
        writer.remember_user(&account.id, &import.document)?;
        Ok(account)
    }

    /// Makes a login of the home that is no account one, after `account` has got a login. If there is none, and no account is
    /// active, `account` becomes the active one. A link of the user's is left alone, and a login in the keychain is not
    /// switched.
    ///
    /// # Errors
    /// As [`AccountWriter::adopt`] and [`AccountWriter::activate`].
    pub fn settle(&self, account: &Account) -> Result<Settlement, Error> {
        self.remember_user(account)?;
        let adopted = self.adopt()?;
        let set = AccountSet::open(self.home.clone())?;
        if set.active().is_some() || *set.link() != ActiveLink::None {
            return Ok(Settlement { adopted, active: set.active().cloned() });
        }
        match self.activate(account, ForeignLink::Keep) {
            Ok(_) => Ok(Settlement { adopted, active: Some(account.clone()) }),
            Err(Error::InKeychain) => Ok(Settlement { adopted, active: None }),
            Err(error) => Err(error),
        }
    }

    /// Makes a login of the home that is no account one, if there is such a login: the account of the same login if there is
    /// one, for example after Codex has replaced the link by a new login, else a new one.
    ///
    /// # Errors
    /// As [`AccountWriter::adopt`] and [`AccountWriter::absorb`].
    pub fn adopt(&self) -> Result<Option<Account>, Error> {
        if let Some(account) = self.merge()? {
            return Ok(Some(account));
        }
        if ActiveLink::of(&self.home)? != ActiveLink::None {
            return Ok(None);
        }
        self.adopt_as(&AccountName::parse(FIRST_NAME)?)
    }

    /// Moves a login in the file of the home that is no account into the account of the same login, if there is one.
    ///
    /// # Errors
    /// As [`AccountWriter::absorb`].
    pub fn merge(&self) -> Result<Option<Account>, Error> {
        let set = AccountSet::open(self.home.clone())?;
        if set.active().is_some() || set.is_empty() || ActiveLink::of(&self.home)? != ActiveLink::None {
            return Ok(None);
        }
        let stored = Stores::open(self.home.clone(), self.environment)?.file().load(Duration::ZERO)?;
        let Some(stored) = stored else { return Ok(None) };
        let Some(account) = set.account_of_login(&stored.document, self.environment)? else {
            return Ok(None);
        };
        self.absorb(&set, account)?;
        Ok(Some(account.clone()))
    }

    /// Moves the login in the file of the home into the folder of `account`, and makes that the active one.
    pub(super) fn absorb(&self, set: &AccountSet, account: &Account) -> Result<(), Error> {
        let lease = set.lease_for(account, &self.deadline, |waiting| (self.on_wait)(waiting))?;
        self.finish_rescue(&lease)?;
        AccountWriter::new(&lease)?.absorb(account)
    }

    /// Makes a login of the home that is no account a new one, called `name` or that with a number.
    pub(super) fn adopt_as(&self, name: &AccountName) -> Result<Option<Account>, Error> {
        let lease = self.lease(&self.home)?;
        let mut writer = AccountWriter::new(&lease)?;
        let has_account = writer.set().active().is_some() || ActiveLink::of(&self.home)? != ActiveLink::None;
        if has_account || Stores::open(self.home.clone(), self.environment)?.find()?.stored.is_none() {
            return Ok(None);
        }
        self.finish_rescue(&lease)?;
        let name = writer.free_name(name);
        writer.adopt(&name, self.environment).map(Some)
    }

    /// Removes a link `auth.json` that leads nowhere, because no lease can be taken through it.
    fn remove_broken_link(&self, set: &AccountSet) -> Result<(), Error> {
        if !DocumentTarget::is_broken(&self.home) {
            return Ok(());
        }
        let lease =
            Lease::acquire_at_broken_link(&self.home, &self.deadline, |waiting| (self.on_wait)(waiting))?;
        lease.check_folders()?;
        if DocumentTarget::is_broken(&self.home) && ActiveLink::of(&self.home)? == *set.link() {
            private_file::remove_link(&self.home.document())?;
        }
        Ok(())
    }

    /// Checks that [`Self::activate`] could make the account the active one, after completing what a killed process left of
    /// its login.
    ///
    /// # Errors
    /// As [`Self::activate`], except [`Error::NoAccount`] and [`Error::Changed`].
    pub fn check_activation(&self, account: &Account, foreign: ForeignLink) -> Result<(), Error> {
        let set = AccountSet::open(self.home.clone())?;
        self.finish_rescue(&self.lease(&set.home_of(account)?)?)?;
        if set.active() == Some(account) {
            return Ok(());
        }
        set.check_activation(account, foreign, self.environment)
    }

    /// Makes the account the active one, after completing what killed processes left of both logins. Takes the leases of
    /// both accounts too.
    ///
    /// # Errors
    /// As [`AccountWriter::activate`].
    pub fn activate(&self, account: &Account, foreign: ForeignLink) -> Result<Activation, Error> {
        self.check_activation(account, foreign)?;
        let set = AccountSet::open(self.home.clone())?;
        self.remove_broken_link(&set)?;
        let lease = set.lease_for(account, &self.deadline, |waiting| (self.on_wait)(waiting))?;
        self.finish_rescue(&lease)?;
        AccountWriter::new(&lease)?.activate(&account.id, foreign, self.environment)
    }

    /// As [`AccountWriter::unlink`].
    ///
    /// # Errors
    /// As [`AccountWriter::unlink`].
    pub fn unlink(&self) -> Result<Account, Error> {
        let lease = self.lease(&self.home)?;
        self.finish_rescue(&lease)?;
        AccountWriter::new(&lease)?.unlink()
    }

    /// As [`AccountWriter::recover`].
    ///
    /// # Errors
    /// As [`AccountWriter::recover`].
    pub fn recover(&self) -> Result<Vec<Account>, Error> {
        let lease = self.lease(&self.home)?;
        AccountWriter::new(&lease)?.recover(self.environment)
    }

    /// As [`AccountWriter::rename`].
    ///
    /// # Errors
    /// As [`AccountWriter::rename`].
    pub fn rename(&self, id: &AccountId, name: &AccountName) -> Result<(), Error> {
        let lease = self.lease(&self.home)?;
        AccountWriter::new(&lease)?.rename(id, name)
    }

    /// As [`AccountWriter::remove`].
    ///
    /// # Errors
    /// As [`AccountWriter::remove`].
    pub fn remove(&self, id: &AccountId) -> Result<(), Error> {
        let lease = self.lease(&self.home)?;
        AccountWriter::new(&lease)?.remove(id, self.environment)
    }

    /// As [`AccountWriter::pin`].
    ///
    /// # Errors
    /// As [`AccountWriter::pin`].
    pub fn pin(&self, id: &AccountId, folder: &Path) -> Result<Pin, Error> {
        let lease = self.lease(&self.home)?;
        AccountWriter::new(&lease)?.pin(id, folder)
    }

    /// As [`AccountWriter::unpin`].
    ///
    /// # Errors
    /// As [`AccountWriter::unpin`].
    pub fn unpin(&self, folder: &Path) -> Result<Removal, Error> {
        let lease = self.lease(&self.home)?;
        AccountWriter::new(&lease)?.unpin(folder)
    }

    fn reserve_under(
        &self,
        writer: &mut AccountWriter<'_>,
        name: &AccountName,
    ) -> Result<ReservedAccount, Error> {
        if let Ok(account) = writer.set().find(name.as_str()).cloned() {
            let home = writer.set().home_of(&account)?;
            if Stores::open(home, self.environment)?.find()?.stored.is_none() {
                return Ok(ReservedAccount { account, is_new: false });
            }
        }
        Ok(ReservedAccount { account: writer.create(name)?, is_new: true })
    }

    pub(super) fn lease(&self, home: &Home) -> Result<Lease, Error> {
        Ok(Lease::acquire(home, &self.deadline, |waiting| (self.on_wait)(waiting))?)
    }

    pub(super) fn finish_rescue(&self, lease: &Lease) -> Result<(), Error> {
        manager::finish_rescue(lease, self.environment).map_err(|error| Error::Unfinished(Box::new(error)))
    }
}
