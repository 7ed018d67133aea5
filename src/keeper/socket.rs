//! The keeper's HTTP/1.1 server on a Unix socket, for processes of the same user or of the user of an export.
//!
//! - `GET /v1/status` returns the status of keeper and login.
//! - `GET /v1/token` returns an access token. `min_ttl=SECONDS` is its minimum remaining lifetime; `wait=yes`
//!   refreshes it if necessary.
//!
//! The socket of an export serves the login of that export only.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use codex_auth_platform::filesystem::{self, FileId, Presence};
use codex_auth_platform::peer::{self, OtherListeners};
use codex_auth_platform::process::effective_uid;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::SignedDuration;
use serde::Serialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch::Receiver;

use super::client::Client;
use super::connections::{ConnectionActivity, Connections};
use super::export::Export;
use super::file_watch::FileWatch;
use super::query::{RefreshPermission, TokenQuery};
use super::response::{self, KeeperAccount, KeeperRefusal, KeeperStatus, SCHEMA};
use super::shared::KeeperShared;
use super::singleton::{Error, KeeperLock, LockCheck};
use crate::config::Environment;
use crate::manager::{
    self, Divergence, JobFailure, RefreshReason, Snapshot, SnapshotStatus, Unusable, Usability,
};
use crate::remedy::ErrorKind;

/// Maximum size of request line and headers; the minimum that hyper accepts.
const MAX_REQUEST_SIZE: usize = 8 * 1024;
/// Maximum time until the request has arrived.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum duration of a request, including a refresh.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(180);

/// The keeper's listening socket. Removed on drop, unless another socket has replaced it.
#[derive(Debug)]
pub struct KeeperSocket {
    path: PathBuf,
    /// `None` for the socket of this user's processes, which serves any login.
    export: Option<Arc<Export>>,
    bound: Option<BoundSocket>,
}

#[derive(Debug)]
struct BoundSocket {
    listener: std::os::unix::net::UnixListener,
    identity: Option<FileId>,
}

impl KeeperSocket {
    /// Listens at the socket path of the home whose keeper holds `lock`; `None`, with a warning in the log, if the path
    /// would be too long. Needs no runtime yet. A socket that cannot be bound now, or is removed later, is bound when that
    /// becomes possible.
    #[must_use]
    pub fn of(lock: &KeeperLock, environment: &Environment) -> Option<Self> {
        let Some(client) = Client::of(lock.home(), environment) else {
            tracing::warn!(
                "no socket: the path of the home is too long for one and XDG_RUNTIME_DIR is not set"
            );
            return None;
        };
        Some(Self::listening(client.path().to_owned(), None))
    }

    /// As [`Self::of`], for an export of that keeper.
    pub(super) fn of_export(_post: &KeeperLock, export: Export) -> Self {
        Self::listening(export.socket(), Some(Arc::new(export)))
    }

    fn listening(path: PathBuf, export: Option<Arc<Export>>) -> Self {
        let mut listener = Self { path, export, bound: None };
        listener.bind();
        listener
    }

    fn bind(&mut self) {
        let readers = self.export.as_ref().map(|export| export.readers()).unwrap_or_default();
        let bound = peer::bind_for(&self.path, &readers).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(BoundSocket { listener, identity: filesystem::identity(&self.path) })
        });
        match bound {
            Ok(bound) => {
                tracing::info!(path = %self.path.display(), "listening");
                self.bound = Some(bound);
            }
            Err(error) => tracing::warn!(%error, path = %self.path.display(), "cannot listen"),
        }
    }

    /// Serves requests until it is dropped, or until another keeper has the lock.
    pub(super) async fn answer(mut self, shared: Arc<KeeperShared>, reads: Receiver<u64>) -> Error {
        let mut connections = Connections::default();
        let users = self.export.as_ref().map_or_else(|| vec![effective_uid()], |export| export.users());
        let mut changes = FileWatch::of(vec![self.path.clone()], &shared.files);
        let mut listener = self.registered();
        loop {
            let change = async {
                match listener {
                    Some(_) => changes.next().await,
                    // It is bound as soon as that is possible.
                    None => changes.next_or_round().await,
                }
            };
            let stream = tokio::select! {
                stream = accept(listener.as_ref()) => stream,
                () = change => {
                    let now = filesystem::presence(&self.path);
                    let ours = self.bound.as_ref().and_then(|bound| bound.identity).map(Presence::Present);
                    if now == Presence::Unknown || Some(now) == ours {
                        continue;
                    }
                    // The folder of the home may have been replaced, or another keeper may listen here.
                    match shared.lock.check() {
                        Ok(LockCheck::Held) => {}
                        // The folder may come back; the keeper ends otherwise.
                        Ok(LockCheck::Missing { .. }) => continue,
                        Err(error) => return error,
                    }
                    if now == Presence::Absent || is_replaceable(&self.path) {
                        self.bind();
                        listener = self.registered();
                    }
                    continue;
                }
            };
            let permitted = |peer| peer::require_user(peer, &users).map(|()| peer);
            let peer = match peer::credentials(&stream).and_then(permitted) {
                Ok(peer) => peer,
                // Commands of this user check whether a keeper listens.
                Err(peer::Error::OtherUser { uid }) if uid == effective_uid() => continue,
                Err(error) => {
                    tracing::warn!(%error, "rejected a connection of another user");
                    continue;
                }
            };
            let answers =
                Answers { shared: Arc::clone(&shared), reads: reads.clone(), export: self.export.clone() };
            let served = connections.serve(peer, |activity| async move {
                let _ = tokio::time::timeout(REQUEST_TIMEOUT, serve(stream, answers, activity)).await;
            });
            if !served {
                tracing::warn!(pid = peer.pid, "rejected a connection: too many requests are running");
            }
        }
    }

    /// Registers the socket with the caller's runtime.
    fn registered(&self) -> Option<UnixListener> {
        let listener = self.bound.as_ref()?.listener.try_clone().and_then(UnixListener::from_std);
        listener
            .inspect_err(|error| tracing::error!(%error, "cannot serve requests at {}", self.path.display()))
            .ok()
    }
}

impl Drop for KeeperSocket {
    fn drop(&mut self) {
        // If the folder of the home was replaced, another keeper may listen there.
        let ours = self.bound.as_ref().and_then(|bound| bound.identity);
        if ours.is_some() && filesystem::identity(&self.path) == ours {
            let _ = peer::remove_socket(&self.path);
        }
    }
}

/// Accepts the next connection. Cancel-safe.
async fn accept(listener: Option<&UnixListener>) -> UnixStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                // Most likely out of file descriptors; other connections will free some.
                tokio::time::sleep(HEADER_TIMEOUT / 50).await;
            }
        }
    }
}

/// Whether `path` can be replaced by a socket: it is no directory, and connections to it are refused.
fn is_replaceable(path: &Path) -> bool {
    let connected = || peer::connect(path, OtherListeners::Refused);
    !path.is_dir() && connected().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

/// What the answers of a socket are made from.
#[derive(Clone)]
struct Answers {
    shared: Arc<KeeperShared>,
    reads: Receiver<u64>,
    export: Option<Arc<Export>>,
}

async fn serve(stream: UnixStream, answers: Answers, activity: ConnectionActivity) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        activity.record_request();
        let answers = answers.clone();
        async move { Ok::<_, Infallible>(answers.answer(&request).await) }
    });
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(MAX_REQUEST_SIZE);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

impl Answers {
    async fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET {
            return malformed("the method must be GET", StatusCode::METHOD_NOT_ALLOWED);
        }
        match request.uri().path() {
            "/v1/status" => {
                // The response must show the effect of every command that has exited.
                self.shared.manager.catch_up().await;
                json(StatusCode::OK, &self.status().await)
            }
            "/v1/token" => match TokenQuery::read(request.uri().query()) {
                Ok(query) => self.token(query).await,
                Err(problem) => malformed(problem, StatusCode::BAD_REQUEST),
            },
            #[cfg(feature = "fleet")]
            "/v1/fleet" if self.export.is_none() => self.take_part(request.uri().query()).await,
            _ => malformed("the paths are /v1/status and /v1/token", StatusCode::NOT_FOUND),
        }
    }

    /// Carries out the task of a command in the fleet of the home.
    #[cfg(feature = "fleet")]
    async fn take_part(&self, query: Option<&str>) -> Response<Full<Bytes>> {
        let query = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let task = query.into_iter().find(|(name, _)| name == "task");
        let Some(task) = task.and_then(|(_, task)| serde_json::from_str(&task).ok()) else {
            return malformed("the parameter is task=TASK", StatusCode::BAD_REQUEST);
        };
        let outcome = self.shared.member.perform(&self.shared.home, task).await;
        let _ = self.shared.manager.reload().await;
        match outcome {
            Ok(()) => json(StatusCode::OK, &serde_json::json!({"schema": SCHEMA})),
            Err(failure) => refused(&KeeperRefusal::Failed(failure), StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    async fn status(&self) -> KeeperStatus {
        let shared = &self.shared;
        let snapshot = shared.manager.current();
        let status = KeeperStatus {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            home: shared.home.path().to_string_lossy().into_owned(),
            account: None,
            reason: None,
            kind: None,
            busy: None,
            expires_at: None,
            next_refresh_at: None,
        };
        if let Some(failure) = self.other_login(&snapshot) {
            return KeeperStatus { reason: Some(failure.message), kind: Some(failure.kind), ..status };
        }
        let usability = shared.manager.usability(&snapshot).await;
        KeeperStatus {
            account: KeeperAccount::of(snapshot.document()),
            reason: usability.reason().map(ToString::to_string),
            kind: usability.reason().map(manager::Error::kind),
            busy: usability.busy(),
            expires_at: snapshot.expires_at(shared.clock.now()),
            next_refresh_at: shared.next_refresh(&snapshot),
            ..status
        }
    }

    async fn token(&self, mut query: TokenQuery) -> Response<Full<Bytes>> {
        let shared = &self.shared;
        shared.manager.catch_up().await;
        let mut snapshot = shared.manager.current();
        if self.export.is_some() {
            query.cap(&snapshot);
        }
        let forbidden = match snapshot.usability(shared.clock.now()) {
            Usability::Unusable(error @ manager::Error::Unusable(Unusable::Forbidden(_))) => {
                Some(JobFailure::from(&error))
            }
            _ => self.other_login(&snapshot),
        };
        if let Some(failure) = forbidden {
            return refused(&KeeperRefusal::Failed(failure), StatusCode::SERVICE_UNAVAILABLE);
        }
        if !self.serves(&snapshot, &query) && query.permission == RefreshPermission::Wait {
            let reason = query
                .min_ttl
                .map_or(RefreshReason::Stale, |min| RefreshReason::MinTtl(min.unsigned_abs().as_secs()));
            if let Err(failure) = shared.refresh(reason, snapshot).await
                && !self.is_valid(&shared.manager.current())
            {
                return refused(&KeeperRefusal::Failed(failure), StatusCode::SERVICE_UNAVAILABLE);
            }
            snapshot = shared.manager.current();
            // Another account may have logged in meanwhile.
            if let Some(failure) = self.other_login(&snapshot) {
                return refused(&KeeperRefusal::Failed(failure), StatusCode::SERVICE_UNAVAILABLE);
            }
        }
        let unseen = match snapshot.divergence() {
            Some(Divergence::Unreadable(error)) => Some(error.to_string()),
            _ if self.reads.has_changed().is_err() => Some("the file watcher stopped".to_owned()),
            _ => None,
        };
        if let Some(why) = unseen {
            return refused(&KeeperRefusal::Unreadable(why), StatusCode::SERVICE_UNAVAILABLE);
        }
        // After a refresh any valid token is returned; without one the caller can still refresh by itself.
        let enough = match query.permission {
            RefreshPermission::Wait => self.is_valid(&snapshot),
            RefreshPermission::None => self.serves(&snapshot, &query),
        };
        match snapshot.bearer().filter(|_| enough) {
            Some(bearer) => json(
                StatusCode::OK,
                &response::issued_token(&shared.home, &snapshot, bearer, shared.clock.now()),
            ),
            None => refused(&KeeperRefusal::TooShort, StatusCode::CONFLICT),
        }
    }

    /// Returns the refusal of a socket whose export is not of the login in `snapshot`.
    fn other_login(&self, snapshot: &Snapshot) -> Option<JobFailure> {
        let (export, document) = (self.export.as_ref()?, snapshot.document()?);
        let message = match (export.is_of(document), document.exported(self.shared.clock.now())) {
            (true, Some(_)) => return None,
            (true, None) => {
                "the login of this keeper is not one that it exports: it does not expire by itself"
            }
            (false, _) => "another account is logged in than the one that this keeper exports here",
        };
        Some(JobFailure::new(ErrorKind::Failed, message))
    }

    /// Whether its token has not expired.
    fn is_valid(&self, snapshot: &Snapshot) -> bool {
        matches!(snapshot.status(self.shared.clock.now()), SnapshotStatus::Fresh | SnapshotStatus::Stale)
    }

    /// Whether its token satisfies the request.
    fn serves(&self, snapshot: &Snapshot, query: &TokenQuery) -> bool {
        let now = self.shared.clock.now();
        let lasts =
            |min: SignedDuration| snapshot.expires_at(now).is_none_or(|end| end.duration_since(now) >= min);
        snapshot.status(now) == SnapshotStatus::Fresh && query.min_ttl.is_none_or(lasts)
    }
}

fn malformed(problem: &str, status: StatusCode) -> Response<Full<Bytes>> {
    refused(&KeeperRefusal::Malformed(problem.to_owned()), status)
}

fn refused(refusal: &KeeperRefusal, status: StatusCode) -> Response<Full<Bytes>> {
    json(status, refusal)
}

fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    // Serializing these types cannot fail.
    let bytes = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(bytes)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}
