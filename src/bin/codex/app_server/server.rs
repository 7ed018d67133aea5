//! The server: routes the client's lines to the account methods or the next app-server, and reports account changes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use codex_auth::config::Overrides;
use codex_auth::manager::KnownToken;
use codex_auth_platform::sync::lock;
use http::HeaderValue;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::account::{AccountView, Accounts, UpdateReason};
use super::client::Client;
use super::lines::{InputLine, LineLimit, Outbox};
use super::logins::Logins;
use super::message::{Message, RequestId, RpcError, RpcErrorCode, error_response, response};
use super::next::NextServer;
use super::protocol::{
    ACCOUNT_READ, ACCOUNT_UPDATED, AUTH_STATUS, CODEX_VERSION, INITIALIZE, INITIALIZED, Initialize,
    Initialized, LOGIN_CANCEL, LOGIN_COMPLETED, LOGIN_START, LOGOUT, LoginCompleted, LoginStart, TURN_START,
    parameters,
};
use super::queue::{Receiver, Sender, queue};
use super::turns::{TurnKind, Turns};
use crate::context::CommandContext;
use crate::located;
use crate::next_codex;
use crate::next_version;
use crate::output::{Output, path_text};

/// The longest line that is read while no next app-server runs, in bytes.
pub(super) const LONGEST_LINE: usize = 1024 * 1024;

/// One conversation with a client.
pub(super) struct Server {
    pub(super) session: CommandContext,
    pub(super) accounts: Arc<Accounts>,
    pub(super) client: Arc<Client>,
    pub(super) next: Arc<NextServer>,
    pub(super) logins: Logins,
    /// The account that was last reported to the client. Locked while a notification is sent, and never during another
    /// wait.
    pub(super) reported: tokio::sync::Mutex<AccountView>,
    /// The number of running requests and logins that report their own changes.
    holds: watch::Sender<usize>,
    pub(super) handshake: Handshake,
}

/// The client's lines that every new next app-server gets first.
#[derive(Default)]
pub(super) struct Handshake {
    initialize: OnceLock<Vec<u8>>,
    initialized: AtomicBool,
    pub(super) handed_in: Mutex<Option<Vec<u8>>>,
}

/// A request that waits for its turn.
pub(super) struct Turn {
    pub(super) line: Vec<u8>,
    pub(super) id: RequestId,
    pub(super) method: String,
    /// The token that the client knew when it sent the request.
    pub(super) known: KnownToken,
}

/// The queues of requests to the account methods and to the next app-server. Each is processed in order.
pub(super) struct RequestQueues {
    accounts: Sender<Turn>,
    next: Sender<Turn>,
}

impl Server {
    pub(super) fn new(
        session: CommandContext,
        accounts: Accounts,
        outbox: Outbox,
        limit: LineLimit,
        arguments: Vec<std::ffi::OsString>,
    ) -> Arc<Self> {
        let client = Arc::new(Client::new(outbox));
        let accounts = Arc::new(accounts);
        let next = NextServer::new(arguments, Arc::clone(&client), Arc::clone(&accounts), limit);
        let next = Arc::new(next);
        Arc::new(Self {
            session,
            accounts,
            client,
            next,
            logins: Logins::default(),
            reported: tokio::sync::Mutex::default(),
            holds: watch::Sender::new(0),
            handshake: Handshake::default(),
        })
    }

    /// Starts the tasks that process the queues. They end when the queues are dropped and empty.
    pub(super) fn start(self: &Arc<Self>) -> (RequestQueues, [tokio::task::JoinHandle<()>; 2]) {
        let (accounts, mut requests) = queue::<Turn>();
        let server = Arc::clone(self);
        let answering = tokio::spawn(async move {
            let mut turns = Turns::default();
            while let Some(turn) = requests.recv().await {
                let server = Arc::clone(&server);
                turns.begin(kind(&turn.method), async move { server.answer_account(&turn).await }).await;
            }
            turns.finish().await;
        });
        let (next, forwarded) = queue();
        let forwarding = tokio::spawn(Arc::clone(self).forward(forwarded));
        (RequestQueues { accounts, next }, [answering, forwarding])
    }

    /// Reports changes of the login by other processes to the client.
    pub(super) async fn follow(self: Arc<Self>) {
        let stored = self.accounts.stored().clone();
        let mut snapshots = stored.subscribe();
        // Starting the watch takes some milliseconds, which must not delay responses.
        let watching = tokio::task::spawn_blocking(move || stored.watch()).await;
        let reconciling = async {
            let Ok(watching) = &watching else { return std::future::pending().await };
            let (home, environment) = (self.session.home().clone(), self.session.environment.clone());
            located::keep_reconciled(home, environment, watching.reads(), Output::of_process()).await;
        };
        let reporting = async {
            self.report_changes().await;
            while snapshots.changed().await.is_ok() {
                snapshots.mark_unchanged();
                self.report_changes().await;
            }
        };
        tokio::select! {
            () = reporting => {}
            () = reconciling => {}
        }
    }

    /// Cancels the logins and stops the next app-server.
    pub(super) async fn end(&self) {
        tokio::join!(self.logins.end(), self.next.end());
    }

    /// Handles a line of the client.
    pub(super) async fn handle(self: &Arc<Self>, line: InputLine, queues: &RequestQueues) {
        let InputLine::Whole(line) = line else {
            let message = format!("the line is longer than {} KiB", LONGEST_LINE / 1024);
            let error = RpcError { code: RpcErrorCode::Parse, message };
            return self.client.send(error_response(None, &error)).await;
        };
        let (id, method, params) = match Message::read(&line) {
            Err(malformed) => {
                let error = RpcError { code: malformed.code, message: malformed.problem.to_owned() };
                return self.client.send(error_response(malformed.id.as_ref(), &error)).await;
            }
            Ok(Message::Response { id, outcome }) => {
                if let Some((run, id)) = self.client.take_response(&id, outcome) {
                    self.next.respond(run, &id, &line);
                }
                return;
            }
            Ok(Message::Notification { method, .. }) if method == INITIALIZED => {
                return self.handshake.initialized.store(true, Ordering::Relaxed);
            }
            Ok(Message::Notification { .. }) => return self.next.notify(&line),
            Ok(Message::Request { id, method, params }) => (id, method, params),
        };
        if method == INITIALIZE {
            let outcome = self.initialize(&line, params).await;
            self.client.send(response(&id, &outcome)).await;
            if outcome.is_ok() {
                tokio::spawn(Arc::clone(self).announce_workspace());
            }
            return;
        }
        if !self.client.is_initialized() {
            let error = RpcError::invalid("Not initialized");
            return self.client.send(error_response(Some(&id), &error)).await;
        }
        let queue = if concerns_account(&method, params) { &queues.accounts } else { &queues.next };
        let (bytes, method) = (line.len(), method.into_owned());
        // The receivers outlive this call: their tasks end after the queues are dropped.
        let _ = queue.send(Turn { line, id, method, known: self.accounts.known() }, bytes).await;
    }

    async fn initialize(&self, line: &[u8], params: Option<&RawValue>) -> Result<Value, RpcError> {
        let Initialize { client_info, capabilities } = parameters(params)?;
        if HeaderValue::from_str(&client_info.name).is_err() {
            let name = &client_info.name;
            let message = format!("Invalid clientInfo.name: '{name}'. Must be a valid HTTP header value.");
            return Err(RpcError::invalid(message));
        }
        let codex = tokio::task::spawn_blocking(next_codex_version).await.unwrap_or_default();
        let user_agent = format!(
            "{name}/{codex} ({os}; {arch}) codex-auth/{ours} ({name}; {version})",
            name = client_info.name,
            version = client_info.version,
            os = std::env::consts::OS,
            arch = std::env::consts::ARCH,
            codex = codex.as_deref().unwrap_or(CODEX_VERSION),
            ours = env!("CARGO_PKG_VERSION"),
        );
        // No notification is sent before this: the client starts with the current account.
        *self.reported.lock().await = self.accounts.view();
        if !self.client.initialize(client_info, capabilities.unwrap_or_default()) {
            return Err(RpcError::invalid("Already initialized"));
        }
        let _ = self.handshake.initialize.set(line.to_vec());
        let codex_home = path_text(self.session.home().path());
        let initialized = Initialized {
            user_agent,
            codex_home,
            platform_family: std::env::consts::FAMILY,
            platform_os: std::env::consts::OS,
        };
        Ok(json!(initialized))
    }

    /// Looks up the workspace of the login that is there at the start, and notifies the client of it, as Codex does.
    async fn announce_workspace(self: Arc<Self>) {
        {
            let _hold = self.hold_notifications();
            self.accounts.refresh_if_stale().await;
            self.report_unrequested(&mut *self.reported.lock().await).await;
        }
        let before = self.accounts.view();
        let found = self.accounts.discover().await;
        let mut reported = self.reported.lock().await;
        let view = self.accounts.view();
        if found && (before.is_same_login(&view) || before.is_named_by(&view)) {
            self.report(&mut reported, UpdateReason::WorkspaceReady).await;
        }
    }

    pub(super) async fn notify_completed(&self, login_id: Option<&str>, error: Option<&str>) {
        let success = error.is_none();
        let completed = LoginCompleted { login_id, success, error, onboarding_entrypoint: None };
        self.client.notify(LOGIN_COMPLETED, completed).await;
    }

    /// Waits until no request or login holds notifications back, then reports the account if it has changed.
    async fn report_changes(&self) {
        let mut holds = self.holds.subscribe();
        loop {
            // The sender lives as long as `self`.
            let _ = holds.wait_for(|holds| *holds == 0).await;
            let mut reported = self.reported.lock().await;
            if *self.holds.borrow() > 0 {
                continue;
            }
            let view = self.accounts.view();
            if *reported != view && !reported.is_named_by(&view) {
                self.report_account(&mut reported).await;
            }
            return;
        }
    }

    /// Holds notifications of account changes back until the guard is dropped, for a request or login that changes or
    /// refreshes the login and reports that itself.
    pub(super) fn hold_notifications(&self) -> NotificationHold<'_> {
        self.holds.send_modify(|holds| *holds += 1);
        NotificationHold(&self.holds)
    }

    /// Sends the current account to the client, even if it is unchanged.
    pub(super) async fn report_account(&self, reported: &mut AccountView) {
        self.report(reported, UpdateReason::Change).await;
    }

    async fn report(&self, reported: &mut AccountView, reason: UpdateReason) {
        *reported = self.accounts.view();
        self.client.notify(ACCOUNT_UPDATED, reported.parameters(reason)).await;
    }

    /// Reports the account after a request that may have refreshed it, if it changed by more than that refresh.
    pub(super) async fn report_unrequested(&self, reported: &mut AccountView) {
        let view = self.accounts.view();
        if view.is_same_login(reported) && !view.is_healed_since(reported) {
            *reported = view;
        } else {
            self.report_account(reported).await;
        }
    }

    /// Forwards requests to the next app-server in order. A stale login is refreshed before one is started, so that it
    /// does not refresh at the same time as other processes.
    async fn forward(self: Arc<Self>, mut turns: Receiver<Turn>) {
        while let Some(Turn { line, id, method, .. }) = turns.recv().await {
            match self.next.is_running() {
                true => {
                    self.accounts.stored().catch_up().await;
                    if method == TURN_START {
                        self.accounts.refresh_before_turn().await;
                    }
                }
                false => self.accounts.refresh_before_start().await,
            }
            let view = self.accounts.view();
            if let Err(error) = self.next.request(&line, id.clone(), &method, &view, &self.opening_lines()) {
                self.client.send(error_response(Some(&id), &error)).await;
            }
        }
    }

    fn opening_lines(&self) -> Vec<Vec<u8>> {
        let initialized = self.handshake.initialized.load(Ordering::Relaxed);
        let mut lines: Vec<_> = self.handshake.initialize.get().cloned().into_iter().collect();
        lines.extend(initialized.then(|| json!({"method": INITIALIZED}).to_string().into_bytes()));
        lines.extend(lock(&self.handshake.handed_in).clone());
        lines
    }
}

/// See [`Server::hold_notifications`].
pub(super) struct NotificationHold<'a>(&'a watch::Sender<usize>);

impl Drop for NotificationHold<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|holds| *holds -= 1);
    }
}

/// What an account request does to the login. A cancellation counts as a read: it must not wait for the change it ends.
fn kind(method: &str) -> TurnKind {
    match method {
        LOGIN_START | LOGOUT => TurnKind::Change,
        _ => TurnKind::Read,
    }
}

/// Whether this server handles a request. Types of login that only the next Codex knows are forwarded.
fn concerns_account(method: &str, params: Option<&RawValue>) -> bool {
    match method {
        ACCOUNT_READ | AUTH_STATUS | LOGIN_CANCEL | LOGOUT => true,
        LOGIN_START => !matches!(parameters(params), Ok(LoginStart::Other)),
        _ => false,
    }
}

/// The version of the next Codex, to which most requests go.
fn next_codex_version() -> Option<String> {
    let (_, version) = next_codex::with_version()?;
    next_version::number(&version?).map(str::to_owned)
}

/// The `-c` arguments with which the next app-server gets `overrides`.
pub(crate) fn arguments_of(overrides: &Overrides) -> Vec<String> {
    overrides.to_string().lines().flat_map(|line| ["-c".to_owned(), line.to_owned()]).collect()
}
