//! The part of a login that holds the lease: gets the tokens, records them, and stores them.
//!
//! The rescue holds the code before it is sent, the tokens before anything else is done with them, and the logins to be
//! revoked before the new one is stored. Whenever the process is killed, the next holder of the lease revokes what is not
//! stored.

use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use super::commit::{StoreReport, commit_recorded};
use super::error::Error;
use super::pending::{ApiKeyRequest, LoginSource, OpenExchange, PendingLogin};
use super::setup::LoginSetup;
use super::supersede::{OldLoginPolicy, SupersedePlan, plan};
use crate::authority::{self, Authorization, FirstTokens, Revocation};
use crate::document::{AuthDocument, NewTokens};
use crate::failpoint;
use crate::home::Home;
use crate::manager;
use crate::store::{
    self, Lease, LockDeadline, LoginCommit, LoginRecorder, LoginSpace, SentCode, StoreChoice, Stores,
    Waiting, Writer,
};

/// An exchange that failed within this time is ended at once, under the lease that other processes may wait for.
const QUICK_FAILURE: Duration = Duration::from_secs(10);

/// The settings of one login.
#[derive(Clone, Debug)]
pub(super) struct LoginPlan {
    pub(super) setup: LoginSetup,
    pub(super) stores: Stores,
    pub(super) choice: StoreChoice,
    pub(super) policy: OldLoginPolicy,
    pub(super) owner: LoginOwner,
    pub(super) others: Vec<Home>,
    pub(super) deadline: LockDeadline,
    pub(super) space: LoginSpace,
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

/// A login that is stored.
#[derive(Debug)]
pub(super) struct LoginOutcome {
    pub(super) document: AuthDocument,
    pub(super) report: StoreReport,
    /// If logins that it replaced are to be revoked, the lease, under which the rescue names them.
    pub(super) record: Option<ReplacedRecord>,
}

/// The rescue that names the logins to revoke, and the lease. The next holder of the lease revokes them if this is
/// dropped.
#[derive(Debug)]
pub(super) struct ReplacedRecord {
    lease: Lease,
    stores: Stores,
}

impl ReplacedRecord {
    /// Removes the record: the logins are revoked. If that fails, the next holder of the lease revokes them again.
    pub(super) fn clear(self) {
        let _ = self.stores.writer(&self.lease).and_then(|writer| writer.clear_rescue());
    }
}

impl LoginPlan {
    /// Gets the tokens of `login` and stores them. Blocks; the thread must not be one of a runtime.
    pub(super) fn run(
        &self,
        login: PendingLogin,
        open: &OpenExchange,
        on_wait: impl FnMut(&Waiting<'_>),
    ) -> Result<LoginOutcome, Error> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
        let stored = self.run_in(&runtime, login, open, on_wait);
        // Do not wait for a name lookup that hangs.
        runtime.shutdown_background();
        stored
    }

    fn run_in(
        &self,
        runtime: &Runtime,
        login: PendingLogin,
        open: &OpenExchange,
        on_wait: impl FnMut(&Waiting<'_>),
    ) -> Result<LoginOutcome, Error> {
        let lease = Lease::acquire(self.stores.home(), &self.deadline, on_wait)?;
        self.check_cancelled()?;
        self.space.release();
        // A rescue that cannot be completed must not prevent a new login.
        let _ = manager::finish_rescue(&lease, &self.setup.environment);
        let mut writer = self.stores.writer(&lease)?;
        writer.stores().check(&self.choice)?;
        let recorder = LoginRecorder::new(self.choice.selection, self.setup.issuer.provenance());
        let mut running =
            RunningLogin { plan: self, runtime, writer: &mut writer, recorder, received: None, open };
        let began = Instant::now();
        let (document, report) = match running.obtain(login).and_then(|document| running.store(document)) {
            Ok(stored) => stored,
            Err(failure) => {
                let (error, remains) = running.end(failure);
                if remains == LoginRemains::Code && began.elapsed() < QUICK_FAILURE {
                    // Sends the code again, which ends its grant. If that fails too, the next holder of the lease does so.
                    let _ = manager::finish_rescue(&lease, &self.setup.environment);
                }
                return Err(error);
            }
        };
        failpoint::at("login stored");
        let is_superseded = |old| plan(&self.setup, self.policy, old, &document) == SupersedePlan::Revoke;
        let mut superseded = report.superseded.iter().chain(&report.also_superseded);
        let record = if superseded.any(is_superseded) {
            drop(writer);
            Some(ReplacedRecord { lease, stores: self.stores.clone() })
        } else {
            // If it stays, the next holder of the lease finds that the login is stored.
            let _ = running.recorder.clear(running.writer);
            None
        };
        Ok(LoginOutcome { document, report, record })
    }

    fn check_cancelled(&self) -> Result<(), Error> {
        match self.deadline.is_cancelled() {
            true => Err(store::Error::Interrupted.into()),
            false => Ok(()),
        }
    }

    /// Checks that `document` may replace the stored login, and is not the login of another account.
    fn permit_owner(&self, writer: &Writer<'_>, document: &AuthDocument) -> Result<(), store::Error> {
        // A login that cannot be read has no owner to protect.
        let stored = writer.stores().find_readable().ok().and_then(|found| found.stored);
        if self.owner == LoginOwner::SameUser
            && let Some(stored) = stored.filter(|stored| !stored.document.may_be_replaced_by(document))
        {
            return Err(store::Error::AnotherUser { location: stored.location });
        }
        for home in &self.others {
            let there = Stores::open(home.clone(), &self.setup.environment)?.find_readable()?.stored;
            if let Some(there) = there.filter(|there| there.document.is_same_login_as(document)) {
                return Err(store::Error::LoggedInAlready { location: there.location });
            }
        }
        Ok(())
    }
}

/// A login under the lease.
struct RunningLogin<'a, 'lease> {
    plan: &'a LoginPlan,
    runtime: &'a Runtime,
    writer: &'a mut Writer<'lease>,
    recorder: LoginRecorder,
    /// The tokens that the authority issued.
    received: Option<NewTokens>,
    open: &'a OpenExchange,
}

/// Why a login failed, and what is left of it.
struct LoginFailure {
    error: Error,
    remains: LoginRemains,
}

/// What the authority or the store may have of a login that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoginRemains {
    /// Nothing but the tokens that were received.
    Received,
    /// Tokens that did not arrive; the record of the code stays.
    Code,
    /// A stored document; the record stays, and the next holder of the lease looks.
    Document,
}

impl From<Error> for LoginFailure {
    fn from(error: Error) -> Self {
        Self { error, remains: LoginRemains::Received }
    }
}

impl From<store::Error> for LoginFailure {
    fn from(error: store::Error) -> Self {
        Error::from(error).into()
    }
}

impl RunningLogin<'_, '_> {
    fn obtain(&mut self, login: PendingLogin) -> Result<AuthDocument, LoginFailure> {
        match login.0 {
            LoginSource::Supplied(document) => Ok(*document),
            LoginSource::Code(authorization, api_key) => {
                self.runtime.block_on(self.exchange(authorization, api_key))
            }
        }
    }

    async fn exchange(
        &mut self,
        authorization: Authorization,
        api_key: ApiKeyRequest,
    ) -> Result<AuthDocument, LoginFailure> {
        let LoginSetup { authority, issuer, .. } = &self.plan.setup;
        let Authorization { code, verifier, redirect_uri } = authorization.clone();
        let space = self.recorder.save_code(self.writer, SentCode { code, verifier, redirect_uri })?;
        failpoint::at("code recorded");
        self.plan.check_cancelled()?;
        let response = authority.exchange(issuer, &authorization).await.map_err(|error| LoginFailure {
            remains: if error.is_unknown() { LoginRemains::Code } else { LoginRemains::Received },
            error: error.into(),
        })?;
        failpoint::at("code exchanged");
        self.received = Some(response.clone().into());
        self.recorder.save_tokens(self.writer, space, response.clone().into())?;
        failpoint::at("tokens recorded");
        self.plan.check_cancelled()?;
        let tokens = FirstTokens::from_response(issuer, response).map_err(Error::from)?;
        let api_key = match api_key {
            ApiKeyRequest::None => None,
            ApiKeyRequest::IfAvailable => tokio::select! {
                biased;
                () = self.plan.deadline.cancelled() => return Err(store::Error::Interrupted.into()),
                // Not every account has an API key, and the login does not depend on it.
                key = authority.api_key(issuer, &tokens.id_token) => key.ok(),
            },
        };
        Ok(self.plan.setup.document(tokens, api_key)?)
    }

    fn store(&mut self, document: AuthDocument) -> Result<(AuthDocument, StoreReport), LoginFailure> {
        let Self { plan: login, writer, recorder, .. } = self;
        login.permit_owner(writer, &document)?;
        let mut record = |writer: &mut Writer<'_>, stored: &[&AuthDocument]| {
            let replaced = |old: &&&AuthDocument| {
                plan(&login.setup, login.policy, old, &document) == SupersedePlan::Revoke
            };
            let replaced: Vec<_> = stored.iter().filter(replaced).map(|old| (*old).clone()).collect();
            if replaced.is_empty() && document.tokens().is_none() {
                return Ok(());
            }
            let before = stored.iter().filter_map(|old| old.logout_fingerprint()).collect();
            recorder.save_commit(writer, LoginCommit { document: document.clone(), replaced, before })
        };
        match commit_recorded(writer, &login.choice, &document, &mut record) {
            Ok(report) => Ok((document, report)),
            Err(error) => {
                let may_be_stored = may_be_stored(&document, writer.stores(), &error);
                let remains = if may_be_stored { LoginRemains::Document } else { LoginRemains::Received };
                Err(LoginFailure { error: error.into(), remains })
            }
        }
    }

    /// Revokes what a login that failed has received. Returns its error, and what remains.
    fn end(mut self, failure: LoginFailure) -> (Error, LoginRemains) {
        let LoginFailure { error, remains } = failure;
        if remains != LoginRemains::Received {
            return (error, remains);
        }
        match self.revoke_received() {
            // If it stays, the next holder of the lease revokes the tokens again.
            Ok(()) => drop(self.recorder.clear(self.writer)),
            Err(failed) => self.open.record_failure(failed),
        }
        (error, remains)
    }

    fn revoke_received(&mut self) -> Result<(), authority::Error> {
        let Some(tokens) = self.received.take() else { return Ok(()) };
        let LoginSetup { authority, issuer, environment, .. } = &self.plan.setup;
        let Some(revocation) = Revocation::of_response(environment, &issuer.provenance(), &tokens)? else {
            return Ok(());
        };
        self.runtime.block_on(authority.revoke(&revocation)).map(drop)
    }
}

/// Whether `document` may be stored although storing it failed with `error`.
fn may_be_stored(document: &AuthDocument, stores: &Stores, error: &store::Error) -> bool {
    match stores.find_readable() {
        Ok(found) => found.stored.is_some_and(|stored| stored.document.revision() == document.revision()),
        // The store cannot be read: only errors after the write leave it open.
        Err(_) => error.is_unknown() || matches!(error, store::Error::WriteLost { .. }),
    }
}
