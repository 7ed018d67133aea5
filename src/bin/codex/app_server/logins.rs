//! Logins that the client starts: one at a time, stored as `codex login` stores them.

use std::io;
use std::sync::Mutex;

use codex_auth::config::{Config, ForbiddenLogin, LoginMethod};
use codex_auth::login::{
    self, BrowserLogin, BrowserMessage, CommittedLogin, DeviceLogin, LoginSession, PendingExchanges,
    PendingLogin,
};
use codex_auth::{AuthDocument, Secret, Stores, store};
use codex_auth_platform::sync::lock;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::message::RpcError;
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
    session: LoginSession,
    cancel: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// A login that a person approved, and the browser that shows whether it was stored.
pub(super) struct ObtainedLogin {
    session: LoginSession,
    login: PendingLogin,
    browser: Option<(BrowserLogin, BrowserMessage<'static>)>,
    prefix: &'static str,
}

impl ActiveLogin {
    /// Cancels it, notifies the client, and waits until its task has ended.
    pub(super) async fn cancel(self) {
        // A commit that has begun is completed.
        let _ = self.session.cancel();
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
        let mut active = lock(&self.active);
        let can_be_cancelled = |active: &mut ActiveLogin| {
            active.id.eq_ignore_ascii_case(id) && !active.task.is_finished() && active.session.cancel()
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
        let active = lock(&self.active).take();
        if let Some(active) = active {
            active.cancel().await;
        }
    }

    /// Stores an API key as the login.
    pub(super) async fn store_api_key(&self, context: &CommandContext, key: &Secret) -> Result<(), RpcError> {
        // As in Codex, it may be empty; the white space around it is left out.
        let key = Secret::from(key.expose().trim());
        let failed = |error: login::Error| match error {
            login::Error::Forbidden(_) => {
                RpcError::invalid("API key login is disabled. Use ChatGPT login instead.")
            }
            error => RpcError::internal(format!("failed to save the API key: {}", CommandError::from(error))),
        };
        let session = begin(context, LoginMethod::Api).await.map_err(failed)?;
        session.commit(AuthDocument::with_api_key(&key), |_| ()).await.map(drop).map_err(failed)
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

    /// Starts a browser login for the client `originator`, cancelling a running login. The browser shows `success`, and
    /// `on_end` gets the id and the outcome.
    pub(super) async fn start_browser<F: Future<Output = ()> + Send + 'static>(
        &self,
        context: &CommandContext,
        originator: &str,
        success: BrowserMessage<'static>,
        on_end: impl FnOnce(String, Result<ObtainedLogin, String>) -> F + Send + 'static,
    ) -> Result<Value, RpcError> {
        let session = self.prepare(context).await?.with_originator(originator);
        let mut browser = BrowserLogin::start(session.setup(), context.home())
            .await
            .map_err(|error| start_failed("failed to start login server", &error))?;
        let url = browser.authorize_url().to_owned();
        let cancellable = session.clone();
        let obtain = async move {
            let login = browser.obtain().await?;
            Ok(ObtainedLogin { session, login, browser: Some((browser, success)), prefix: BROWSER })
        };
        let id = self.begin(BROWSER, cancellable, obtain, on_end)?;
        Ok(json!({"type": "chatgpt", "loginId": id, "authUrl": url}))
    }

    /// Starts a device-code login, cancelling a running login. `on_end` gets its id and outcome.
    pub(super) async fn start_device<F: Future<Output = ()> + Send + 'static>(
        &self,
        context: &CommandContext,
        on_end: impl FnOnce(String, Result<ObtainedLogin, String>) -> F + Send + 'static,
    ) -> Result<Value, RpcError> {
        let session = self.prepare(context).await?;
        let mut device = DeviceLogin::start(session.setup())
            .await
            .map_err(|error| start_failed("failed to request device code", &error))?;
        let (url, code) = (device.verification_url().to_owned(), device.user_code().to_owned());
        let cancellable = session.clone();
        let obtain = async move {
            let login = device.obtain().await?;
            Ok(ObtainedLogin { session, login, browser: None, prefix: DEVICE })
        };
        let id = self.begin(DEVICE, cancellable, obtain, on_end)?;
        Ok(json!({"type": "chatgptDeviceCode", "loginId": id, "verificationUrl": url, "userCode": code}))
    }

    /// Checks that the user may log in and that the login can be stored, then cancels a running login.
    async fn prepare(&self, context: &CommandContext) -> Result<LoginSession, RpcError> {
        let session = begin(context, LoginMethod::ChatGpt).await.map_err(|error| match error {
            login::Error::Forbidden(_) => {
                RpcError::invalid("ChatGPT login is disabled. Use API key login instead.")
            }
            error => RpcError::internal(CommandError::from(error)),
        })?;
        self.cancel_all().await;
        Ok(session.with_exchanges(self.exchanges.clone()))
    }

    /// Spawns a task that runs `obtain` until it ends or is cancelled, and then `on_end`. Returns the id of the login.
    fn begin<F: Future<Output = ()> + Send + 'static>(
        &self,
        prefix: &'static str,
        session: LoginSession,
        obtain: impl Future<Output = Result<ObtainedLogin, login::Error>> + Send + 'static,
        on_end: impl FnOnce(String, Result<ObtainedLogin, String>) -> F + Send + 'static,
    ) -> Result<String, RpcError> {
        let id = uuid().map_err(RpcError::internal)?;
        let (cancel, cancelled) = oneshot::channel();
        let login_id = id.clone();
        let task = tokio::spawn(async move {
            let obtained = tokio::select! {
                biased;
                Ok(()) = cancelled => Err(format!("{prefix}{NOT_COMPLETED}")),
                obtained = obtain => obtained.map_err(|error| format!("{prefix}{error}")),
            };
            on_end(login_id, obtained).await;
        });
        *lock(&self.active) = Some(ActiveLogin { id: id.clone(), session, cancel, task });
        Ok(id)
    }
}

impl ObtainedLogin {
    /// Gets its tokens, stores it, shows the result in the browser, and in the background revokes the tokens of the login
    /// that it replaced.
    pub(super) async fn commit(self) -> Result<(), String> {
        let Self { session, login, browser, prefix } = self;
        match session.commit(login, |_| ()).await {
            Ok(committed) => {
                tokio::spawn(announce(committed, browser));
                Ok(())
            }
            Err(login::Error::Store(store::Error::Interrupted)) => Err(format!("{prefix}{NOT_COMPLETED}")),
            Err(error) => {
                let prefix = if matches!(error, login::Error::Store(_)) { "" } else { prefix };
                let why = CommandError::from(error).to_string();
                if let Some((browser, _)) = browser {
                    browser.announce(BrowserMessage::NotStored(&why)).await;
                }
                Err(format!("{prefix}{why}"))
            }
        }
    }
}

async fn announce(committed: CommittedLogin, browser: Option<(BrowserLogin, BrowserMessage<'static>)>) {
    let announcement = async {
        if let Some((browser, success)) = browser {
            browser.announce(success).await;
        }
    };
    committed.announce(announcement).await;
}

/// Reads `config.toml` again.
fn config(session: &CommandContext) -> Result<Config, RpcError> {
    let stores = Stores::open(session.home().clone(), &session.environment).map_err(RpcError::internal)?;
    Ok(stores.settings().config.clone())
}

/// Begins a login with `config.toml` as it is now.
async fn begin(context: &CommandContext, method: LoginMethod) -> Result<LoginSession, login::Error> {
    let (home, environment) = (context.home().clone(), context.environment.clone());
    let work = move || LoginSession::begin(&Stores::open(home, &environment)?, &environment, method, None);
    let begun = tokio::task::spawn_blocking(work).await;
    begun.unwrap_or_else(|error| Err(login::Error::Panicked(io::Error::other(error))))
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
