//! The transaction of a login: checks the store, commits under the lease, and revokes the login that was replaced.

use std::io;

use tokio::task::spawn_blocking;

use super::commit::StoreReport;
use super::error::{Error, HandedInHome};
use super::pending::{PendingExchanges, PendingLogin};
use super::setup::LoginSetup;
use super::supersede::{OldLoginPolicy, SupersedeOutcome, supersede};
use crate::authority::Issuer;
use crate::config::{Environment, LoginMethod, StoreSelection};
use crate::document::AuthDocument;
use crate::home::Home;
use crate::manager;
use crate::store::{self, Lease, LockDeadline, LoginSpace, StoreChoice, Stores, Waiting};

/// One login into one home, from the checks before the user is asked to the revocation of the login that it replaced.
///
/// Clones share the limit of waits for locks, the cancellation and the reserved space.
#[derive(Clone, Debug)]
pub struct LoginSession {
    setup: LoginSetup,
    stores: Stores,
    choice: StoreChoice,
    policy: OldLoginPolicy,
    owner: LoginOwner,
    others: Vec<Home>,
    deadline: LockDeadline,
    space: LoginSpace,
}

/// Whose login may replace the one that is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoginOwner {
    /// Anyone's.
    #[default]
    Anyone,
    /// That of the same user, for the home of an account.
    SameUser,
}

impl LoginSession {
    /// Checks that `config.toml` permits `method`, and that a login can be stored in `store` or in the store that is
    /// chosen without it, and reserves the disk space for it until it is committed or the session is dropped. Changes
    /// nothing else and takes no lock. Blocks while it calls the keychain.
    ///
    /// # Errors
    /// - [`Error::Forbidden`]: `config.toml` forbids the method.
    /// - [`Error::HandedInHome`]: as [`Self::check_home`].
    /// - [`Error::Endpoint`]: as [`LoginSetup::new`].
    /// - [`Error::Store`]: as [`Stores::choose`], [`Stores::check`] and [`Stores::reserve_login`].
    pub fn begin(
        stores: &Stores,
        environment: &Environment,
        method: LoginMethod,
        store: Option<StoreSelection>,
    ) -> Result<Self, Error> {
        let config = &stores.settings().config;
        config.restrictions.permit_method(method)?;
        Self::check_home(stores)?;
        let setup = LoginSetup::new(environment, config)?;
        let choice = stores.choose(store)?;
        stores.check(&choice)?;
        let space = stores.reserve_login()?;
        let (stores, deadline) = (stores.clone(), LockDeadline::after(environment.lock_timeout));
        Ok(Self {
            setup,
            stores,
            choice,
            policy: OldLoginPolicy::default(),
            owner: LoginOwner::default(),
            others: Vec::new(),
            deadline,
            space,
        })
    }

    /// Checks that a login into the home of `stores` would stay: that it is neither the private home of a run, nor one
    /// whose login a keeper elsewhere hands in.
    ///
    /// # Errors
    /// [`Error::HandedInHome`].
    pub fn check_home(stores: &Stores) -> Result<(), Error> {
        let home = stores.home();
        let reason = match () {
            () if home.is_of_run() => HandedInHome::PrivateHome,
            () if stores.file().is_handed_in() => HandedInHome::Document,
            () => return Ok(()),
        };
        Err(Error::HandedInHome { home: home.path().to_owned(), reason })
    }

    /// Returns the same session with another authority.
    #[must_use]
    pub fn with_issuer(self, issuer: Issuer) -> Self {
        Self { setup: self.setup.with_issuer(issuer), ..self }
    }

    /// Returns the same session for another program, as [`LoginSetup::with_originator`].
    #[must_use]
    pub fn with_originator(self, originator: impl Into<String>) -> Self {
        Self { setup: self.setup.with_originator(originator), ..self }
    }

    /// Returns the same session with its logins in the list of `exchanges`.
    #[must_use]
    pub fn with_exchanges(self, exchanges: PendingExchanges) -> Self {
        Self { setup: self.setup.with_exchanges(exchanges), ..self }
    }

    /// Returns the policy for the replaced login.
    #[must_use]
    pub fn old_login_policy(&self) -> OldLoginPolicy {
        self.policy
    }

    /// Returns the same session with another policy for the replaced login.
    #[must_use]
    pub fn with_old_login_policy(self, policy: OldLoginPolicy) -> Self {
        Self { policy, ..self }
    }

    /// Returns the same session, for a home whose login may be replaced by those of `owner` only.
    #[must_use]
    pub fn with_owner(self, owner: LoginOwner) -> Self {
        Self { owner, ..self }
    }

    /// Returns the same session, for a login that must not be the one of another account, in one of these homes.
    #[must_use]
    pub fn with_other_homes(self, others: Vec<Home>) -> Self {
        Self { others, ..self }
    }

    /// Returns the context for the flow that obtains the login.
    #[must_use]
    pub fn setup(&self) -> &LoginSetup {
        &self.setup
    }

    /// Cancels [`Self::commit`], now or when it is called. Returns `false` if the commit has begun: then it is
    /// completed.
    #[must_use = "a commit that has begun is not cancelled"]
    pub fn cancel(&self) -> bool {
        self.deadline.cancel()
    }

    /// Stores `login` under the lease, after completing what a killed process left behind. Calls `on_wait` while
    /// another process holds the lease. A login that is not stored is revoked in the background; await
    /// [`PendingExchanges::finish`] before exiting.
    ///
    /// [`Self::cancel`] or dropping the future ends the wait for the lease or for Codex's `auth.lock`. After that the
    /// commit is completed. Needs a tokio runtime.
    ///
    /// # Errors
    /// - [`Error::Store`] with [`store::Error::Interrupted`]: it was cancelled; nothing was changed.
    /// - [`Error::Store`] with [`store::Error::AnotherUser`]: the login of another user is stored, and the session is for
    ///   the same user only.
    /// - [`Error::Store`] with [`store::Error::LoggedInAlready`]: the same user is logged in, in the same workspace, in
    ///   one of [`Self::with_other_homes`].
    /// - [`Error::Store`]: as [`super::commit_login()`]; the tokens are revoked unless the login may be stored all the
    ///   same.
    /// - [`Error::Panicked`]: the login may be stored.
    pub async fn commit(
        &self,
        login: impl Into<PendingLogin>,
        on_wait: impl FnMut(&Waiting<'_>) + Send + 'static,
    ) -> Result<CommittedLogin, Error> {
        let (session, login) = (self.clone(), login.into());
        let document = login.document().clone();
        let dropped = CancelOnDrop(&self.deadline);
        let committed = spawn_blocking(move || session.commit_blocking(login, on_wait)).await;
        drop(dropped);
        let report = committed.map_err(|error| Error::Panicked(io::Error::other(error)))??;
        Ok(CommittedLogin { session: self.clone(), document, report })
    }

    fn commit_blocking(
        &self,
        login: PendingLogin,
        on_wait: impl FnMut(&Waiting<'_>),
    ) -> Result<StoreReport, store::Error> {
        let lease = Lease::acquire(self.stores.home(), &self.deadline, on_wait)?;
        if self.deadline.is_cancelled() {
            return Err(store::Error::Interrupted);
        }
        self.space.release();
        // A rescue that cannot be completed must not prevent a new login.
        let _ = manager::finish_rescue(&lease, &self.setup.environment);
        let mut writer = self.stores.writer(&lease)?;
        // A login that cannot be read has no owner to protect.
        let stored = writer.stores().find_readable().ok().and_then(|found| found.stored);
        if self.owner == LoginOwner::SameUser
            && let Some(stored) =
                stored.filter(|stored| !stored.document.may_be_replaced_by(login.document()))
        {
            return Err(store::Error::AnotherUser { location: stored.location });
        }
        for home in &self.others {
            let there = Stores::open(home.clone(), &self.setup.environment)?.find_readable()?.stored;
            if let Some(there) = there.filter(|there| there.document.is_same_login_as(login.document())) {
                return Err(store::Error::LoggedInAlready { location: there.location });
            }
        }
        login.commit(&mut writer, &self.choice)
    }
}

/// Ends the waits for locks of a commit whose future is dropped; does nothing after the commit.
struct CancelOnDrop<'a>(&'a LockDeadline);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A login that is stored.
#[derive(Debug)]
#[must_use = "the replaced login is revoked by `announce`"]
pub struct CommittedLogin {
    session: LoginSession,
    document: AuthDocument,
    report: StoreReport,
}

impl CommittedLogin {
    /// Returns the stored document.
    #[must_use]
    pub fn document(&self) -> &AuthDocument {
        &self.document
    }

    /// Returns the result of storing it.
    #[must_use]
    pub fn report(&self) -> &StoreReport {
        &self.report
    }

    /// Runs `announcement`, which reports the success to the user, and revokes the replaced login at the same time, by
    /// the session's policy. The login stays stored whatever the outcome, and if the future is dropped.
    pub async fn announce(&self, announcement: impl Future<Output = ()>) -> SupersedeOutcome {
        let Self { session, document, report } = self;
        let history = manager::history(&session.stores, session.setup.clock.clone()).ok();
        let revoking = supersede(&session.setup, session.policy, report, document, history.as_ref());
        let ((), outcome) = tokio::join!(announcement, revoking);
        outcome
    }
}
