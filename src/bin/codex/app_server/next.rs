//! The app-server of the next `codex` on PATH, which gets every method that does not concern the account.
//!
//! It is started for the first such request. Request ids are translated in both directions. Codex's app-server reads
//! the login when it starts and does not watch it, so it is restarted when another login is stored; renewed tokens of
//! the same login it picks up itself.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use codex_auth_platform::hardening;
use codex_auth_platform::process;
use codex_auth_platform::sync::lock;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::account::{AccountView, Accounts};
use super::client::Client;
use super::lines::{self, InputLine, LineLimit};
use super::message::{Message, RequestId, RpcError, RpcErrorCode, error_response, with_id, with_value};
use super::protocol::{ACCOUNT_UPDATED, LOGIN_COMPLETED, LOGIN_START, SESSION_SWITCH};
use super::queue::{Receiver, SendError, Sender, queue};
use crate::hand_over;
use crate::output::plain;

/// The longest line in either direction while it runs: lines can contain images.
pub(super) const LONGEST_LINE: usize = 64 * 1024 * 1024;
/// The forwarded methods after which it uses another login than before.
const CHANGES: [&str; 2] = [LOGIN_START, SESSION_SWITCH];
/// How long it may take to exit after its input is closed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// The next app-server: at most one run of it at a time.
pub(super) struct NextServer {
    arguments: Vec<OsString>,
    client: Arc<Client>,
    accounts: Arc<Accounts>,
    running: Mutex<Option<Arc<RunningServer>>>,
    /// The limit of lines from the client, which rises when it starts.
    limit: LineLimit,
}

/// One run of the next app-server.
struct RunningServer {
    number: u64,
    process: u32,
    input: Mutex<Option<Sender<Vec<u8>>>>,
    /// The requests without a response, by the id it was given.
    pending: Mutex<HashMap<u64, Forwarded>>,
    /// The account that it uses.
    view: Mutex<AccountView>,
    /// The number of logins that it completes and announces.
    announced_logins: AtomicUsize,
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

/// A request without a response.
struct Forwarded {
    /// The client's id; `None` for a request of this server.
    id: Option<RequestId>,
    changes_login: bool,
}

/// A line for the client.
struct Translated {
    /// `None` if the client must not get it.
    line: Option<Vec<u8>>,
    /// Whether the next app-server has changed the login, as the client asked.
    changed_login: bool,
}

impl NextServer {
    pub(super) fn new(
        arguments: Vec<OsString>,
        client: Arc<Client>,
        accounts: Arc<Accounts>,
        limit: LineLimit,
    ) -> Self {
        Self { arguments, client, accounts, running: Mutex::default(), limit }
    }

    /// Forwards the client's request `id`. A new app-server gets the lines `opening` first.
    ///
    /// # Errors
    /// There is no next app-server, it cannot be started, or it does not read.
    pub(super) fn request(
        self: &Arc<Self>,
        line: &[u8],
        id: RequestId,
        method: &str,
        view: &AccountView,
        opening: &[Vec<u8>],
    ) -> Result<(), RpcError> {
        let running = match self.up_to_date(view) {
            Some(running) => running,
            None => self.start(method, view, opening)?,
        };
        let ours = self.client.next_id();
        let Some(line) = with_id(line, &RequestId::number(ours)) else {
            return Err(RpcError::invalid("Invalid request"));
        };
        let changes_login = CHANGES.contains(&method);
        if method == LOGIN_START {
            running.announced_logins.fetch_add(1, Ordering::Relaxed);
        }
        lock(&running.pending).insert(ours, Forwarded { id: Some(id), changes_login });
        running.send(line).map_err(|error| {
            lock(&running.pending).remove(&ours);
            not_sent(error)
        })
    }

    /// Whether it is running.
    pub(super) fn is_running(&self) -> bool {
        self.current().is_some()
    }

    /// Forwards a notification, if it is running.
    pub(super) fn notify(&self, line: &[u8]) {
        if let Some(running) = self.current() {
            let _ = running.send(line.to_vec());
        }
    }

    /// Sends a request of this server, whose response is ignored, and records `view` as its account, if it is running.
    pub(super) fn send_internal(&self, line: &[u8], view: &AccountView) {
        if let Some(running) = self.current() {
            let ours = self.client.next_id();
            if let Some(line) = with_id(line, &RequestId::number(ours)) {
                lock(&running.pending).insert(ours, Forwarded { id: None, changes_login: false });
                *lock(&running.view) = view.clone();
                let _ = running.send(line);
            }
        }
    }

    /// Forwards the client's response to the request `id` of that run.
    pub(super) fn respond(&self, run: u64, id: &RequestId, line: &[u8]) {
        if let Some(running) = self.current().filter(|running| running.number == run)
            && let Some(line) = with_id(line, id)
        {
            let _ = running.send(line);
        }
    }

    /// Stops it and waits until it has exited, for [`EXIT_TIMEOUT`] at most.
    pub(super) async fn end(&self) {
        let running = lock(&self.running).take();
        if let Some(running) = running {
            running.end().await;
        }
    }

    fn current(&self) -> Option<Arc<RunningServer>> {
        lock(&self.running).clone()
    }

    /// Returns the current run. One that was started with another login and is idle is stopped instead.
    fn up_to_date(&self, view: &AccountView) -> Option<Arc<RunningServer>> {
        let mut current = lock(&self.running);
        let running = current.as_ref()?;
        let stays = lock(&running.view).is_same_login(view) || !lock(&running.pending).is_empty();
        if stays {
            return Some(Arc::clone(running));
        }
        tracing::info!("the login was replaced; restarting the next app-server");
        let running = current.take()?;
        self.client.forget(running.number);
        tokio::spawn(async move { running.end().await });
        None
    }

    fn start(
        self: &Arc<Self>,
        method: &str,
        view: &AccountView,
        opening: &[Vec<u8>],
    ) -> Result<Arc<RunningServer>, RpcError> {
        let mut command = hand_over::next_as_child().ok_or_else(|| no_next_server(method))?;
        let program = command.get_program().to_owned();
        let failed = |error: io::Error| {
            RpcError::internal(format!("cannot start the app-server of {}: {error}", program.display()))
        };
        command.arg("app-server").args(&self.arguments);
        let (running, output) =
            RunningServer::start(&mut command, self.client.next_id(), view).map_err(failed)?;
        let running = Arc::new(running);
        for line in opening {
            let ours = self.client.next_id();
            // A notification has no id.
            let line = match with_id(line, &RequestId::number(ours)) {
                Some(line) => {
                    lock(&running.pending).insert(ours, Forwarded { id: None, changes_login: false });
                    line
                }
                None => line.clone(),
            };
            running.send(line).map_err(not_sent)?;
        }
        *lock(&self.running) = Some(Arc::clone(&running));
        self.limit.set(LONGEST_LINE);
        tokio::spawn(Arc::clone(self).forward_output(Arc::clone(&running), output));
        Ok(running)
    }

    /// Forwards its output until it ends, then responds to its pending requests with an error.
    async fn forward_output(self: Arc<Self>, running: Arc<RunningServer>, mut output: Receiver<InputLine>) {
        while let Some(line) = output.recv().await {
            let InputLine::Whole(line) = line else { continue };
            let Translated { line, changed_login } = self.translated(&running, line);
            if changed_login {
                self.accounts.adopt_change().await;
                *lock(&running.view) = self.accounts.view();
            }
            if let Some(line) = line {
                self.client.send(line).await;
            }
        }
        {
            let mut current = lock(&self.running);
            if current.as_ref().is_some_and(|current| current.number == running.number) {
                *current = None;
            }
        }
        *lock(&running.input) = None;
        self.client.forget(running.number);
        let unanswered: Vec<_> =
            lock(&running.pending).drain().filter_map(|(_, forwarded)| forwarded.id).collect();
        for id in unanswered {
            self.client.send(error_response(Some(&id), &ended())).await;
        }
    }

    /// Translates a line of its output for the client.
    fn translated(&self, running: &RunningServer, line: Vec<u8>) -> Translated {
        let (line, changed_login) = match Message::read(&line) {
            Ok(Message::Response { id, outcome }) => {
                let forwarded = id.as_number().and_then(|id| lock(&running.pending).remove(&id));
                let changes_login = forwarded.as_ref().is_some_and(|forwarded| forwarded.changes_login);
                let id = forwarded.and_then(|forwarded| forwarded.id);
                (id.and_then(|id| with_id(&line, &id)), changes_login && outcome.is_ok())
            }
            Ok(Message::Request { id, .. }) => {
                (with_id(&line, &self.client.begin_forwarding(running.number, id)), false)
            }
            Ok(Message::Notification { method, params }) => match &*method {
                // This server sends these itself, except for a login that only the next one knows.
                ACCOUNT_UPDATED => (None, false),
                LOGIN_COMPLETED if running.announces(params) => (Some(line), true),
                LOGIN_COMPLETED => (None, false),
                "serverRequest/resolved" => {
                    (Some(self.resolved(running, &line, params).unwrap_or(line)), false)
                }
                _ => (Some(line), false),
            },
            // Forwarded unchanged: the client may understand it.
            Err(_) => (Some(line), false),
        };
        Translated { line, changed_login }
    }

    /// Translates the id in a notification that a request of it was resolved.
    fn resolved(&self, running: &RunningServer, line: &[u8], params: Option<&RawValue>) -> Option<Vec<u8>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct ResolvedRequest<'a> {
            #[serde(borrow)]
            request_id: &'a RawValue,
        }
        let resolved: ResolvedRequest<'_> = serde_json::from_str(params?.get()).ok()?;
        let theirs = RequestId::of(resolved.request_id)?;
        let ours = self.client.forwarded_id(running.number, &theirs)?;
        with_value(line, resolved.request_id, ours.as_json())
    }
}

impl RunningServer {
    fn start(
        command: &mut Command,
        number: u64,
        view: &AccountView,
    ) -> io::Result<(Self, Receiver<InputLine>)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child =
            hardening::restore_inherited_settings(process::start_in_new_group(command)).spawn()?;
        let process = child.id();
        let (input, lines_in) = queue();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (alive, ended) = oneshot::channel();
        reap(child, alive)?;
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        lines::write(stdin, lines_in)?;
        let output = lines::read("codex next", BufReader::new(stdout), LineLimit::new(LONGEST_LINE))?;
        let running = Self {
            number,
            process,
            input: Mutex::new(Some(input)),
            pending: Mutex::default(),
            view: Mutex::new(view.clone()),
            announced_logins: AtomicUsize::default(),
            ended: Mutex::new(Some(ended)),
        };
        Ok((running, output))
    }

    /// Whether a notification that a login was completed concerns a login that was forwarded. Those of the tokens that
    /// this server passes on have no id.
    fn announces(&self, params: Option<&RawValue>) -> bool {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct CompletedLogin<'a> {
            login_id: Option<Cow<'a, str>>,
        }
        let completed =
            params.and_then(|params| serde_json::from_str::<CompletedLogin<'_>>(params.get()).ok());
        let has_id = completed.is_some_and(|completed| completed.login_id.is_some());
        let one_less = |logins: usize| logins.checked_sub(1);
        let forwarded =
            self.announced_logins.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok();
        forwarded || has_id
    }

    /// Queues a line for it; fails if the queue is full because it does not read.
    fn send(&self, line: Vec<u8>) -> Result<(), SendError> {
        let bytes = line.len();
        let sent = lock(&self.input).as_ref().ok_or(SendError::Closed)?.try_send(line, bytes);
        if sent == Err(SendError::Full) {
            tracing::warn!(
                process = self.process,
                "the next app-server does not read its input; a line to it was dropped"
            );
        }
        sent
    }

    /// Closes its input, which makes it exit, and kills its process group after [`EXIT_TIMEOUT`].
    async fn end(&self) {
        *lock(&self.input) = None;
        let ended = lock(&self.ended).take();
        if let Some(ended) = ended
            && tokio::time::timeout(EXIT_TIMEOUT, ended).await.is_err()
        {
            let _ = process::kill_group(self.process);
        }
    }
}

/// Reaps the process when it exits; drops `alive` just before.
fn reap(mut child: Child, alive: oneshot::Sender<()>) -> io::Result<()> {
    let work = move || {
        let _ = process::wait_for_exit(child.id());
        // After `wait` another process may have the same id.
        drop(alive);
        let _ = child.wait();
    };
    std::thread::Builder::new().name("codex next ends".to_owned()).spawn(work).map(drop)
}

/// The error for a method that cannot be forwarded.
fn no_next_server(method: &str) -> RpcError {
    if method == LOGIN_START {
        let known = "`apiKey`, `chatgpt`, `chatgptDeviceCode`, `chatgptAuthTokens`";
        return RpcError::invalid(format!("Invalid request: unknown type of login, expected one of {known}"));
    }
    let method = plain(method);
    let message =
        format!("{method} is not an account method, and no other codex was found on PATH to forward it to");
    RpcError { code: RpcErrorCode::MethodNotFound, message }
}

fn not_sent(error: SendError) -> RpcError {
    match error {
        SendError::Closed => ended(),
        SendError::Full => {
            RpcError::internal("the app-server of the next codex does not read its input; try again")
        }
    }
}

fn ended() -> RpcError {
    RpcError::internal("the app-server of the next codex has exited; the next request starts it again")
}
