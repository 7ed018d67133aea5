//! Logins that the client starts: one at a time, stored as `codex login` stores them.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use codex_auth::config::{Config, ForbiddenLogin, LoginMethod};
use codex_auth::login::{
    self, BrowserLogin, BrowserMessage, DeviceLogin, LoginSetup, OldLoginPolicy, PendingExchanges,
    PendingLogin, StoreReport, credential_from_input, supersede,
};
use codex_auth::store::{LeaseOutcome, Waiting};
use codex_auth::{AuthDocument, Lease, Secret, Stores, manager};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::message::RpcError;
use super::server::Server;
use crate::context::CommandContext;
use crate::error::CommandError;

/// The error of a cancelled login.
const NOT_COMPLETED: &str = "Login was not completed";

/// Prefixes of the errors of a browser and a device login.
const BROWSER: &str = "Login server error: ";
const DEVICE: &str = "";

/// The login that is running, if one is, and cancelled ones whose tokens are still to be revoked.
#[derive(Default)]
pub(super) struct Logins {
    active: Mutex<Option<ActiveLogin>>,
    exchanges: PendingExchanges,
}

/// A login that waits for a person to complete it.
pub(super) struct ActiveLogin {
    id: String,
    cancellation: CancelRequest,
    cancel: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// The result of a login by a person, and the browser that shows whether it was stored.
pub(super) struct ObtainedLogin {
    setup: LoginSetup,
    outcome: Result<PendingLogin, String>,
    browser: Option<BrowserLogin>,
    cancellation: CancelRequest,
    prefix: &'static str,
}

/// Decides between the cancellation and the commit of a login: the first to be requested wins.
#[derive(Clone, Default)]
struct CancelRequest(Arc<OnceLock<Decision>>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Decision {
    Cancel,
    Commit,
}

impl CancelRequest {
    /// Requests a cancellation. Returns `false` if the commit has begun.
    fn request(&self) -> bool {
        *self.0.get_or_init(|| Decision::Cancel) == Decision::Cancel
    }

    fn is_requested(&self) -> bool {
        self.0.get() == Some(&Decision::Cancel)
    }

    /// Begins the commit. Returns `false` if the login was cancelled.
    fn begin_commit(&self) -> bool {
        *self.0.get_or_init(|| Decision::Commit) == Decision::Commit
    }
}

impl ActiveLogin {
    /// Cancels it, notifies the client, and waits until its task has ended.
    pub(super) async fn cancel(self) {
        self.cancellation.request();
        let _ = self.cancel.send(());
        let _ = self.task.await;
    }
}

impl Logins {
    /// Removes and returns the login with this id, unless it has ended or its commit has begun.
    ///
    /// # Errors
    /// The id is not a UUID.
    pub(super) fn take_cancellable(&self, id: &str) -> Result<Option<ActiveLogin>, RpcError> {
        if !is_uuid(id) {
            return Err(RpcError::invalid(format!("invalid login id: {}", crate::output::plain(id))));
        }
        let mut active = self.lock();
        let can_be_cancelled = |active: &mut ActiveLogin| {
            active.id.eq_ignore_ascii_case(id) && !active.task.is_finished() && active.cancellation.request()
        };
        Ok(active.take_if(can_be_cancelled))
    }

    /// Cancels the running login, and waits until the tokens of all cancelled logins are revoked.
    pub(super) async fn end(&self) {
        self.cancel_all().await;
        if let Err(error) = self.exchanges.finish().await {
            tracing::warn!(%error, "the tokens of a cancelled login may still be valid");
        }
    }

    /// Cancels the running login, if there is one.
    pub(super) async fn cancel_all(&self) {
        let active = self.lock().take();
        if let Some(active) = active {
            active.cancel().await;
        }
    }

    /// Stores an API key as the login.
    pub(super) async fn store_api_key(&self, session: &CommandContext, key: &Secret) -> Result<(), RpcError> {
        let key = credential_from_input(key.expose().as_bytes())
            .map_err(|error| RpcError::invalid(format!("the API key cannot be used: {error}")))?;
        config(session)?
            .restrictions
            .permit_method(LoginMethod::Api)
            .map_err(|_| RpcError::invalid("API key login is disabled. Use ChatGPT login instead."))?;
        let login = AuthDocument::with_api_key(&key).into();
        let stored = commit(session, login, CancelRequest::default()).await;
        stored.map(drop).map_err(|error| RpcError::internal(format!("failed to save the API key: {error}")))
    }

    /// Checks that the configuration permits tokens of this workspace.
    pub(super) fn permit_handed_in(
        &self,
        session: &CommandContext,
        account_id: &str,
    ) -> Result<(), ForbiddenLogin> {
        // A `config.toml` that cannot be read counts as it was when the server started.
        let config = config(session).unwrap_or_else(|_| session.stores.settings().config.clone());
        config.restrictions.permit_method(LoginMethod::ChatGpt)?;
        config.restrictions.permit_workspace(Some(account_id))
    }

    /// Starts a browser login, cancelling a running login.
    pub(super) async fn start_browser(&self, server: &Arc<Server>) -> Result<Value, RpcError> {
        let setup = self.prepare(server).await?;
        let mut login = BrowserLogin::start(&setup, server.session.home())
            .await
            .map_err(|error| start_failed("failed to start login server", &error))?;
        let url = login.authorize_url().to_owned();
        let cancellation = CancelRequest::default();
        let id = self.begin(server, BROWSER, cancellation.clone(), async move {
            let outcome = login.obtain().await.map_err(|error| error.to_string());
            ObtainedLogin { setup, outcome, browser: Some(login), cancellation, prefix: BROWSER }
        })?;
        Ok(json!({"type": "chatgpt", "loginId": id, "authUrl": url}))
    }

    /// Starts a device-code login, cancelling a running login.
    pub(super) async fn start_device(&self, server: &Arc<Server>) -> Result<Value, RpcError> {
        let setup = self.prepare(server).await?;
        let mut login = DeviceLogin::start(&setup)
            .await
            .map_err(|error| start_failed("failed to request device code", &error))?;
        let (url, code) = (login.verification_url().to_owned(), login.user_code().to_owned());
        let cancellation = CancelRequest::default();
        let id = self.begin(server, DEVICE, cancellation.clone(), async move {
            let outcome = login.obtain().await.map_err(|error| error.to_string());
            ObtainedLogin { setup, outcome, browser: None, cancellation, prefix: DEVICE }
        })?;
        Ok(json!({"type": "chatgptDeviceCode", "loginId": id, "verificationUrl": url, "userCode": code}))
    }

    async fn prepare(&self, server: &Arc<Server>) -> Result<LoginSetup, RpcError> {
        let config = config(&server.session)?;
        config
            .restrictions
            .permit_method(LoginMethod::ChatGpt)
            .map_err(|_| RpcError::invalid("ChatGPT login is disabled. Use API key login instead."))?;
        self.cancel_all().await;
        let setup = LoginSetup::new(&server.session.environment, &config).map_err(RpcError::internal)?;
        Ok(setup.with_exchanges(self.exchanges.clone()))
    }

    /// Spawns a task that runs `obtain` and finishes the login. Returns the id of the login.
    fn begin(
        &self,
        server: &Arc<Server>,
        prefix: &'static str,
        cancellation: CancelRequest,
        obtain: impl Future<Output = ObtainedLogin> + Send + 'static,
    ) -> Result<String, RpcError> {
        let id = uuid().map_err(RpcError::internal)?;
        let (cancel, cancelled) = oneshot::channel();
        let (server, login_id) = (Arc::clone(server), id.clone());
        let task = tokio::spawn(async move {
            let obtained = tokio::select! {
                biased;
                Ok(()) = cancelled => None,
                obtained = obtain => Some(obtained),
            };
            match obtained {
                None => {
                    server.notify_completed(Some(&login_id), Some(&format!("{prefix}{NOT_COMPLETED}"))).await
                }
                Some(ObtainedLogin { outcome: Err(why), .. }) => {
                    server.notify_completed(Some(&login_id), Some(&format!("{prefix}{why}"))).await;
                }
                Some(obtained) => server.finish_login(&login_id, obtained).await,
            }
        });
        *self.lock() = Some(ActiveLogin { id: id.clone(), cancellation, cancel, task });
        Ok(id)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<ActiveLogin>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ObtainedLogin {
    /// Stores it, shows the result in the browser, and in the background revokes the tokens of the login that it
    /// replaced.
    pub(super) async fn commit(self, session: &CommandContext) -> Result<(), String> {
        let Self { setup, outcome, browser, cancellation, prefix } = self;
        let login = outcome?;
        let document = login.document().clone();
        match commit(session, login, cancellation).await {
            Ok(Some(stored)) => {
                tokio::spawn(async move {
                    let announced = async {
                        if let Some(browser) = browser {
                            browser.announce(BrowserMessage::LoggedIn).await;
                        }
                    };
                    tokio::join!(announced, supersede(&setup, OldLoginPolicy::default(), &stored, &document));
                });
                Ok(())
            }
            Ok(None) => Err(format!("{prefix}{NOT_COMPLETED}")),
            Err(error) => {
                let why = error.to_string();
                if let Some(browser) = browser {
                    browser.announce(BrowserMessage::NotStored(&why)).await;
                }
                Err(why)
            }
        }
    }
}

/// Reads `config.toml` again.
fn config(session: &CommandContext) -> Result<Config, RpcError> {
    let stores = Stores::open(session.home().clone(), &session.environment).map_err(RpcError::internal)?;
    Ok(stores.settings().config.clone())
}

/// Stores `login` under the lease. Returns `None` if it is cancelled before the lease is acquired.
async fn commit(
    session: &CommandContext,
    login: PendingLogin,
    cancellation: CancelRequest,
) -> Result<Option<StoreReport>, CommandError> {
    let (home, environment) = (session.home().clone(), session.environment.clone());
    let work = move || -> Result<Option<StoreReport>, CommandError> {
        let stores = Stores::open(home, &environment)?;
        let choice = stores.choose(None)?;
        let unless_cancelled = |_: &Waiting<'_>| match cancellation.is_requested() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        match Lease::acquire_with(stores.home(), environment.lock_timeout, unless_cancelled)? {
            LeaseOutcome::Held(lease) if cancellation.begin_commit() => {
                // A rescue that cannot be completed must not prevent a new login.
                let _ = manager::finish_rescue(&lease, &environment);
                Ok(Some(login.commit(&mut stores.writer(&lease)?, &choice)?))
            }
            LeaseOutcome::Held(_) | LeaseOutcome::Stopped(()) => Ok(None),
        }
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(CommandError::new(crate::error::Exit::Failed, format!("the login could not be stored: {error}")))
    })
}

fn start_failed(what: &str, error: &login::Error) -> RpcError {
    match error {
        login::Error::DeviceNotEnabled { .. } => RpcError::invalid(error.to_string()),
        error => RpcError::internal(format!("{what}: {error}")),
    }
}

/// A random UUID, version 4.
fn uuid() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

fn is_uuid(text: &str) -> bool {
    let groups = text.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    groups && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_cancellation_and_commit_wins() {
        let cancelled = CancelRequest::default();
        assert!(!cancelled.is_requested() && cancelled.request() && cancelled.request());
        assert!(cancelled.is_requested() && !cancelled.begin_commit());
        let committed = CancelRequest::default();
        assert!(committed.begin_commit() && !committed.request() && !committed.is_requested());
    }

    #[test]
    fn uuids_are_random_and_anything_else_is_rejected() {
        let (one, other) = (uuid().unwrap(), uuid().unwrap());
        assert!(is_uuid(&one) && is_uuid(&other) && one != other, "{one} {other}");
        assert_eq!(&one[14..15], "4");
        for wrong in
            ["", "nope", "123e4567-e89b-12d3-a456-42661417400", "123e4567-e89b-12d3-a456-42661417400g"]
        {
            assert!(!is_uuid(wrong), "{wrong}");
        }
    }
}
