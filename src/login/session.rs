//! The transaction of a login: checks the store, commits under the lease, and revokes the login that was replaced.

use std::io;
use std::sync::Mutex;
use std::thread;

use codex_auth_platform::sync::lock;
use tokio::sync::oneshot;

use super::commit::StoreReport;
use super::error::{Error, HandedInHome};
use super::pending::{PendingExchanges, PendingLogin};
use super::setup::LoginSetup;
use super::supersede::{OldLoginPolicy, SupersedeOutcome, supersede};
use super::transaction::{LoginOutcome, LoginOwner, LoginPlan, ReplacedRecord};
use crate::authority::Issuer;
use crate::config::{Environment, LoginMethod, StoreSelection};
use crate::document::AuthDocument;
use crate::failpoint;
use crate::home::Home;
use crate::manager;
use crate::store::{self, ChoiceReason, LockDeadline, Stores, Waiting};

/// One login into one home, from the checks before the user is asked to the revocation of the login that it replaced.
///
/// Clones share the limit of waits for locks, the cancellation and the reserved space.
#[derive(Clone, Debug)]
pub struct LoginSession(LoginPlan);

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
        Ok(Self(LoginPlan {
            setup,
            stores,
            choice,
            policy: OldLoginPolicy::default(),
            owner: LoginOwner::default(),
            others: Vec::new(),
            deadline,
            space,
        }))
    }

    /// Reports that the store is the one of all accounts, and not one that the user named.
    #[must_use]
    pub fn with_store_of_accounts(mut self) -> Self {
        self.0.choice.reason = ChoiceReason::SharedByAccounts;
        self
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
            () if stores.file().is_handed_in() && !manager::is_member(home) => HandedInHome::Document,
            () => return Ok(()),
        };
        Err(Error::HandedInHome { home: home.path().to_owned(), reason })
    }

    /// Returns the same session with another authority.
    #[must_use]
    pub fn with_issuer(self, issuer: Issuer) -> Self {
        Self(LoginPlan { setup: self.0.setup.with_issuer(issuer), ..self.0 })
    }

    /// Returns the same session for another program, as [`LoginSetup::with_originator`].
    #[must_use]
    pub fn with_originator(self, originator: impl Into<String>) -> Self {
        Self(LoginPlan { setup: self.0.setup.with_originator(originator), ..self.0 })
    }

    /// Returns the same session with its logins in the list of `exchanges`.
    #[must_use]
    pub fn with_exchanges(self, exchanges: PendingExchanges) -> Self {
        Self(LoginPlan { setup: self.0.setup.with_exchanges(exchanges), ..self.0 })
    }

    /// Returns the policy for the replaced login.
    #[must_use]
    pub fn old_login_policy(&self) -> OldLoginPolicy {
        self.0.policy
    }

    /// Returns the same session with another policy for the replaced login.
    #[must_use]
    pub fn with_old_login_policy(self, policy: OldLoginPolicy) -> Self {
        Self(LoginPlan { policy, ..self.0 })
    }

    /// Returns the same session, for a home whose login may be replaced by those of `owner` only.
    #[must_use]
    pub fn with_owner(self, owner: LoginOwner) -> Self {
        Self(LoginPlan { owner, ..self.0 })
    }

    /// Returns the same session, for a login that must not be the one of another account, in one of these homes.
    #[must_use]
    pub fn with_other_homes(self, others: Vec<Home>) -> Self {
        Self(LoginPlan { others, ..self.0 })
    }

    /// Returns the context for the flow that obtains the login.
    #[must_use]
    pub fn setup(&self) -> &LoginSetup {
        &self.0.setup
    }

    /// Cancels [`Self::commit`], now or when it is called. Returns `false` if the commit has begun: then it is
    /// completed.
    #[must_use = "a commit that has begun is not cancelled"]
    pub fn cancel(&self) -> bool {
        self.0.deadline.cancel()
    }

    /// Gets the tokens of `login` and stores them under the lease, after completing what a killed process left behind.
    /// Calls `on_wait` while another process holds the lease; nothing is requested from the authority meanwhile. A login
    /// that is not stored is revoked in the background; await [`PendingExchanges::finish`] before exiting.
    ///
    /// If the process is killed, the next holder of the lease revokes the tokens that are not stored, and the login that
    /// this one has replaced.
    ///
    /// # Cancellation
    /// [`Self::cancel`] or dropping the future ends the login, unless the document is being written: then it is
    /// completed. The work is done on a thread of the library, and needs the time and macro features of tokio only.
    ///
    /// # Errors
    /// - [`Error::Request`], [`Error::Document`]: the authority issued no tokens, or unusable ones.
    /// - [`Error::Forbidden`]: the workspace is not allowed; the tokens are revoked.
    /// - [`Error::Store`] with [`store::Error::Interrupted`]: it was cancelled; nothing was changed.
    /// - [`Error::Store`] with [`store::Error::Lock`]: another process holds the lease; nothing was requested.
    /// - [`Error::Store`] with [`store::Error::AnotherUser`]: the login of another user is stored, and the session is for
    ///   the same user only.
    /// - [`Error::Store`] with [`store::Error::LoggedInAlready`]: the same user is logged in, in the same workspace, in
    ///   one of [`Self::with_other_homes`].
    /// - [`Error::Store`]: as [`super::commit_login()`]; the tokens are revoked unless the login may be stored all the
    ///   same.
    /// - [`Error::Thread`]: nothing was requested.
    /// - [`Error::Panicked`]: the login may be stored.
    pub async fn commit(
        &self,
        login: impl Into<PendingLogin>,
        on_wait: impl FnMut(&Waiting<'_>) + Send + 'static,
    ) -> Result<CommittedLogin, Error> {
        let (plan, login, open) = (self.0.clone(), login.into(), self.0.setup.exchanges.open());
        let (deliver, delivered) = oneshot::channel();
        // The caller's runtime may stop at any time, which would drop a task and the tokens in it.
        let work = move || {
            let stored = plan.run(login, &open, on_wait);
            // If the future was dropped, the next holder of the lease revokes the replaced login.
            drop(deliver.send(stored));
            drop(open);
        };
        thread::Builder::new().name("codex-auth login".to_owned()).spawn(work).map_err(Error::Thread)?;
        let dropped = CancelOnDrop(&self.0.deadline);
        let stored = tokio::select! {
            biased;
            stored = delivered => stored,
            () = self.0.deadline.cancelled() => return Err(store::Error::Interrupted.into()),
        };
        drop(dropped);
        let ended = |_| Error::Panicked(io::Error::other("the thread ended early"));
        let LoginOutcome { document, report, record } = stored.map_err(ended)??;
        let record = Mutex::new(record);
        Ok(CommittedLogin { plan: self.0.clone(), document, report, record })
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
///
/// If a replaced login is to be revoked, this holds the lease of the home until [`Self::announce`] has revoked it, or it
/// is dropped; then the next holder of the lease revokes it.
#[derive(Debug)]
#[must_use = "the replaced login is revoked by `announce`"]
pub struct CommittedLogin {
    plan: LoginPlan,
    document: AuthDocument,
    report: StoreReport,
    record: Mutex<Option<ReplacedRecord>>,
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
    /// the session's policy. The login stays stored whatever the outcome, and if the future is dropped; the next holder
    /// of the lease tries a revocation again that failed or was cut off.
    pub async fn announce(&self, announcement: impl Future<Output = ()>) -> SupersedeOutcome {
        let Self { plan, document, report, record } = self;
        let record = lock(record).take();
        let history = manager::history(&plan.stores, plan.setup.clock.clone()).ok();
        let revoke = async {
            let superseded = supersede(&plan.setup, plan.policy, report, document, history.as_ref()).await;
            failpoint::at("replaced login revoked");
            if let Some(record) = record
                && !superseded.has_failed
            {
                record.clear();
            }
            superseded.outcome
        };
        let ((), outcome) = tokio::join!(announcement, revoke);
        outcome
    }
}
