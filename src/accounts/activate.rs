//! Makes another account the active one, by replacing the link `auth.json`.

use std::time::Duration;

use codex_auth_platform::private_file;
use jiff::{SignedDuration, Timestamp};

use super::error::Error;
use super::file::{Account, AccountPlace};
use super::name::AccountId;
use super::set::{AccountSet, ActiveLink};
use super::writer::{AccountWriter, has_document};
use crate::clock::Clock;
use crate::config::{Environment, StoreKind, StoreSelection, StoreSetting};
use crate::document::AuthDocument;
use crate::failpoint;
use crate::history::{History, HistoryEvent, Label};
use crate::store::{CommitLocks, DocumentTarget, Lease, LockDeadline, Stores, Waiting};

/// The remaining life of a token, in seconds, below which it is refreshed before its account is switched away from. A
/// program that began to refresh it would store the answer after the switch, and Codex drops it then.
const MIN_REMAINING: u64 = 10 * 60;

/// How long a program that began a refresh before ours may take to store the answer.
pub const FOREIGN_REFRESH: Duration = Duration::from_secs(50);

/// The result of [`AccountWriter::activate`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the account may have been active before"]
#[non_exhaustive]
pub enum Activation {
    /// The account was active before.
    Unchanged,
    /// The account is active; `from` was active before.
    Switched {
        /// The account that was active before.
        from: Option<Account>,
    },
}

/// What happens to a link `auth.json` that does not lead to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a caller must choose one of them")]
pub enum ForeignLink {
    /// It stays, which is an error.
    Keep,
    /// It is replaced; what it leads to stays.
    Replace,
}

/// Returns the lifetime, in seconds, that the token of the outgoing login must have: if its token expires earlier, it is
/// refreshed before the switch.
#[must_use]
pub fn required_lifetime(outgoing: &AuthDocument, now: Timestamp) -> Option<u64> {
    outgoing.fingerprint()?;
    let expires = outgoing.access_claims().expires_at?;
    (expires.duration_since(now) < SignedDuration::from_secs(MIN_REMAINING as i64)).then_some(MIN_REMAINING)
}

impl AccountSet {
    /// Acquires the lease that [`AccountWriter::activate`] needs: of the home, of the folder of the active account, and
    /// of that of `account`.
    ///
    /// # Errors
    /// As [`Lease::acquire`].
    pub fn lease_for(
        &self,
        account: &Account,
        limit: impl Into<LockDeadline>,
        waiting: impl FnMut(&Waiting<'_>),
    ) -> Result<Lease, Error> {
        let other = self.home_of(account)?;
        Ok(Lease::acquire_with_others(self.home(), &[&other], limit, waiting)?)
    }

    /// Checks that `account` can be made the active one.
    ///
    /// # Errors
    /// As [`AccountWriter::activate`], except [`Error::NoAccount`] and [`Error::Changed`].
    pub(super) fn check_activation(
        &self,
        account: &Account,
        foreign: ForeignLink,
        environment: &Environment,
    ) -> Result<(), Error> {
        let stores = Stores::open(self.home().clone(), environment)?;
        let setting = stores.settings().config.store;
        let uses_file = matches!(setting, StoreSetting::Unset | StoreSetting::Selected(StoreSelection::File));
        if account.place == AccountPlace::Home || !uses_file {
            return Err(Error::InKeychain);
        }
        if !has_document(&self.home_of(account)?, &stores)? {
            return Err(Error::LoggedOut { name: account.name.clone() });
        }
        match self.link() {
            ActiveLink::Elsewhere(target) if foreign == ForeignLink::Keep => {
                Err(Error::LinkedElsewhere { link: self.home().document(), target: target.clone() })
            }
            // A link that leads nowhere hides no login.
            _ if DocumentTarget::is_broken(self.home()) => Ok(()),
            _ => match stores.find()?.stored {
                Some(stored) if stored.location.kind() == StoreKind::Keychain => Err(Error::InKeychain),
                _ => Ok(()),
            },
        }
    }
}

impl AccountWriter<'_> {
    /// Makes the account the one that `auth.json` leads to, atomically. Requires the lease of [`AccountSet::lease_for`];
    /// takes `auth.lock` and the commit locks beside both documents, for 2 seconds at most. Call
    /// [`crate::manager::finish_rescue`] for both homes first.
    ///
    /// # Errors
    /// - [`Error::Unknown`].
    /// - [`Error::LoggedOut`]: the account has no login.
    /// - [`Error::InKeychain`]: the login in use, or that of the account, is in the keychain.
    /// - [`Error::NoAccount`]: `auth.json` holds a login that is no account; [`Self::adopt`] makes it one.
    /// - [`Error::LinkedElsewhere`]: it is a link of the user's, and `foreign` is [`ForeignLink::Keep`].
    /// - [`Error::Changed`]: another program changed it meanwhile.
    /// - [`Error::Store`].
    ///
    /// The account that was active stays active then.
    pub fn activate(
        &mut self,
        id: &AccountId,
        foreign: ForeignLink,
        environment: &Environment,
    ) -> Result<Activation, Error> {
        let account = self.entry(id)?.clone();
        let home = self.lease.home().clone();
        let before = ActiveLink::of(&home)?;
        let is_home = account.place == AccountPlace::Home;
        if before == ActiveLink::Account(id.clone()) || (is_home && self.set.active() == Some(&account)) {
            self.set.file.active = Some(id.clone());
            self.write()?;
            return Ok(Activation::Unchanged);
        }
        self.set.check_activation(&account, foreign, environment)?;
        if before == ActiveLink::None
            && let Some(stored) = Stores::open(home.clone(), environment)?.find()?.stored
        {
            return Err(Error::NoAccount { location: stored.location });
        }
        let from = self.set.active().cloned();
        self.announce(None)?;
        failpoint::at("switch announced");
        if let Err(error) = self.place_link(&account, &before) {
            // The record of the active account is only needed after another program has removed the link.
            let _ = self.announce(from.map(|from| from.id));
            return Err(error);
        }
        failpoint::at("link placed");
        self.announce(Some(id.clone()))?;
        History::open(&home.own_records(), environment.history, Clock::system()).record(
            HistoryEvent::AccountSwitched {
                from: from.as_ref().map(|from| Label::of(from.name.as_str())),
                to: Label::of(account.name.as_str()),
            },
        );
        Ok(Activation::Switched { from })
    }

    fn place_link(&self, account: &Account, before: &ActiveLink) -> Result<(), Error> {
        let home = self.lease.home();
        let target = DocumentTarget::of(&self.set.home_of(account)?)?;
        if !self.lease.covers(target.folder()) {
            return Err(Error::Changed { path: target.document() });
        }
        let commit = CommitLocks::acquire_with_other(self.lease, &target)?;
        failpoint::at("switch locked");
        if !self.lease.is_on_target() || ActiveLink::of(home)? != *before {
            return Err(Error::Changed { path: home.document() });
        }
        commit.remaining()?;
        private_file::replace_with_link(&home.document(), &ActiveLink::target(home, &account.id))?;
        Ok(())
    }

    /// Records which account `auth.json` leads to; none while that changes, so that a link that another program removes
    /// is not mistaken for that of another account.
    pub(super) fn announce(&mut self, active: Option<AccountId>) -> Result<(), Error> {
        if self.set.file.active != active {
            self.set.file.active = active;
            self.write()?;
        }
        Ok(())
    }
}
