//! The next `codex`'s app-server, for every method that does not concern an account: started when it is first needed, with
//! ids of its own on both sides, and replaced when somebody else has logged in.
//!
//! It reads the login when it starts and does not follow it (`codex-blackbox.md` 0), so that one which was started for
//! another login, or for none, would go on without the new one. Tokens of the same login it finds by itself.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use codex_auth_platform::hardening;
use codex_auth_platform::process::{self, StopSignal};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::account::AccountView;
use super::client::Client;
use super::lines::{self, InputLine, LineLimit};
use super::message::{Message, RequestId, RpcError, RpcErrorCode, error, with_id, with_value};
use super::protocol::{ACCOUNT_UPDATED, LOGIN_COMPLETED, LOGIN_START};
use super::queue::{Receiver, SendError, Sender, queue};
use crate::hand_over;
use crate::output::plain;

/// The longest line in either direction, once there is somebody to pass it on to. Pictures travel in lines.
pub(super) const LONGEST_LINE: usize = 64 * 1024 * 1024;
/// How long it may take to end when it is told to.
const FAREWELL: Duration = Duration::from_secs(5);

/// Where methods go that are not ours.
pub(super) struct NextServer {
    arguments: Vec<OsString>,
    client: Arc<Client>,
    running: Mutex<Option<Arc<RunningServer>>>,
    /// Of lines from the client.
    limit: LineLimit,
}

/// One run of the next app-server.
struct RunningServer {
    number: u64,
    process: u32,
    input: Mutex<Option<Sender<Vec<u8>>>>,
    /// What it has not answered yet: our id, and the client's. Our own questions have none.
    pending: Mutex<HashMap<u64, Option<RequestId>>>,
    /// Whose login it was started with.
    view: Mutex<AccountView>,
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

impl NextServer {
    pub(super) fn new(arguments: Vec<OsString>, client: Arc<Client>, limit: LineLimit) -> Self {
        Self { arguments, client, running: Mutex::default(), limit }
    }

    /// Passes the request `id` of the client on. `opening` are the lines that a new one is greeted with.
    ///
    /// # Errors
    /// There is no next app-server, or it cannot be started.
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
        lock(&running.pending).insert(ours, Some(id));
        running.send(line).map_err(|why| {
            lock(&running.pending).remove(&ours);
            refused(why)
        })
    }

    /// Whether there is one already.
    pub(super) fn is_running(&self) -> bool {
        self.current().is_some()
    }

    /// Passes on what wants no answer; where nobody is there yet, nobody missed it.
    pub(super) fn tell(&self, line: &[u8]) {
        if let Some(running) = self.current() {
            let _ = running.send(line.to_vec());
        }
    }

    /// Asks it something of our own, whose answer does not matter, and has it count as started with `view`.
    pub(super) fn inform(&self, line: &[u8], view: &AccountView) {
        if let Some(running) = self.current() {
            let ours = self.client.next_id();
            if let Some(line) = with_id(line, &RequestId::number(ours)) {
                lock(&running.pending).insert(ours, None);
                *lock(&running.view) = view.clone();
                let _ = running.send(line);
            }
        }
    }

    /// Passes on the client's answer to the question `id` of that run.
    pub(super) fn answer(&self, run: u64, id: &RequestId, line: &[u8]) {
        if let Some(running) = self.current().filter(|running| running.number == run)
            && let Some(line) = with_id(line, id)
        {
            let _ = running.send(line);
        }
    }

    /// Ends it, and waits a while for that.
    pub(super) async fn end(&self) {
        let running = lock(&self.running).take();
        if let Some(running) = running {
            running.end().await;
        }
    }

    fn current(&self) -> Option<Arc<RunningServer>> {
        lock(&self.running).clone()
    }

    /// The one that runs, unless it was started for another login and has nothing to do.
    fn up_to_date(&self, view: &AccountView) -> Option<Arc<RunningServer>> {
        let mut current = lock(&self.running);
        let running = current.as_ref()?;
        let stays = lock(&running.view).is_same_login(view) || !lock(&running.pending).is_empty();
        if stays {
            return Some(Arc::clone(running));
        }
        tracing::info!("the login is another one; the next app-server is started anew");
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
        let mut command = hand_over::next_as_child().ok_or_else(|| nobody(method))?;
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
            // What has no id is a notification.
            let line = match with_id(line, &RequestId::number(ours)) {
                Some(line) => {
                    lock(&running.pending).insert(ours, None);
                    line
                }
                None => line.clone(),
            };
            running.send(line).map_err(refused)?;
        }
        *lock(&self.running) = Some(Arc::clone(&running));
        self.limit.set(LONGEST_LINE);
        tokio::spawn(Arc::clone(self).listen(Arc::clone(&running), output));
        Ok(running)
    }

    /// Passes on what it says until it ends, and then answers for it what it has left unanswered.
    async fn listen(self: Arc<Self>, running: Arc<RunningServer>, mut output: Receiver<InputLine>) {
        while let Some(line) = output.recv().await {
            if let InputLine::Whole(line) = line
                && let Some(line) = self.translated(&running, line)
            {
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
        let unanswered: Vec<_> = lock(&running.pending).drain().filter_map(|(_, id)| id).collect();
        for id in unanswered {
            self.client.send(error(Some(&id), &gone())).await;
        }
    }

    /// A line of it as the client is to read it; nothing where it is not for the client.
    fn translated(&self, running: &RunningServer, line: Vec<u8>) -> Option<Vec<u8>> {
        match Message::read(&line) {
            Ok(Message::Answer { id, .. }) => {
                let id = lock(&running.pending).remove(&id.as_number()?)??;
                with_id(&line, &id)
            }
            Ok(Message::Request { id, .. }) => with_id(&line, &self.client.pass_on(running.number, id)),
            Ok(Message::Notification { method, params }) => match &*method {
                // The account is ours to tell of.
                ACCOUNT_UPDATED | LOGIN_COMPLETED => None,
                "serverRequest/resolved" => Some(self.resolved(running, &line, params).unwrap_or(line)),
                _ => Some(line),
            },
            // Not ours to judge.
            Err(_) => Some(line),
        }
    }

    /// A notification that a question of it is settled, by the id that the client knows the question by.
    fn resolved(&self, running: &RunningServer, line: &[u8], params: Option<&RawValue>) -> Option<Vec<u8>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct ResolvedProgram<'a> {
            #[serde(borrow)]
            request_id: &'a RawValue,
        }
        let resolved: ResolvedProgram<'_> = serde_json::from_str(params?.get()).ok()?;
        let theirs = RequestId::of(resolved.request_id)?;
        let ours = self.client.passed_on_as(running.number, &theirs)?;
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
        let mut child = hardening::as_found(process::own_group(command)).spawn()?;
        let process = child.id();
        let (input, lines_in) = queue();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (tell, ended) = oneshot::channel();
        collect(child, tell)?;
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
            ended: Mutex::new(Some(ended)),
        };
        Ok((running, output))
    }

    /// Sends it a line, unless so much waits already that it does not seem to read.
    fn send(&self, line: Vec<u8>) -> Result<(), SendError> {
        let bytes = line.len();
        let sent = lock(&self.input).as_ref().ok_or(SendError::Closed)?.try_send(line, bytes);
        if sent == Err(SendError::Full) {
            tracing::warn!(
                process = self.process,
                "the next app-server does not read; a line to it is dropped"
            );
        }
        sent
    }

    /// Closes its input, which ends it, and what it has started with it if that takes too long.
    async fn end(&self) {
        *lock(&self.input) = None;
        let ended = lock(&self.ended).take();
        if let Some(ended) = ended
            && tokio::time::timeout(FAREWELL, ended).await.is_err()
        {
            let _ = process::end_group(self.process, StopSignal::Force);
        }
    }
}

/// Collects the process when it ends.
fn collect(mut child: Child, tell: oneshot::Sender<()>) -> io::Result<()> {
    let work = move || {
        let _ = process::await_end(child.id());
        // From here on its number may be another's.
        drop(tell);
        let _ = child.wait();
    };
    std::thread::Builder::new().name("codex next ends".to_owned()).spawn(work).map(drop)
}

/// What is answered where a method cannot go anywhere.
fn nobody(method: &str) -> RpcError {
    if method == LOGIN_START {
        let known = "`apiKey`, `chatgpt`, `chatgptDeviceCode`, `chatgptAuthTokens`";
        return RpcError::invalid(format!("Invalid request: unknown type of login, expected one of {known}"));
    }
    let method = plain(method);
    let message = format!("{method} is no account method, and no other codex is on PATH that it could go to");
    RpcError { code: RpcErrorCode::MethodNotFound, message }
}

fn refused(why: SendError) -> RpcError {
    match why {
        SendError::Closed => gone(),
        SendError::Full => {
            RpcError::internal("the app-server of the next codex does not read its requests; try again")
        }
    }
}

fn gone() -> RpcError {
    RpcError::internal("the app-server of the next codex has ended; the next request starts it again")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
