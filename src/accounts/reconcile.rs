//! Puts right what another program did to the link `auth.json`: a logout removes it, and a login replaces it by a file.

use std::time::Duration;

use super::editor::AccountEditor;
use super::error::Error;
use super::file::Account;
use super::import::suggested_name;
use super::set::AccountSet;
use super::writer::AccountWriter;
use crate::clock::Clock;
use crate::config::StoreKind;
use crate::document::{AuthDocument, Revision};
use crate::home::Home;
use crate::manager::{AccountPolicy, AuthManager, Job, JobFailure, JobOutcome, RefreshReason};
use crate::remedy::ErrorKind;
use crate::store::{FileStore, HomeState, RemoveOutcome, Store as _, Stores};

/// Runs a job in a home, best in a process that survives this one.
pub type JobRunner<'a> = dyn Fn(&Home, &Job) -> Result<JobOutcome, JobFailure> + 'a;

/// What another program did to the link `auth.json`, which has been put right.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LinkChange {
    /// It has logged out of the account. The refused login was removed from the account, whose name stays.
    LoggedOut(Account),
    /// It has removed the link only: the login of the account is valid and stays. No account is active now.
    Removed(Account),
    /// It has removed the link, and it is not known yet whether the login of the account is valid. The next call finds out.
    Unverified {
        /// The account.
        account: Account,
        /// Why it could not be found out.
        reason: String,
    },
    /// It has logged in. The login is in the account, which is active now.
    LoggedIn {
        /// The account.
        account: Account,
        /// Whether it was created for the login.
        is_new: bool,
        /// The account that was active before, if its login was ended.
        ended: Option<Account>,
    },
}

/// Whether the authority accepts a login.
enum Validity {
    Valid,
    Refused(Revision),
    /// It has no refresh token, so that its end cannot be noticed.
    NotRefreshable(Revision),
    Unknown(String),
    NoLogin,
}

impl AccountEditor<'_> {
    /// Remembers the user of the login that `account` holds now, so that another program that replaces it is noticed:
    /// see [`AccountSet::is_replaced`]. Call it after a login.
    ///
    /// # Errors
    /// [`Error::Unknown`]; [`Error::Store`].
    pub fn remember_user(&self, account: &Account) -> Result<(), Error> {
        let lease = self.lease(&self.home)?;
        let mut writer = AccountWriter::new(&lease)?;
        let home = writer.set().home_of(account)?;
        match Stores::open(home, self.environment)?.find()?.stored {
            Some(stored) => writer.remember_user(&account.id, &stored.document),
            None => Ok(()),
        }
    }

    /// Puts right what another program did to the link since this program placed it; `None` if there is nothing to do.
    ///
    /// A file in its place moves into the account of that login, else into a new account, and the link is restored. Without
    /// a file, or if the login is of another account, the login that the link led to is refreshed with `run`: if the
    /// authority refuses it, the other program has logged out, so the rest of the login is removed.
    ///
    /// # Errors
    /// As [`AccountWriter::adopt`] and [`AccountWriter::absorb`]; no login is lost, and the next call tries again.
    pub fn reconcile(&self, run: &JobRunner<'_>) -> Result<Option<LinkChange>, Error> {
        let set = AccountSet::open(self.home.clone())?;
        let Some(former) = set.unlinked()?.cloned() else { return Ok(None) };
        let Some(login) = FileStore::new(self.home.clone(), None).load(Duration::ZERO)? else {
            return self.complete_removal(&set, former, run);
        };
        let account = match set.account_of_login(&login.document, self.environment)? {
            Some(account) => Some(account.clone()),
            None => self.logged_out_account_of(&set, &former, &login.document)?,
        };
        let (account, is_new) = match account {
            Some(account) => {
                self.absorb(&set, &account)?;
                (account, false)
            }
            None => match self.adopt_as(&suggested_name(&login.document)?)? {
                Some(account) => (account, true),
                None => return Ok(None),
            },
        };
        let ended = match account.id == former.id {
            false => match self.validity(&set, &former, run)? {
                Validity::Refused(seen) => self.end(&set, &former, seen)?.then_some(former),
                _ => None,
            },
            true => None,
        };
        Ok(Some(LinkChange::LoggedIn { account, is_new, ended }))
    }

    fn complete_removal(
        &self,
        set: &AccountSet,
        account: Account,
        run: &JobRunner<'_>,
    ) -> Result<Option<LinkChange>, Error> {
        match self.validity(set, &account, run)? {
            Validity::NoLogin => Ok(None),
            Validity::Unknown(reason) => Ok(Some(LinkChange::Unverified { account, reason })),
            Validity::Refused(seen) | Validity::NotRefreshable(seen) => {
                Ok(self.end(set, &account, seen)?.then_some(LinkChange::LoggedOut(account)))
            }
            Validity::Valid => {
                let lease = self.lease(&self.home)?;
                let mut writer = AccountWriter::new(&lease)?;
                if writer.set().unlinked()? != Some(&account) {
                    return Ok(None);
                }
                writer.announce(None)?;
                Ok(Some(LinkChange::Removed(account)))
            }
        }
    }

    /// Finds out whether the authority accepts the login of `account`, by refreshing it.
    fn validity(&self, set: &AccountSet, account: &Account, run: &JobRunner<'_>) -> Result<Validity, Error> {
        let home = set.home_of(account)?;
        let manager = AuthManager::builder(home.clone(), self.environment.clone());
        let snapshot = manager.open().map_err(|error| Error::Unfinished(Box::new(error)))?.current();
        let Some(document) = snapshot.document() else { return Ok(Validity::NoLogin) };
        let seen = document.revision();
        if document.fingerprint().is_none() {
            return Ok(Validity::NotRefreshable(seen));
        }
        // A forced refresh does not wait for the end of a back-off, but this is not what the user asked for.
        let (state, _) = HomeState::read(&home)?;
        let last = state.outcome.as_ref().filter(|last| Some(last.fingerprint) == document.fingerprint());
        if let Some(last) = last.filter(|last| last.remaining_back_off(Clock::system().now()).is_some()) {
            return Ok(Validity::Unknown(last.message.clone()));
        }
        let job = Job::refresh(RefreshReason::Forced, &snapshot, AccountPolicy::Stay);
        Ok(match run(&home, &job).unwrap_or_else(JobOutcome::Failed) {
            JobOutcome::Failed(failure) if failure.kind == ErrorKind::LogInAgain => Validity::Refused(seen),
            JobOutcome::Failed(failure) => Validity::Unknown(failure.message),
            _ => Validity::Valid,
        })
    }

    /// Removes the login `seen` from `account`, and remembers its user. Returns `false` if the account has another login
    /// by now.
    fn end(&self, set: &AccountSet, account: &Account, seen: Revision) -> Result<bool, Error> {
        let lease = self.lease(&self.home)?;
        let mut accounts = AccountWriter::new(&lease)?;
        let home = set.home_of(account)?;
        let own = self.lease(&home)?;
        let stores = Stores::open(home, self.environment)?;
        let mut writer = stores.writer(&own)?;
        let content = writer.read(StoreKind::File)?;
        let Some(document) = content.document().filter(|document| document.revision() == seen) else {
            return Ok(false);
        };
        accounts.remember_user(&account.id, document)?;
        match writer.remove(StoreKind::File, content.seen())? {
            RemoveOutcome::Removed(_) => {
                writer.clear_rescue()?;
                writer.record(|state| {
                    document.fingerprint().into_iter().for_each(|fingerprint| state.mark_spent(fingerprint));
                    state.forget_login();
                })?;
                Ok(true)
            }
            RemoveOutcome::Changed(_) => Ok(false),
        }
    }

    /// Returns the account without a login that a new login belongs to: that of its user or, if its last user is not
    /// known, the one that was active.
    fn logged_out_account_of(
        &self,
        set: &AccountSet,
        former: &Account,
        document: &AuthDocument,
    ) -> Result<Option<Account>, Error> {
        let user = document.identity().user_id;
        for account in set.accounts() {
            let is_its_user = match &account.user {
                Some(last) if !last.is_empty() => Some(last) == user.as_ref(),
                _ => account.id == former.id,
            };
            if is_its_user && Stores::open(set.home_of(account)?, self.environment)?.find()?.stored.is_none()
            {
                return Ok(Some(account.clone()));
            }
        }
        Ok(None)
    }
}
