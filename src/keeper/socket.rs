//! The keeper's end of its socket: HTTP/1.1 for the same user, two paths, small requests and bounded answers.
//!
//! - `GET /v1/status` answers how keeper and login stand.
//! - `GET /v1/token` answers an access token. `min_ttl=SECONDS` asks for one that lasts; `wait=yes` has it refreshed if it
//!   must be, where the answer would else be that there is none.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use codex_auth_platform::filesystem::{self, FileId, Presence};
use codex_auth_platform::peer;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::SignedDuration;
use serde::Serialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch::Receiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::KeeperShared;
use super::answer::{self, KeeperAccount, KeeperRefusal, KeeperStatus, SCHEMA};
use super::singleton::{Error, KeeperLock};
use crate::manager::{
    self, Divergence, JobFailure, RefreshReason, Snapshot, SnapshotStatus, Unusable, Usability,
};
use crate::watch::{WaitOutcome, Watch, WatchTrigger};

/// How many are served at once; more have to wait.
const AT_ONCE: usize = 64;
/// A request line and its headers are a few hundred bytes. The least that hyper takes.
const LARGEST_REQUEST: usize = 8 * 1024;
/// How long a request may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(5);
/// How long all of it may take, waiting for a refresh included.
const WHOLE: Duration = Duration::from_secs(180);

/// The place where a keeper answers. Its socket is removed on drop, unless another one has taken its place.
#[derive(Debug)]
pub struct KeeperSocket {
    path: PathBuf,
    bound: Option<BoundSocket>,
}

#[derive(Debug)]
struct BoundSocket {
    listener: std::os::unix::net::UnixListener,
    identity: Option<FileId>,
}

impl KeeperSocket {
    /// Listens at `path`, where the keeper of `singleton` answers. Needs a runtime only when it is used. A socket that cannot be
    /// bound now, or that is removed later, is bound when it can be.
    #[must_use]
    pub fn at(_post: &KeeperLock, path: &Path) -> Self {
        let mut listener = Self { path: path.to_owned(), bound: None };
        listener.bind();
        listener
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn bind(&mut self) {
        let bound = peer::bind(&self.path).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(BoundSocket { listener, identity: filesystem::identity(&self.path) })
        });
        match bound {
            Ok(bound) => {
                tracing::info!(path = %self.path.display(), "answering");
                self.bound = Some(bound);
            }
            Err(error) => tracing::warn!(%error, path = %self.path.display(), "no socket"),
        }
    }

    /// Answers until it is dropped, or until another keeper has the post.
    pub(super) async fn answer(mut self, shared: Arc<KeeperShared>, looks: Receiver<u64>) -> Error {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let mut connections = tokio::task::JoinSet::new();
        let mut changes = SocketWatch::of(&self.path);
        let mut listener = self.registered();
        loop {
            while connections.try_join_next().is_some() {}
            let (slot, stream) = tokio::select! {
                accepted = accept(listener.as_ref(), &slots) => accepted,
                () = changes.next() => {
                    let now = filesystem::presence(&self.path);
                    let ours = self.bound.as_ref().and_then(|bound| bound.identity).map(Presence::There);
                    if now == Presence::Unknown || Some(now) == ours {
                        continue;
                    }
                    // The folder of the home may have been replaced, or another keeper answers here.
                    if let Err(error) = shared.post.check() {
                        return error;
                    }
                    if now == Presence::Gone || is_replaceable(&self.path) {
                        self.bind();
                        listener = self.registered();
                    }
                    continue;
                }
            };
            if let Err(error) = peer::same_user(&stream) {
                tracing::warn!(%error, "a connection was refused");
                continue;
            }
            let (shared, looks) = (Arc::clone(&shared), looks.clone());
            connections.spawn(async move {
                let _slot = slot;
                let _ = tokio::time::timeout(WHOLE, serve(stream, shared, looks)).await;
            });
        }
    }

    /// The socket in the runtime of the caller.
    fn registered(&self) -> Option<UnixListener> {
        let listener = self.bound.as_ref()?.listener.try_clone().and_then(UnixListener::from_std);
        listener.inspect_err(|error| tracing::error!(%error, "no answers at {}", self.path.display())).ok()
    }
}

impl Drop for KeeperSocket {
    fn drop(&mut self) {
        // Where the folder of the place was replaced, a keeper of the new one may answer.
        let ours = self.bound.as_ref().and_then(|bound| bound.identity);
        if ours.is_some() && filesystem::identity(&self.path) == ours {
            let _ = peer::remove_socket(&self.path);
        }
    }
}

/// The next connection, when one of the slots is free. Cancel-safe.
async fn accept(
    listener: Option<&UnixListener>,
    slots: &Arc<Semaphore>,
) -> (OwnedSemaphorePermit, UnixStream) {
    let (Some(listener), Ok(slot)) = (listener, Arc::clone(slots).acquire_owned().await) else {
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (slot, stream),
            Err(error) => {
                tracing::warn!(%error, "a connection was not taken");
                // Out of handles, most likely: some are free again when others have been served.
                tokio::time::sleep(ARRIVAL / 50).await;
            }
        }
    }
}

/// Notices that the socket may have been removed or replaced.
struct SocketWatch {
    noticed: Receiver<()>,
    bell: WatchTrigger,
    ended: Arc<AtomicBool>,
}

impl SocketWatch {
    fn of(path: &Path) -> Self {
        let files = vec![path.to_owned()];
        let mut watch = Watch::on(files.clone());
        let (tell, noticed) = tokio::sync::watch::channel(());
        let (bell, ended) = (watch.bell(), Arc::new(AtomicBool::new(false)));
        let over = Arc::clone(&ended);
        let work = move || {
            while watch.wait(Duration::MAX) == WaitOutcome::LookAgain && !over.load(Ordering::Relaxed) {
                watch.follow(files.clone());
                let _ = tell.send(());
            }
        };
        if let Err(error) = std::thread::Builder::new().name("codex-auth socket".to_owned()).spawn(work) {
            tracing::error!(%error, "a socket that is removed is not bound again: cannot start a thread");
        }
        Self { noticed, bell, ended }
    }

    async fn next(&mut self) {
        if self.noticed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for SocketWatch {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        self.bell.ring();
    }
}

/// Whether nothing answers at `path`, and a socket can take the place of what is there.
fn is_replaceable(path: &Path) -> bool {
    !path.is_dir()
        && peer::connect(path).is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

async fn serve(stream: UnixStream, shared: Arc<KeeperShared>, looks: Receiver<u64>) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let (shared, looks) = (Arc::clone(&shared), looks.clone());
        async move { Ok::<_, Infallible>(shared.answer(&request, &looks).await) }
    });
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(ARRIVAL)
        .keep_alive(false)
        .max_buf_size(LARGEST_REQUEST);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

impl KeeperShared {
    async fn answer<B>(
        self: &Arc<Self>,
        request: &Request<B>,
        looks: &Receiver<u64>,
    ) -> Response<Full<Bytes>> {
        if request.method() != Method::GET {
            return malformed("only GET is answered", StatusCode::METHOD_NOT_ALLOWED);
        }
        match request.uri().path() {
            "/v1/status" => {
                self.manager.catch_up().await;
                json(StatusCode::OK, &self.status().await)
            }
            "/v1/token" => match TokenQuery::read(request.uri().query()) {
                Ok(wanted) => self.token(&wanted, looks).await,
                Err(problem) => malformed(problem, StatusCode::BAD_REQUEST),
            },
            _ => malformed("there are /v1/status and /v1/token", StatusCode::NOT_FOUND),
        }
    }

    async fn status(&self) -> KeeperStatus {
        let snapshot = self.manager.current();
        let usability = self.manager.usability(&snapshot).await;
        KeeperStatus {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            home: self.home.path().to_string_lossy().into_owned(),
            account: KeeperAccount::of(snapshot.document()),
            reason: usability.reason().map(ToString::to_string),
            busy: usability.busy(),
            expires_at: snapshot.expires_at(self.clock.now()),
            next_refresh_at: self.next_refresh(&snapshot),
        }
    }

    async fn token(self: &Arc<Self>, wanted: &TokenQuery, looks: &Receiver<u64>) -> Response<Full<Bytes>> {
        // A command that has ended by now is seen, whatever the watch has noticed.
        self.manager.catch_up().await;
        let mut snapshot = self.manager.current();
        if let Usability::Unusable(error @ manager::Error::Unusable(Unusable::Forbidden(_))) =
            snapshot.usability(self.clock.now())
        {
            let failure = JobFailure::from(&error);
            return refused(&KeeperRefusal::Failed(failure), StatusCode::SERVICE_UNAVAILABLE);
        }
        if !self.serves(&snapshot, wanted) && wanted.patience == RefreshPermission::Wait {
            let reason = wanted
                .min_ttl
                .map_or(RefreshReason::Stale, |min| RefreshReason::MinTtl(min.unsigned_abs().as_secs()));
            if let Err(failure) = self.refresh(reason, snapshot).await
                && !self.lives(&self.manager.current())
            {
                return refused(&KeeperRefusal::Failed(failure), StatusCode::SERVICE_UNAVAILABLE);
            }
            snapshot = self.manager.current();
        }
        let unseen = match snapshot.departure() {
            Some(Divergence::Unreadable(error)) => Some(error.to_string()),
            _ if looks.has_changed().is_err() => {
                Some("changes of the login are not noticed any more".to_owned())
            }
            _ => None,
        };
        if let Some(why) = unseen {
            return refused(&KeeperRefusal::Unseen(why), StatusCode::SERVICE_UNAVAILABLE);
        }
        // Asked for in vain, what there is is better than nothing; asked for in passing, the caller can do more.
        let enough = match wanted.patience {
            RefreshPermission::Wait => self.lives(&snapshot),
            RefreshPermission::None => self.serves(&snapshot, wanted),
        };
        match snapshot.bearer().filter(|_| enough) {
            Some(bearer) => {
                json(StatusCode::OK, &answer::given(&self.home, &snapshot, bearer, self.clock.now()))
            }
            None => refused(&KeeperRefusal::TooShort, StatusCode::CONFLICT),
        }
    }

    /// Whether there is a token that lives.
    fn lives(&self, snapshot: &Snapshot) -> bool {
        matches!(snapshot.standing(self.clock.now()), SnapshotStatus::Fresh | SnapshotStatus::Stale)
    }

    /// Whether its token is what is wanted.
    fn serves(&self, snapshot: &Snapshot, wanted: &TokenQuery) -> bool {
        let now = self.clock.now();
        let lasts =
            |min: SignedDuration| snapshot.expires_at(now).is_none_or(|end| end.duration_since(now) >= min);
        snapshot.standing(now) == SnapshotStatus::Fresh && wanted.min_ttl.is_none_or(lasts)
    }
}

/// What a request asks for.
#[derive(Debug)]
struct TokenQuery {
    min_ttl: Option<SignedDuration>,
    patience: RefreshPermission,
}

/// Whether a token may be refreshed for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RefreshPermission {
    None,
    Wait,
}

impl TokenQuery {
    fn read(query: Option<&str>) -> Result<Self, &'static str> {
        let mut wanted = Self { min_ttl: None, patience: RefreshPermission::None };
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("min_ttl", seconds)) => {
                    let seconds = seconds.parse::<u32>().map_err(|_| "min_ttl is a number of seconds")?;
                    wanted.min_ttl = Some(SignedDuration::from_secs(seconds.into()));
                }
                Some(("wait", "yes")) => wanted.patience = RefreshPermission::Wait,
                _ => return Err("the parameters are min_ttl=SECONDS and wait=yes"),
            }
        }
        Ok(wanted)
    }
}

fn malformed(problem: &str, status: StatusCode) -> Response<Full<Bytes>> {
    refused(&KeeperRefusal::Malformed(problem.to_owned()), status)
}

fn refused(refusal: &KeeperRefusal, status: StatusCode) -> Response<Full<Bytes>> {
    json(status, refusal)
}

fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    // Texts, numbers and lists have no way to fail.
    let bytes = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(bytes)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}
