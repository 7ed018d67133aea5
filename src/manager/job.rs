//! A refresh or logout as a value, which this process or a child process runs.
//!
//! A command may be killed, time out or replace itself at any moment; a child process in its own session survives that.
//! The job holds fingerprints and no secret: the process that runs it reads the store.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::engine::{self, AccountPolicy, Engine};
use super::error::{Error, JobFailure};
use super::login_status::is_due;
use super::logout::{LogoutReport, LogoutRevocation, LogoutScope};
use super::removal::LoginRemoval;
use super::request::{CallerBase, RefreshReason};
use super::snapshot::{Divergence, Snapshot};
use super::transaction::Transaction;
use crate::config::{Environment, LegacyToken};
use crate::document::AuthDocument;
use crate::history::{HistoryEvent, LogoutResult, RevocationCause};
use crate::home::Home;
use crate::remedy::ErrorKind;
use crate::secret::Fingerprint;
use crate::store::{
    self, HomeState, KeychainClient, Lease, LeaseOutcome, LockDeadline, Stores, Waiting, Writer,
};

/// Maximum time that a forced logout waits for other processes.
const FORCED_WAIT: Duration = Duration::from_secs(5);

/// A refresh or logout to run, serialized as JSON for a child process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Job {
    task: JobTask,
    policy: AccountPolicy,
    #[serde(default, skip_serializing_if = "KeychainAccess::is_default")]
    keychain: KeychainAccess,
}

/// What the parent allows the keychain's service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct KeychainAccess {
    allows_prompts: bool,
    forbids_start: bool,
}

impl KeychainAccess {
    fn of_this_process() -> Self {
        let keychain = KeychainClient::system();
        Self { allows_prompts: keychain.allows_prompts(), forbids_start: !keychain.may_start_service() }
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Applies it to this process.
    fn apply(self) {
        let keychain = KeychainClient::system();
        if self.allows_prompts {
            keychain.allow_prompts();
        }
        if self.forbids_start {
            keychain.forbid_service_start();
        }
    }
}

/// What a job does.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JobTask {
    Freshen,
    Refresh { reason: RefreshReason, base: CallerBase },
    Logout { scope: LogoutScope },
}

impl JobTask {
    fn name(&self) -> &'static str {
        match self {
            Self::Freshen => "freshen",
            Self::Refresh { .. } => "refresh",
            Self::Logout { .. } => "logout",
        }
    }
}

/// The outcome of a [`Job`], serialized as JSON by a child process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum JobOutcome {
    /// The store holds a token that serves the request.
    Served,
    /// The new tokens are in the rescue only; the next lease holder commits them. The text says why.
    Uncommitted(String),
    /// The login was removed.
    LoggedOut(LogoutReport),
    /// It failed.
    Failed(JobFailure),
}

impl JobOutcome {
    /// Returns the result of a refresh.
    ///
    /// # Errors
    /// No new token is in the store, or the job was no refresh.
    pub fn into_refreshed(self) -> Result<(), JobFailure> {
        match self {
            Self::Served => Ok(()),
            Self::Uncommitted(why) => Err(JobFailure::new(
                ErrorKind::StoreUnavailable,
                format!("new tokens were received and saved to disk, but could not be stored yet: {why}"),
            )),
            Self::LoggedOut(_) => Err(JobFailure::unexpected()),
            Self::Failed(failure) => Err(failure),
        }
    }

    /// Returns the result of a logout.
    ///
    /// # Errors
    /// The login was not removed, or the job was no logout.
    pub fn into_logged_out(self) -> Result<LogoutReport, JobFailure> {
        match self {
            Self::LoggedOut(report) => Ok(report),
            Self::Failed(failure) => Err(failure),
            Self::Served | Self::Uncommitted(_) => Err(JobFailure::unexpected()),
        }
    }
}

impl Job {
    /// Returns a refresh for a caller that holds `snapshot`.
    #[must_use]
    pub fn refresh(reason: RefreshReason, snapshot: &Snapshot, policy: AccountPolicy) -> Self {
        Self::new(JobTask::Refresh { reason, base: CallerBase::of(snapshot) }, policy)
    }

    /// Returns a refresh that runs only if the stored login is stale and can be refreshed.
    #[must_use]
    pub fn freshen(policy: AccountPolicy) -> Self {
        Self::new(JobTask::Freshen, policy)
    }

    /// Returns a logout.
    #[must_use]
    pub fn logout(scope: LogoutScope) -> Self {
        Self::new(JobTask::Logout { scope }, AccountPolicy::Follow)
    }

    fn new(task: JobTask, policy: AccountPolicy) -> Self {
        Self { task, policy, keychain: KeychainAccess::of_this_process() }
    }

    /// Returns what it does.
    #[cfg(feature = "fleet")]
    pub(crate) fn task(&self) -> &JobTask {
        self.keychain.apply();
        &self.task
    }

    /// Runs the job on this thread. While another process holds the lease, `on_wait` is called before each further try
    /// and may end the wait; then nothing was changed.
    #[must_use]
    pub fn run(
        self,
        home: Home,
        environment: &Environment,
        on_wait: impl FnMut(&Waiting<'_>) -> ControlFlow<()>,
    ) -> JobOutcome {
        self.run_within(home, environment, &LockDeadline::after(environment.lock_timeout), on_wait)
    }

    /// Runs the job as [`Self::run`] does, with `deadline` for all locks. Cancelling `deadline` ends every wait, until
    /// a token is sent or Codex's commit locks are held.
    #[must_use]
    pub fn run_within(
        self,
        home: Home,
        environment: &Environment,
        deadline: &LockDeadline,
        mut on_wait: impl FnMut(&Waiting<'_>) -> ControlFlow<()>,
    ) -> JobOutcome {
        tracing::debug!(task = self.task.name(), policy = ?self.policy, "job: started");
        self.keychain.apply();
        let engine = Engine::new(home, environment.clone(), self.policy);
        let done = match self.task {
            JobTask::Freshen => freshen(&engine, deadline, &mut on_wait),
            JobTask::Refresh { reason, base } => refresh(&engine, reason, base, deadline, &mut on_wait),
            JobTask::Logout { scope } => {
                logout(&engine, scope, deadline, &mut on_wait).map(JobOutcome::LoggedOut)
            }
        };
        match &done {
            Ok(_) => tracing::debug!("job: done"),
            Err(error) => tracing::debug!(%error, "job: failed"),
        }
        done.unwrap_or_else(|error| JobOutcome::Failed(JobFailure::from(&error)))
    }
}

/// Runs a job on the calling thread, as [`Job::run_within`] does: what a process does with the jobs of its parent.
pub type JobHandler = fn(Job, Home, &Environment, &LockDeadline, &mut WaitHook<'_>) -> JobOutcome;

/// Runs a job for a home that is in no fleet.
pub(super) fn run_alone(
    job: Job,
    home: Home,
    environment: &Environment,
    deadline: &LockDeadline,
    on_wait: &mut WaitHook<'_>,
) -> JobOutcome {
    job.run_within(home, environment, deadline, on_wait)
}

/// Called before each further try for the lease; it may end the wait.
pub type WaitHook<'a> = dyn FnMut(&Waiting<'_>) -> ControlFlow<()> + 'a;

fn freshen(
    engine: &Engine,
    deadline: &LockDeadline,
    on_wait: &mut WaitHook<'_>,
) -> Result<JobOutcome, Error> {
    let snapshot = engine.load()?;
    if is_due(&snapshot, engine.clock.now()) {
        return refresh(engine, RefreshReason::Stale, CallerBase::of(&snapshot), deadline, on_wait);
    }
    Ok(JobOutcome::Served)
}

fn refresh(
    engine: &Engine,
    reason: RefreshReason,
    base: CallerBase,
    deadline: &LockDeadline,
    on_wait: &mut WaitHook<'_>,
) -> Result<JobOutcome, Error> {
    let snapshot = Transaction { engine, reason, base, deadline: deadline.clone() }.run(on_wait)?;
    Ok(match snapshot.divergence() {
        Some(Divergence::Uncommitted(error)) => JobOutcome::Uncommitted(error.to_string()),
        _ => JobOutcome::Served,
    })
}

/// Logs a home out. Succeeds also without a login. Locks: the lease, throughout.
///
/// In the file store, tokens are revoked and then the file is removed. In the keychain, the item is removed first,
/// because some services refuse removal without notice; its content is in the rescue meanwhile and is restored if the
/// revocation fails. `on_wait` may end the wait for the lease; later the logout is completed, by the next lease holder
/// if necessary.
///
/// # Errors
/// - [`Error::Interrupted`]: `on_wait` ended the wait; nothing was changed.
/// - [`Error::Authority`]: the revocation failed; with [`LogoutScope::Revoke`] nothing is removed, so it can be
///   retried.
/// - [`Error::Store`]: the lease cannot be acquired, or a copy could not be removed; nothing was revoked.
fn logout(
    engine: &Engine,
    scope: LogoutScope,
    deadline: &LockDeadline,
    on_wait: &mut WaitHook<'_>,
) -> Result<LogoutReport, Error> {
    // Acquiring the lease would create the folder.
    if engine.home.is_missing().map_err(store::Error::from)? {
        return Ok(LogoutReport::nothing());
    }
    let force_until = Instant::now() + FORCED_WAIT;
    let lease = match scope {
        LogoutScope::Force => {
            Lease::acquire_or_skip_locks(&engine.home, deadline.at_most(FORCED_WAIT), on_wait)
        }
        _ => Lease::acquire_with(&engine.home, deadline, on_wait),
    };
    let lease = lease.map_err(|error| not_removable(engine, error))?;
    let LeaseOutcome::Held(lease) = lease else { return Err(Error::Interrupted) };
    tracing::debug!(?scope, "logout: the lease is held");
    let stores = Stores::open_for_logout(engine.home.clone(), &engine.environment, engine.keychain.clone())?;
    let mut writer = stores.writer(&lease)?;
    let mut report = LogoutReport::nothing();
    report.notes.extend(stores.config_error().map(|error| format!("{error}; the file was ignored")));
    match scope {
        LogoutScope::Revoke => {
            let is_interrupted = writer.state().logging_out.is_some();
            engine::recover(engine, &mut writer)?;
            if is_interrupted {
                report.add_revocation(LogoutRevocation::Revoked);
            }
        }
        // The rescue of a killed process is revoked instead of completed, which could take too long.
        _ => end_rescue(engine, &mut writer, scope, &mut report),
    }
    let before = writer.stores().find_readable().ok().and_then(|found| found.stored);
    let token = before.and_then(|stored| stored.document.logout_fingerprint());
    let mut removal = LoginRemoval { engine, writer: &mut writer, scope, force_until };
    if scope == LogoutScope::Revoke && !removal.check_all(&mut report) {
        return Ok(report);
    }
    for kind in removal.in_order() {
        tracing::debug!(store = %kind, "logout: removing the login");
        removal.remove_from(kind, &mut report)?;
    }
    record_logout(engine, &writer, token, &report);
    report.legacy_token_removed = match writer.remove_legacy_token() {
        Ok(before) => before == LegacyToken::Present,
        Err(error) => {
            report.notes.push(error.to_string());
            false
        }
    };
    let all_removed = report.failed.is_empty();
    if let Some(path) = writer.stores().encrypted_login()? {
        report.add_encrypted(path);
    }
    if all_removed {
        clear(&mut writer, scope, &mut report)?;
    }
    report.notes.extend(writer.take_notes().iter().map(ToString::to_string));
    Ok(report)
}

/// Records a logout that removed something.
fn record_logout(engine: &Engine, writer: &Writer<'_>, token: Option<Fingerprint>, report: &LogoutReport) {
    if report.removed.is_empty() {
        return;
    }
    let result = match report.revocations {
        LogoutRevocation::Revoked => LogoutResult::Revoked,
        LogoutRevocation::NotNeeded => LogoutResult::NotNeeded,
        LogoutRevocation::NotTried => LogoutResult::NotTried,
        LogoutRevocation::Failed(_) => LogoutResult::Failed,
    };
    if result == LogoutResult::Revoked {
        engine.record(writer, HistoryEvent::Revoked { token, why: RevocationCause::Logout });
    }
    engine.record(writer, HistoryEvent::Logout { token, result });
}

/// Returns the error of a logout that cannot change the home: an export is mounted read-only.
fn not_removable(engine: &Engine, error: store::Error) -> Error {
    let is_handed_in = |snapshot: Snapshot| snapshot.document().is_some_and(AuthDocument::is_handed_in);
    match engine.load().is_ok_and(is_handed_in) {
        true => Error::NotRemovableHere(Arc::new(error)),
        false => error.into(),
    }
}

/// Revokes the tokens of the rescue; [`clear`] removes it.
fn end_rescue(engine: &Engine, writer: &mut Writer<'_>, scope: LogoutScope, report: &mut LogoutReport) {
    match writer.read_rescue() {
        Ok(None) => {}
        Ok(Some(_)) if scope == LogoutScope::Local => report.add_revocation(LogoutRevocation::NotTried),
        Ok(Some(rescue)) => report.add_revocation(match engine::revoke_unfinished(engine, &rescue) {
            Ok(()) => LogoutRevocation::Revoked,
            Err(error) => LogoutRevocation::Failed(error.to_string()),
        }),
        Err(error) => report.add_revocation(LogoutRevocation::Failed(error.to_string())),
    }
}

/// Removes sealing key, rescue and state of the removed login, and what it set in `config.toml`.
fn clear(writer: &mut Writer<'_>, scope: LogoutScope, report: &mut LogoutReport) -> Result<(), Error> {
    if writer.uses_keychain() {
        // The next login creates another key.
        let _ = writer.remove_sealing_key();
    }
    match writer.undo_selection() {
        Ok(change) => report.setting = change.map(|change| change.to_string()),
        Err(error) => report.notes.push(error.to_string()),
    }
    match writer.clear_rescue().and_then(|()| writer.record(HomeState::forget_login)) {
        Err(error) if scope != LogoutScope::Force => Err(error.into()),
        _ => Ok(()),
    }
}
