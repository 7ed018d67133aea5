//! The listener of a login by browser: on this machine alone, for as long as the login lasts, and hard to keep busy.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName,
    HeaderValue, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
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

/// How long a browser may take to say what it wants.
const HEADERS: Duration = Duration::from_secs(10);
/// A request of a browser is a tenth of this.
const LARGEST_REQUEST: usize = 16 * 1024;
/// How many connections may be open that have not asked for anything yet; of more, the oldest is closed.
const IDLE: usize = 128;
/// How long a browser has to fetch the last page.
const FAREWELL: Duration = Duration::from_secs(3);
const SUCCESS: &str = "/success";
const FAILED: &str = "/failed";

/// Listens until it is dropped.
#[derive(Debug)]
pub(super) struct CallbackListener {
    shared: Arc<ListenerShared>,
    arrivals: UnboundedReceiver<CallbackOutcome>,
    /// Ends the task, and with it every connection.
    _task: JoinSet<()>,
}

#[derive(Debug)]
struct ListenerShared {
    port: u16,
    expected: Arc<PendingCallback>,
    /// What we yield the port to.
    word: Secret,
    /// How it ended, and the page that says so.
    verdict: watch::Sender<Option<LoginVerdict>>,
    /// Whether the sockets are to be closed, and whether they are.
    closing: watch::Sender<ListenerSockets>,
    /// Browsers that wait for the verdict.
    visitors: AtomicUsize,
    /// Told when a last page is through.
    shown: Notify,
}

/// How a login ended.
#[derive(Clone, Debug)]
pub(super) struct LoginVerdict {
    path: &'static str,
    page: Arc<Page>,
}

impl LoginVerdict {
    pub(super) fn success() -> Self {
        Self { path: SUCCESS, page: Arc::new(page::success()) }
    }

    pub(super) fn failure(what: &str) -> Self {
        Self { path: FAILED, page: Arc::new(page::failure(what)) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListenerSockets {
    Open,
    Closing,
    Closed,
}

impl CallbackListener {
    /// Begins to listen: for what is `expected`, and for the `word` that it yields to. To be called on a runtime.
    pub(super) fn start(
        bound: BoundPort,
        expected: Arc<PendingCallback>,
        arrivals: UnboundedReceiver<CallbackOutcome>,
        word: Secret,
    ) -> Self {
        let shared = Arc::new(ListenerShared {
            port: bound.port,
            expected,
            word,
            verdict: watch::Sender::new(None),
            closing: watch::Sender::new(ListenerSockets::Open),
            visitors: AtomicUsize::new(0),
            shown: Notify::new(),
        });
        let mut task = JoinSet::new();
        task.spawn(serve(bound.sockets, Arc::clone(&shared)));
        Self { shared, arrivals, _task: task }
    }

    /// Waits for what ends the waiting.
    pub(super) async fn arrival(&mut self) -> CallbackOutcome {
        // The other end is in `shared`, which lives as long as this.
        self.arrivals.recv().await.unwrap_or(CallbackOutcome::Nothing)
    }

    /// Tells every browser that waits how it ended, and gives one of them the time to show it.
    pub(super) async fn announce(&self, verdict: LoginVerdict) {
        let awaited = self.shared.visitors.load(Ordering::Relaxed) > 0;
        self.shared.verdict.send_replace(Some(verdict));
        if awaited {
            self.farewell().await;
        }
    }

    /// Gives a last answer the time to get through.
    pub(super) async fn farewell(&self) {
        let _ = timeout(FAREWELL, self.shared.shown.notified()).await;
    }
}

/// Takes connections until the sockets are to be closed; then finishes those that are there.
async fn serve(sockets: Vec<TcpListener>, shared: Arc<ListenerShared>) {
    let mut connections = JoinSet::new();
    let idle = Arc::new(IdleConnections::default());
    let mut closing = shared.closing.subscribe();
    loop {
        tokio::select! {
            () = asked_to_close(&mut closing) => break,
            accepted = next(&sockets) => match accepted {
                Ok(stream) => {
                    let seat = idle.seat();
                    let conversation = converse(stream, Arc::clone(&shared), Arc::clone(&idle), seat);
                    idle.take(seat, connections.spawn(conversation));
                    // Whoever has said what they want is heard before the next is let in.
                    tokio::task::yield_now().await;
                }
                // Out of files: those who wait stay in the kernel's queue until somebody leaves.
                Err(_) => sleep(Duration::from_millis(20)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(sockets);
    shared.closing.send_replace(ListenerSockets::Closed);
    while connections.join_next().await.is_some() {}
}

async fn asked_to_close(closing: &mut watch::Receiver<ListenerSockets>) {
    let _ = closing.wait_for(|sockets| *sockets != ListenerSockets::Open).await;
}

/// The next connection of any of the sockets.
async fn next(sockets: &[TcpListener]) -> io::Result<TcpStream> {
    poll_fn(|context| {
        let ready = sockets.iter().find_map(|socket| match socket.poll_accept(context) {
            Poll::Ready(accepted) => Some(accepted),
            Poll::Pending => None,
        });
        ready.map_or(Poll::Pending, |accepted| Poll::Ready(accepted.map(|(stream, _)| stream)))
    })
    .await
}

/// Connections that have not asked for anything yet, the oldest first.
#[derive(Debug, Default)]
struct IdleConnections {
    seats: AtomicUsize,
    waiting: Mutex<VecDeque<(usize, AbortHandle)>>,
}

impl IdleConnections {
    fn seat(&self) -> usize {
        self.seats.fetch_add(1, Ordering::Relaxed)
    }

    fn take(&self, seat: usize, connection: AbortHandle) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push_back((seat, connection));
        if waiting.len() > IDLE
            && let Some((_, oldest)) = waiting.pop_front()
        {
            oldest.abort();
        }
    }

    fn leave(&self, seat: usize) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|(other, _)| *other != seat);
    }
}

async fn converse(stream: TcpStream, shared: Arc<ListenerShared>, idle: Arc<IdleConnections>, seat: usize) {
    // Whether this connection has taken the last page away.
    let last = AtomicBool::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        idle.leave(seat);
        let (shared, last) = (&shared, &last);
        async move {
            let (answer, is_last) = answer(shared, &request).await;
            last.store(is_last, Ordering::Relaxed);
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(LARGEST_REQUEST)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // An error here is a client that left, or one that hyper has answered itself.
    let _ = connection.await;
    idle.leave(seat);
    if last.load(Ordering::Relaxed) {
        shared.shown.notify_one();
    }
}

/// The answer to a request, and whether it is the last that somebody waits for.
async fn answer(shared: &ListenerShared, request: &Request<Incoming>) -> (Response<String>, bool) {
    let whole = |page: &Page| (show(page), false);
    if !is_for_us(shared.port, request) {
        return whole(&page::misdirected());
    }
    if request.method() != Method::GET {
        let mut refused = show(&page::wrong_method());
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return (refused, false);
    }
    match request.uri().path() {
        "/auth/callback" => (callback(shared, request.uri().query().unwrap_or_default()).await, false),
        "/cancel" if is_asked_to_yield(shared, request) => yielded(shared).await,
        path => match &*shared.verdict.borrow() {
            Some(verdict) if verdict.path == path => (show(&verdict.page), true),
            _ => whole(&page::nothing_here()),
        },
    }
}

async fn callback(shared: &ListenerShared, query: &str) -> Response<String> {
    let arrival = match shared.expected.read(query) {
        Ok(arrival) => arrival,
        Err(BadCallback::Repeated | BadCallback::State) => return show(&page::stranger()),
    };
    let visitor = WaitingBrowser::of(shared);
    if shared.expected.bring(arrival) == Delivery::Late {
        return show(&page::late());
    }
    let mut verdicts = shared.verdict.subscribe();
    let path = match verdicts.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(verdict)) => verdict.path,
        _ => FAILED,
    };
    drop(visitor);
    // Another address, so that the code stays neither in sight nor in the browser's history.
    let mut moved = response(StatusCode::SEE_OTHER, String::new());
    moved.headers_mut().insert(LOCATION, HeaderValue::from_static(path));
    moved
}

/// A browser that waits for the verdict.
struct WaitingBrowser<'a>(&'a ListenerShared);

impl<'a> WaitingBrowser<'a> {
    fn of(shared: &'a ListenerShared) -> Self {
        shared.visitors.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for WaitingBrowser<'_> {
    fn drop(&mut self) {
        self.0.visitors.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Closes the sockets before it answers, so that whoever asked can have the port at once.
async fn yielded(shared: &ListenerShared) -> (Response<String>, bool) {
    if shared.expected.bring(CallbackOutcome::Yield) == Delivery::Late {
        return (show(&page::late()), false);
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
    (show(&page::yielded()), true)
}

fn is_asked_to_yield(shared: &ListenerShared, request: &Request<Incoming>) -> bool {
    let word = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    word.and_then(|value| value.strip_prefix("Bearer ")).is_some_and(|word| Secret::from(word) == shared.word)
}

/// Whether the request names this machine: a page elsewhere that has its own name point here is not for us.
fn is_for_us(port: u16, request: &Request<Incoming>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Some((name, named)) = host.to_str().ok().and_then(|host| host.rsplit_once(':')) else { return false };
    let name = name.to_ascii_lowercase();
    named == port.to_string() && ["localhost", "127.0.0.1", "[::1]"].contains(&name.as_str())
}

fn show(page: &Page) -> Response<String> {
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
