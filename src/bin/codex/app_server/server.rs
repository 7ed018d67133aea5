//! The server: who answers which line, in which order, and who is told of what.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use codex_auth::config::Overrides;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::account::{AccountView, Accounts, KnownToken};
use super::client::Client;
use super::lines::{InputLine, LineLimit, Outbox};
use super::logins::Logins;
use super::message::{Message, RequestId, RpcError, RpcErrorCode, answer, error};
use super::next::NextServer;
use super::protocol::{
    ACCOUNT_READ, ACCOUNT_UPDATED, AUTH_STATUS, CODEX_VERSION, INITIALIZE, INITIALIZED, Initialize,
    Initialized, LOGIN_CANCEL, LOGIN_COMPLETED, LOGIN_START, LOGOUT, LoginCompleted, LoginStart, parameters,
};
use super::queue::{Receiver, Sender, queue};
use super::turns::{TurnKind, Turns};
use crate::context::CommandContext;
use crate::error::CommandError;
use crate::output::path_text;

/// The longest line that is answered by us, in bytes.
pub(super) const LONGEST_LINE: usize = 1024 * 1024;

/// One conversation with a client.
pub(super) struct Server {
    pub(super) session: CommandContext,
    pub(super) accounts: Accounts,
    pub(super) client: Arc<Client>,
    pub(super) next: Arc<NextServer>,
    pub(super) logins: Logins,
    /// The account as the client knows it. Locked while the client is notified, and never during another wait.
    pub(super) told: tokio::sync::Mutex<AccountView>,
    /// How many requests and logins are under way that tell the client of what they change themselves.
    telling: watch::Sender<usize>,
    /// What a next app-server is greeted with: how the client has introduced itself, and what it has handed in.
    pub(super) greeting: Greeting,
}

/// How a next app-server is greeted.
#[derive(Default)]
pub(super) struct Greeting {
    initialize: OnceLock<Vec<u8>>,
    initialized: AtomicBool,
    pub(super) handed_in: Mutex<Option<Vec<u8>>>,
}

/// A line that is to be answered in its turn.
pub(super) struct Turn {
    pub(super) line: Vec<u8>,
    pub(super) id: RequestId,
    pub(super) method: String,
    /// The token that the client knew when it sent the line.
    pub(super) known: KnownToken,
}

/// Where lines wait for those who answer them; each answers in the order of the lines.
pub(super) struct Workers {
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
        let next = Arc::new(NextServer::new(arguments, Arc::clone(&client), limit));
        Arc::new(Self {
            session,
            accounts,
            client,
            next,
            logins: Logins::default(),
            told: tokio::sync::Mutex::default(),
            telling: watch::Sender::new(0),
            greeting: Greeting::default(),
        })
    }

    /// Begins to answer. The tasks end when the desks are dropped and everything on them is answered.
    pub(super) fn open(self: &Arc<Self>) -> (Workers, [tokio::task::JoinHandle<()>; 2]) {
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
        (Workers { accounts, next }, [answering, forwarding])
    }

    /// Follows what other processes do to the login, and tells the client.
    pub(super) async fn follow(self: Arc<Self>) {
        let stored = self.accounts.stored().clone();
        let mut news = stored.subscribe();
        // To begin with it takes the system some milliseconds, in which nobody need wait for an answer.
        let _watching = tokio::task::spawn_blocking(move || stored.watch()).await;
        self.announce().await;
        while news.changed().await.is_ok() {
            news.mark_unchanged();
            self.announce().await;
        }
    }

    /// Ends what is going on besides.
    pub(super) async fn end(&self) {
        tokio::join!(self.logins.end(), self.next.end());
    }

    /// Takes a line of the client's.
    pub(super) async fn take(&self, line: InputLine, desks: &Workers) {
        let InputLine::Whole(line) = line else {
            let message = format!("the line is longer than {} KiB", LONGEST_LINE / 1024);
            return self.client.send(error(None, &RpcError { code: RpcErrorCode::Parse, message })).await;
        };
        let (id, method, params) = match Message::read(&line) {
            Err(malformed) => {
                let refusal = RpcError { code: malformed.code, message: malformed.problem.to_owned() };
                return self.client.send(error(malformed.id.as_ref(), &refusal)).await;
            }
            Ok(Message::Answer { id, outcome }) => {
                if let Some((run, id)) = self.client.answered(&id, outcome) {
                    self.next.answer(run, &id, &line);
                }
                return;
            }
            Ok(Message::Notification { method, .. }) if method == INITIALIZED => {
                return self.greeting.initialized.store(true, Ordering::Relaxed);
            }
            Ok(Message::Notification { .. }) => return self.next.tell(&line),
            Ok(Message::Request { id, method, params }) => (id, method, params),
        };
        if method == INITIALIZE {
            let outcome = self.initialize(&line, params).await;
            return self.client.send(answer(&id, &outcome)).await;
        }
        if !self.client.is_introduced() {
            let refusal = RpcError::invalid("Not initialized");
            return self.client.send(error(Some(&id), &refusal)).await;
        }
        let desk = if concerns_account(&method, params) { &desks.accounts } else { &desks.next };
        let (bytes, method) = (line.len(), method.into_owned());
        // The desks are there for as long as lines are taken.
        let _ = desk.send(Turn { line, id, method, known: self.accounts.known() }, bytes).await;
    }

    async fn initialize(&self, line: &[u8], params: Option<&RawValue>) -> Result<Value, RpcError> {
        let Initialize { client_info, capabilities } = parameters(params)?;
        let user_agent = format!(
            "{name}/{CODEX_VERSION} ({os}; {arch}) codex-auth/{ours} ({name}; {version})",
            name = client_info.name,
            version = client_info.version,
            os = std::env::consts::OS,
            arch = std::env::consts::ARCH,
            ours = env!("CARGO_PKG_VERSION"),
        );
        // Before the client is introduced nobody tells it anything, so that what it knows is what is there now.
        *self.told.lock().await = self.accounts.view();
        if !self.client.introduce(client_info, capabilities.unwrap_or_default()) {
            return Err(RpcError::invalid("Already initialized"));
        }
        let _ = self.greeting.initialize.set(line.to_vec());
        let codex_home = path_text(self.session.home().path());
        let initialized = Initialized {
            user_agent,
            codex_home,
            platform_family: std::env::consts::FAMILY,
            platform_os: std::env::consts::OS,
        };
        Ok(json!(initialized))
    }

    pub(super) async fn completed(&self, login_id: Option<&str>, error: Option<&str>) {
        let success = error.is_none();
        let completed = LoginCompleted { login_id, success, error, onboarding_entrypoint: None };
        self.client.notify(LOGIN_COMPLETED, completed).await;
    }

    /// Tells the client of its account if it is not what the client knows, and if nothing that is under way does.
    async fn announce(&self) {
        let mut telling = self.telling.subscribe();
        loop {
            // The sender lives as long as `self`.
            let _ = telling.wait_for(|under_way| *under_way == 0).await;
            let mut told = self.told.lock().await;
            if *self.telling.borrow() > 0 {
                continue;
            }
            if *told != self.accounts.view() {
                self.tell(&mut told).await;
            }
            return;
        }
    }

    /// Suspends notifications of account changes until the guard is dropped: the caller changes or refreshes the login for
    /// the client, and notifies it of that itself.
    pub(super) fn begin_telling(&self) -> Notifications<'_> {
        self.telling.send_modify(|under_way| *under_way += 1);
        Notifications(&self.telling)
    }

    /// Tells the client of its account, whatever it knows.
    pub(super) async fn tell(&self, told: &mut AccountView) {
        *told = self.accounts.view();
        self.client.notify(ACCOUNT_UPDATED, told.parameters()).await;
    }

    /// After an answer that the client draws its own conclusions from: what it has not asked for it is told.
    pub(super) async fn wait_for_workers(&self, told: &mut AccountView) {
        let view = self.accounts.view();
        if view.is_same_login(told) && !view.is_healed_since(told) {
            *told = view;
        } else {
            self.tell(told).await;
        }
    }

    /// Passes requests on to the next app-server, in their order. A stale login is refreshed before one is started, so
    /// that it does not refresh by itself at the same time as others.
    async fn forward(self: Arc<Self>, mut turns: Receiver<Turn>) {
        while let Some(Turn { line, id, method, .. }) = turns.recv().await {
            if !self.next.is_running() {
                self.accounts.freshen_in_time().await;
            }
            let view = self.accounts.view();
            if let Err(refusal) = self.next.request(&line, id.clone(), &method, &view, &self.opening()) {
                self.client.send(error(Some(&id), &refusal)).await;
            }
        }
    }

    fn opening(&self) -> Vec<Vec<u8>> {
        let initialized = self.greeting.initialized.load(Ordering::Relaxed);
        let mut lines: Vec<_> = self.greeting.initialize.get().cloned().into_iter().collect();
        lines.extend(initialized.then(|| json!({"method": INITIALIZED}).to_string().into_bytes()));
        lines.extend(lock(&self.greeting.handed_in).clone());
        lines
    }
}

/// See [`Server::begin_telling`].
pub(super) struct Notifications<'a>(&'a watch::Sender<usize>);

impl Drop for Notifications<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|under_way| *under_way -= 1);
    }
}

/// What an account request does to the login. A cancellation ends a change, and must not wait for it.
fn kind(method: &str) -> TurnKind {
    match method {
        LOGIN_START | LOGOUT => TurnKind::Change,
        _ => TurnKind::Look,
    }
}

/// Whether a request is ours to answer. Ways to log in that only the next Codex knows are not.
fn concerns_account(method: &str, params: Option<&RawValue>) -> bool {
    match method {
        ACCOUNT_READ | AUTH_STATUS | LOGIN_CANCEL | LOGOUT => true,
        LOGIN_START => !matches!(parameters(params), Ok(LoginStart::Other)),
        _ => false,
    }
}

/// What `-c` sets for the login, as arguments of the next app-server.
pub(super) fn arguments_of(overrides: &Overrides) -> Vec<String> {
    overrides.to_string().lines().flat_map(|line| ["-c".to_owned(), line.to_owned()]).collect()
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why the server cannot begin.
pub(super) fn cannot_start(error: &std::io::Error) -> CommandError {
    CommandError::new(crate::error::Exit::Failed, format!("cannot start: {error}"))
}
