//! The HTTP listener of a browser login: on this machine only, until the login ends, with bounded resources.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use codex_auth_platform::process::effective_uid;
use codex_auth_platform::sync::lock;
use codex_auth_platform::tcp_client::{TcpClientOwner, client_owner};
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName,
    HeaderValue, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::callback::{BadCallback, CallbackOutcome, Delivery, PendingCallback};
use super::page::{self, Page};
use super::port::BoundPort;
use crate::secret::Secret;

/// How long a client may take to send its headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum size of a request. A browser sends the cookies of every program that ever used localhost.
const MAX_REQUEST: usize = 256 * 1024;
/// How many connections may be open without a request; beyond that the oldest is closed.
const MAX_IDLE: usize = 128;
/// How long a browser has to fetch the last page.
const LAST_PAGE_TIMEOUT: Duration = Duration::from_secs(3);
const SUCCESS: &str = "/success";
const FAILED: &str = "/failed";

/// Listens until it is dropped.
#[derive(Debug)]
pub(super) struct CallbackListener {
    shared: Arc<ListenerShared>,
    outcomes: UnboundedReceiver<CallbackOutcome>,
    /// Aborts the task and every connection on drop.
    _task: JoinSet<()>,
}

#[derive(Debug)]
struct ListenerShared {
    callback: Arc<PendingCallback>,
    /// The token that a later login presents to get the port.
    cancel_token: Secret,
    /// The result of the login and its page.
    verdict: watch::Sender<Option<LoginVerdict>>,
    /// The state of the sockets.
    closing: watch::Sender<ListenerSockets>,
    /// How many browsers wait for the verdict.
    waiting_browsers: AtomicUsize,
    /// Notified when a last page was sent.
    last_page_sent: Notify,
}

/// The result of a login, as the browser shows it.
#[derive(Clone, Debug)]
pub(super) struct LoginVerdict {
    /// Where the browser is sent: a path here, or the address of a page elsewhere.
    location: &'static str,
    /// The page at that path.
    page: Option<Arc<Page>>,
}

impl LoginVerdict {
    pub(super) fn success() -> Self {
        Self { location: SUCCESS, page: Some(Arc::new(page::success())) }
    }

    /// A success that `page`, at another address, shows.
    pub(super) fn success_at(page: &'static str) -> Self {
        Self { location: page, page: None }
    }

    pub(super) fn failure(what: &str) -> Self {
        Self { location: FAILED, page: Some(Arc::new(page::failure(what))) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListenerSockets {
    Open,
    Closing,
    Closed,
}

impl CallbackListener {
    /// Starts listening for the callback and for requests to release the port. Needs a running runtime.
    pub(super) fn start(
        bound: BoundPort,
        callback: Arc<PendingCallback>,
        outcomes: UnboundedReceiver<CallbackOutcome>,
        cancel_token: Secret,
    ) -> Self {
        let shared = Arc::new(ListenerShared {
            callback,
            cancel_token,
            verdict: watch::Sender::new(None),
            closing: watch::Sender::new(ListenerSockets::Open),
            waiting_browsers: AtomicUsize::new(0),
            last_page_sent: Notify::new(),
        });
        let mut task = JoinSet::new();
        task.spawn(serve(bound.sockets, Arc::clone(&shared)));
        Self { shared, outcomes, _task: task }
    }

    /// Waits for the first callback or a request to release the port.
    pub(super) async fn outcome(&mut self) -> CallbackOutcome {
        // The sender is in `shared`, so this cannot fail.
        self.outcomes.recv().await.unwrap_or(CallbackOutcome::Empty)
    }

    /// Sends the result to every browser that waits, and gives one of them time to fetch the page.
    pub(super) async fn announce(&self, verdict: LoginVerdict) {
        let awaited = self.shared.waiting_browsers.load(Ordering::Relaxed) > 0;
        self.shared.verdict.send_replace(Some(verdict));
        if awaited {
            self.wait_for_last_page().await;
        }
    }

    /// Waits until a last page was sent, for a limited time.
    pub(super) async fn wait_for_last_page(&self) {
        let _ = timeout(LAST_PAGE_TIMEOUT, self.shared.last_page_sent.notified()).await;
    }
}

/// Accepts connections until the sockets are to be closed, then finishes the open ones.
async fn serve(sockets: Vec<TcpListener>, shared: Arc<ListenerShared>) {
    let mut connections = JoinSet::new();
    let idle = Arc::new(IdleConnections::default());
    let mut closing = shared.closing.subscribe();
    loop {
        tokio::select! {
            () = wait_for_close(&mut closing) => break,
            accepted = accept(&sockets) => match accepted {
                Ok((stream, peer)) => {
                    let id = idle.next_id();
                    let client = ClientAccess::of(&stream, peer);
                    let connection = serve_connection(stream, client, Arc::clone(&shared), Arc::clone(&idle), id);
                    idle.add(id, connections.spawn(connection));
                    // Serve requests that have arrived before the next connection.
                    tokio::task::yield_now().await;
                }
                // Out of file descriptors: clients stay in the kernel's queue until one is free.
                Err(_) => sleep(Duration::from_millis(20)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(sockets);
    shared.closing.send_replace(ListenerSockets::Closed);
    while connections.join_next().await.is_some() {}
}

async fn wait_for_close(closing: &mut watch::Receiver<ListenerSockets>) {
    let _ = closing.wait_for(|sockets| *sockets != ListenerSockets::Open).await;
}

/// Accepts a connection on any of the sockets.
async fn accept(sockets: &[TcpListener]) -> io::Result<(TcpStream, SocketAddr)> {
    poll_fn(|context| {
        let ready = sockets.iter().find_map(|socket| match socket.poll_accept(context) {
            Poll::Ready(accepted) => Some(accepted),
            Poll::Pending => None,
        });
        ready.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// Connections without a request yet, the oldest first.
#[derive(Debug, Default)]
struct IdleConnections {
    last_id: AtomicUsize,
    waiting: Mutex<VecDeque<(usize, AbortHandle)>>,
}

impl IdleConnections {
    fn next_id(&self) -> usize {
        self.last_id.fetch_add(1, Ordering::Relaxed)
    }

    fn add(&self, id: usize, connection: AbortHandle) {
        let mut waiting = lock(&self.waiting);
        waiting.push_back((id, connection));
        if waiting.len() > MAX_IDLE
            && let Some((_, oldest)) = waiting.pop_front()
        {
            oldest.abort();
        }
    }

    fn remove(&self, id: usize) {
        let mut waiting = lock(&self.waiting);
        waiting.retain(|(other, _)| *other != id);
    }
}

/// Whether a client may complete the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientAccess {
    Allowed,
    /// Another user of this machine, or a client that hides its owner by closing its socket.
    Refused,
}

impl ClientAccess {
    /// Decides by the owner of the client's socket. A client elsewhere has none: it came through a port that was
    /// forwarded, by a container engine or ssh.
    fn of(stream: &TcpStream, peer: SocketAddr) -> Self {
        let owner = stream.local_addr().map(|local| client_owner(peer, local));
        match owner {
            Ok(TcpClientOwner::User(uid)) if uid == 0 || uid == effective_uid() => Self::Allowed,
            Ok(TcpClientOwner::User(_) | TcpClientOwner::Closed) => Self::Refused,
            Ok(TcpClientOwner::Unknown) | Err(_) => Self::Allowed,
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    client: ClientAccess,
    shared: Arc<ListenerShared>,
    idle: Arc<IdleConnections>,
    id: usize,
) {
    // Whether this connection fetched the last page.
    let last = AtomicBool::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        idle.remove(id);
        let (shared, last) = (&shared, &last);
        async move {
            let (answer, is_last) = answer(shared, client, &request).await;
            last.store(is_last, Ordering::Relaxed);
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_REQUEST)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // The client left, or hyper has answered the error itself.
    let _ = connection.await;
    idle.remove(id);
    if last.load(Ordering::Relaxed) {
        shared.last_page_sent.notify_one();
    }
}

/// Returns the response, and whether it is the last page of the login.
async fn answer(
    shared: &ListenerShared,
    client: ClientAccess,
    request: &Request<Incoming>,
) -> (Response<String>, bool) {
    let whole = |page: &Page| (page_response(page), false);
    if client == ClientAccess::Refused {
        return whole(&page::other_user());
    }
    if !has_local_host(request) {
        return whole(&page::misdirected());
    }
    if request.method() != Method::GET {
        let mut refused = page_response(&page::wrong_method());
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return (refused, false);
    }
    match request.uri().path() {
        "/auth/callback" => callback(shared, request.uri().query().unwrap_or_default()).await,
        "/cancel" if may_yield(shared, request) => yield_port(shared).await,
        path => match &*shared.verdict.borrow() {
            Some(LoginVerdict { location, page: Some(page) }) if *location == path => {
                (page_response(page), true)
            }
            _ => whole(&page::not_found()),
        },
    }
}

/// As [`answer`]: a browser that is sent elsewhere fetches no more pages here.
async fn callback(shared: &ListenerShared, query: &str) -> (Response<String>, bool) {
    let outcome = match shared.callback.parse(query) {
        Ok(outcome) => outcome,
        Err(BadCallback::RepeatedParameter | BadCallback::WrongState) => {
            return (page_response(&page::other_login()), false);
        }
    };
    let waiting = WaitingBrowser::of(shared);
    if shared.callback.deliver(outcome) == Delivery::Late {
        return (page_response(&page::late()), false);
    }
    let mut verdicts = shared.verdict.subscribe();
    let (location, is_last) = match verdicts.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(verdict)) => (verdict.location, verdict.page.is_none()),
        _ => (FAILED, false),
    };
    drop(waiting);
    // Redirect, so that the code stays neither in the address bar nor in the history. The status is Codex's where its
    // page is.
    let status = if is_last { StatusCode::FOUND } else { StatusCode::SEE_OTHER };
    let mut moved = response(status, String::new());
    moved.headers_mut().insert(LOCATION, HeaderValue::from_static(location));
    (moved, is_last)
}

/// Counts a browser that waits for the verdict, until it is dropped.
struct WaitingBrowser<'a>(&'a ListenerShared);

impl<'a> WaitingBrowser<'a> {
    fn of(shared: &'a ListenerShared) -> Self {
        shared.waiting_browsers.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for WaitingBrowser<'_> {
    fn drop(&mut self) {
        self.0.waiting_browsers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Closes the sockets before it responds, so that the other login can bind the port at once.
async fn yield_port(shared: &ListenerShared) -> (Response<String>, bool) {
    if shared.callback.deliver(CallbackOutcome::Yield) == Delivery::Late {
        return (page_response(&page::late()), false);
    }
    let mut closed = shared.closing.subscribe();
    shared.closing.send_if_modified(|sockets| {
        let open = *sockets == ListenerSockets::Open;
        if open {
            *sockets = ListenerSockets::Closing;
        }
        open
    });
    let _ = closed.wait_for(|sockets| *sockets == ListenerSockets::Closed).await;
    (page_response(&page::yielded()), true)
}

fn may_yield(shared: &ListenerShared, request: &Request<Incoming>) -> bool {
    let token = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    token
        .and_then(|value| value.strip_prefix("Bearer "))
        .is_some_and(|token| Secret::from(token) == shared.cancel_token)
}

/// Whether the `Host` header names this machine, which rules out DNS rebinding. The port is another one where it was
/// forwarded.
fn has_local_host(request: &Request<Incoming>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Some(host) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else { return false };
    // The parser accepts a user, and a port that is not a number.
    let is_plain = host
        .as_str()
        .strip_prefix(host.host())
        .is_some_and(|port| port.is_empty() || host.port_u16().is_some());
    is_plain && ["localhost", "127.0.0.1", "[::1]"].contains(&host.host().to_ascii_lowercase().as_str())
}

fn page_response(page: &Page) -> Response<String> {
    response(page.status, page.html.clone())
}

fn response(status: StatusCode, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::from_str(&page::content_security_policy()) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}
