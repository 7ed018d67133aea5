//! The client of the server: its capabilities, the requests and notifications sent to it, and its responses.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use codex_auth::Timestamp;
use codex_auth_platform::sync::lock;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::lines::Outbox;
use super::message::{RequestId, request};
use super::protocol::{Capabilities, ClientInfo};

/// How many requests of the next app-server are remembered after the client has responded.
const REMEMBERED_REQUESTS: usize = 256;

/// A request to the client that it has not responded to.
enum PendingRequest {
    /// A request of this server.
    Own(oneshot::Sender<Result<Box<RawValue>, Box<RawValue>>>),
    /// A forwarded request of the next app-server, with the id that it gave and the number of its run.
    Forwarded { run: u64, id: RequestId },
}

/// The client on standard input and output.
pub(super) struct Client {
    outbox: Outbox,
    initialized: OnceLock<(ClientInfo, Capabilities)>,
    pending: Mutex<HashMap<u64, PendingRequest>>,
    /// The latest forwarded requests with a response: the next app-server may still notify that they are resolved.
    answered: Mutex<VecDeque<(u64, u64, RequestId)>>,
    last_id: AtomicU64,
}

/// Why a client returned no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoResponse {
    #[error("no response within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("it returned an error: {0}")]
    Error(String),
}

impl Client {
    pub(super) fn new(outbox: Outbox) -> Self {
        Self {
            outbox,
            initialized: OnceLock::new(),
            pending: Mutex::default(),
            answered: Mutex::default(),
            last_id: AtomicU64::new(0),
        }
    }

    /// Records what the client sent with `initialize`. Returns `false` if it had done so before.
    pub(super) fn initialize(&self, info: ClientInfo, capabilities: Capabilities) -> bool {
        self.initialized.set((info, capabilities)).is_ok()
    }

    pub(super) fn is_initialized(&self) -> bool {
        self.initialized.get().is_some()
    }

    /// The name that the client gave itself, once it has initialized.
    pub(super) fn name(&self) -> Option<&str> {
        self.initialized.get().map(|(info, _)| info.name.as_str())
    }

    pub(super) fn uses_experimental_api(&self) -> bool {
        self.initialized.get().is_some_and(|(_, capabilities)| capabilities.experimental_api)
    }

    /// Writes a line to the client.
    pub(super) async fn send(&self, line: Vec<u8>) {
        self.outbox.send(line).await;
    }

    /// Sends a notification, unless the client has not initialized yet or has opted out of this method.
    pub(super) async fn notify(&self, method: &str, params: impl Serialize) {
        let Some((_, capabilities)) = self.initialized.get() else { return };
        let unwanted = capabilities.opt_out_notification_methods.iter().flatten().any(|name| name == method);
        if !unwanted {
            let now = Timestamp::now().as_millisecond();
            let line = json!({"method": method, "params": params, "emittedAtMs": now});
            self.send(line.to_string().into_bytes()).await;
        }
    }

    /// Sends a request and waits for its result, for `limit` at most.
    pub(super) async fn call(
        &self,
        method: &str,
        params: &impl Serialize,
        limit: Duration,
    ) -> Result<Box<RawValue>, NoResponse> {
        let (sender, response) = oneshot::channel();
        let id = self.next_id();
        lock(&self.pending).insert(id, PendingRequest::Own(sender));
        let exchange = async {
            self.send(request(&RequestId::number(id), method, params)).await;
            response.await
        };
        let response = tokio::time::timeout(limit, exchange).await;
        lock(&self.pending).remove(&id);
        match response {
            Ok(Ok(Ok(result))) => Ok(result),
            Ok(Ok(Err(error))) => {
                let error: Value = serde_json::from_str(error.get()).unwrap_or_default();
                let message = error.get("message").and_then(Value::as_str).unwrap_or("no message");
                Err(NoResponse::Error(message.to_owned()))
            }
            Ok(Err(_)) | Err(_) => Err(NoResponse::TimedOut(limit)),
        }
    }

    /// Returns the id under which a request of the next app-server is forwarded to the client.
    pub(super) fn begin_forwarding(&self, run: u64, id: RequestId) -> RequestId {
        let ours = self.next_id();
        lock(&self.pending).insert(ours, PendingRequest::Forwarded { run, id });
        RequestId::number(ours)
    }

    /// The id under which a request of the next app-server was forwarded.
    pub(super) fn forwarded_id(&self, run: u64, id: &RequestId) -> Option<RequestId> {
        let open = lock(&self.pending).iter().find_map(|(ours, pending)| match pending {
            PendingRequest::Forwarded { run: theirs, id: known } if *theirs == run && known == id => {
                Some(*ours)
            }
            _ => None,
        });
        let answered = lock(&self.answered);
        let answered = answered.iter().find(|(_, theirs, known)| *theirs == run && known == id);
        open.or_else(|| answered.map(|(ours, ..)| *ours)).map(RequestId::number)
    }

    /// Forgets the requests of a run of the next app-server.
    pub(super) fn forget(&self, run: u64) {
        lock(&self.pending).retain(
            |_, pending| !matches!(pending, PendingRequest::Forwarded { run: theirs, .. } if *theirs == run),
        );
    }

    /// Handles a response of the client. Returns the run and the original id if the request came from the next
    /// app-server.
    pub(super) fn take_response(
        &self,
        id: &RequestId,
        outcome: Result<&RawValue, &RawValue>,
    ) -> Option<(u64, RequestId)> {
        let ours = id.as_number()?;
        let pending = lock(&self.pending).remove(&ours)?;
        match pending {
            PendingRequest::Own(sender) => {
                // The caller may have stopped waiting.
                let _ = sender.send(outcome.map(ToOwned::to_owned).map_err(ToOwned::to_owned));
                None
            }
            PendingRequest::Forwarded { run, id } => {
                let mut answered = lock(&self.answered);
                answered.truncate(REMEMBERED_REQUESTS - 1);
                answered.push_front((ours, run, id.clone()));
                Some((run, id))
            }
        }
    }

    /// A request id that was not used before.
    pub(super) fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }
}
