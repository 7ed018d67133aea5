//! The listener: loopback only, accepts every connection, and closes those that the script says to close.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::faults::Endpoint;
use crate::reply::Reply;
use crate::request::{Arrival, serve};
use crate::state::Shared;
use crate::{authorize, backend, control, device, resource, revoke, token_endpoint};

/// Room for 64 processes with 64 connections each, and as many that are closing.
const CONNECTIONS: usize = 8_192;
const BACKLOG: i32 = 4_096;
/// More than the 90 s for which clients usually keep an idle connection, so that the client closes first.
const IDLE: Duration = Duration::from_secs(120);

/// An extension of a response that makes the server close the connection without sending anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HangUp;

impl IntoResponse for HangUp {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(self);
        response
    }
}

#[derive(Debug, thiserror::Error)]
#[error("hung up")]
struct HungUp;

/// Listens on 127.0.0.1; port 0 takes a free one.
pub(crate) fn listen(port: u16) -> io::Result<TcpListener> {
    raise_file_limit();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    // The standard library asks for 128.
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Accepts connections until it is dropped.
pub(crate) async fn accept(listener: tokio::net::TcpListener, router: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors: clients wait in the backlog until one is free.
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let router = router.clone();
        tokio::spawn(async move {
            converse(stream, router).await;
            drop(permit);
        });
    }
}

/// Routes all endpoints; `/control/*` only if it is enabled.
pub(crate) fn routes(shared: Arc<Shared>, with_control: bool) -> Router {
    let mut router = Router::new()
        .route("/oauth/token", post(token_endpoint::token))
        .route("/oauth/revoke", post(revoke::revoke))
        .route("/oauth/authorize", get(authorize::authorize).post(authorize::decide))
        .route("/api/accounts/deviceauth/usercode", post(device::user_code))
        .route("/api/accounts/deviceauth/token", post(device::poll))
        .route("/codex/device", get(device::page).post(device::decide))
        .route("/resource", get(resource::resource))
        .route("/backend-api/accounts/switch-workspace-token", post(backend::switch))
        .route("/v1/responses", post(backend::model));
    for path in ["/wham", "/backend-api/wham", "/api/codex"] {
        router = router.route(&format!("{path}/accounts/check"), get(backend::workspaces));
    }
    for prefix in ["", "/api/accounts"] {
        let path = format!("{prefix}/v1/user-auth-credential/whoami");
        router = router.route(&path, get(resource::whoami));
    }
    for prefix in ["/wham", "/backend-api/wham", "/api/codex", ""] {
        router = router.route(&format!("{prefix}/agent-identities/jwks"), get(resource::jwks));
    }
    let mut router =
        router.fallback(nowhere).method_not_allowed_fallback(wrong_method).with_state(Arc::clone(&shared));
    if with_control {
        router = router.nest("/control", control::routes(shared));
    }
    router
}

async fn converse(stream: TcpStream, router: Router) {
    // Without it a small response may wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let answer = service.call(request);
        async move {
            let Ok(response) = answer.await;
            if response.extensions().get::<HangUp>().is_some() { Err(HungUp) } else { Ok(response) }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service);
    // The client left, or the script closed the connection.
    let _ = connection.await;
}

async fn nowhere(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    refuse_route(shared, request, 404, "not_found").await
}

async fn wrong_method(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    refuse_route(shared, request, 405, "method_not_allowed").await
}

async fn refuse_route(shared: Arc<Shared>, request: Request, status: u16, code: &'static str) -> Response {
    let arrival = Arrival::read(request).await;
    serve(shared, Endpoint::Other, arrival.sighting(None), move |state| {
        Reply::refusal(state.policy.error_shape, status, code, "this authority has no such endpoint")
    })
    .await
}

/// Raises the limit of open files, best effort: with fewer, connections wait in the backlog.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    // macOS refuses more than 10,240 whatever the hard limit says.
    let wanted = limit.maximum.map_or(10_240, |maximum| maximum.min(10_240));
    if limit.current.is_some_and(|current| current < wanted) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit });
    }
}
