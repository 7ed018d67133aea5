//! The other end of the conversation: what it has said of itself, what it is told, and what it is asked.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use codex_auth::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::lines::Outbox;
use super::message::{RequestId, request};
use super::protocol::{Capabilities, ClientInfo};

/// How many answered questions of the next app-server are remembered.
const REMEMBERED: usize = 256;

/// What an answer of the client's is for.
enum PendingRequest {
    /// A question of ours.
    Ours(oneshot::Sender<Result<Box<RawValue>, Box<RawValue>>>),
    /// One that the next app-server has, with its own id and the number of its run.
    Theirs { run: u64, id: RequestId },
}

/// A client that is connected by standard input and output.
pub(super) struct Client {
    outbox: Outbox,
    introduced: OnceLock<(ClientInfo, Capabilities)>,
    asked: Mutex<HashMap<u64, PendingRequest>>,
    /// The latest questions of the next app-server that were answered: it may yet tell that they are settled.
    answered: Mutex<VecDeque<(u64, u64, RequestId)>>,
    last_id: AtomicU64,
}

/// Why a client did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoResponse {
    #[error("it did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("it refused: {0}")]
    Refused(String),
}

impl Client {
    pub(super) fn new(outbox: Outbox) -> Self {
        Self {
            outbox,
            introduced: OnceLock::new(),
            asked: Mutex::default(),
            answered: Mutex::default(),
            last_id: AtomicU64::new(0),
        }
    }

    /// Takes note of who it is; says whether that is new.
    pub(super) fn introduce(&self, info: ClientInfo, capabilities: Capabilities) -> bool {
        self.introduced.set((info, capabilities)).is_ok()
    }

    pub(super) fn is_introduced(&self) -> bool {
        self.introduced.get().is_some()
    }

    pub(super) fn uses_experimental_api(&self) -> bool {
        self.introduced.get().is_some_and(|(_, capabilities)| capabilities.experimental_api)
    }

    /// Writes a line to it.
    pub(super) async fn send(&self, line: Vec<u8>) {
        self.outbox.send(line).await;
    }

    /// Tells it something, unless it has not introduced itself or does not want to hear of it.
    pub(super) async fn notify(&self, method: &str, params: impl Serialize) {
        let Some((_, capabilities)) = self.introduced.get() else { return };
        let unwanted = capabilities.opt_out_notification_methods.iter().flatten().any(|name| name == method);
        if !unwanted {
            let now = Timestamp::now().as_millisecond();
            let line = json!({"method": method, "params": params, "emittedAtMs": now});
            self.send(line.to_string().into_bytes()).await;
        }
    }

    /// Asks it something, and waits for the answer.
    pub(super) async fn ask(
        &self,
        method: &str,
        params: &impl Serialize,
        limit: Duration,
    ) -> Result<Box<RawValue>, NoResponse> {
        let (tell, told) = oneshot::channel();
        let id = self.next_id();
        lock(&self.asked).insert(id, PendingRequest::Ours(tell));
        let asked = async {
            self.send(request(&RequestId::number(id), method, params)).await;
            told.await
        };
        let answer = tokio::time::timeout(limit, asked).await;
        lock(&self.asked).remove(&id);
        match answer {
            Ok(Ok(Ok(result))) => Ok(result),
            Ok(Ok(Err(error))) => {
                let error: Value = serde_json::from_str(error.get()).unwrap_or_default();
                let message = error.get("message").and_then(Value::as_str).unwrap_or("it does not say why");
                Err(NoResponse::Refused(message.to_owned()))
            }
            Ok(Err(_)) | Err(_) => Err(NoResponse::TimedOut(limit)),
        }
    }

    /// Gives a question of the next app-server an id of our own.
    pub(super) fn pass_on(&self, run: u64, id: RequestId) -> RequestId {
        let ours = self.next_id();
        lock(&self.asked).insert(ours, PendingRequest::Theirs { run, id });
        RequestId::number(ours)
    }

    /// The id that we gave a question of the next app-server's.
    pub(super) fn passed_on_as(&self, run: u64, id: &RequestId) -> Option<RequestId> {
        let open = lock(&self.asked).iter().find_map(|(ours, asked)| match asked {
            PendingRequest::Theirs { run: theirs, id: known } if *theirs == run && known == id => Some(*ours),
            _ => None,
        });
        let answered = lock(&self.answered);
        let answered = answered.iter().find(|(_, theirs, known)| *theirs == run && known == id);
        open.or_else(|| answered.map(|(ours, ..)| *ours)).map(RequestId::number)
    }

    /// Forgets the questions of a run of the next app-server.
    pub(super) fn forget(&self, run: u64) {
        lock(&self.asked).retain(
            |_, asked| !matches!(asked, PendingRequest::Theirs { run: theirs, .. } if *theirs == run),
        );
    }

    /// Takes an answer of the client's. One to the next app-server is given back, with its run and its own id.
    pub(super) fn answered(
        &self,
        id: &RequestId,
        outcome: Result<&RawValue, &RawValue>,
    ) -> Option<(u64, RequestId)> {
        let ours = id.as_number()?;
        let asked = lock(&self.asked).remove(&ours)?;
        match asked {
            PendingRequest::Ours(tell) => {
                // Whoever asked may not wait any more.
                let _ = tell.send(outcome.map(ToOwned::to_owned).map_err(ToOwned::to_owned));
                None
            }
            PendingRequest::Theirs { run, id } => {
                let mut answered = lock(&self.answered);
                answered.truncate(REMEMBERED - 1);
                answered.push_front((ours, run, id.clone()));
                Some((run, id))
            }
        }
    }

    /// An id that nobody has had.
    pub(super) fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
