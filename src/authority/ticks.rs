//! Timeouts that do not count the time in which the process was stopped or the machine was suspended.

use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tower_layer::Layer;
use tower_service::Service;

/// The length of one sleep; a stop or a suspension costs one tick at most.
const TICK: Duration = Duration::from_secs(1);
/// How long the socket is polled once more after the last tick.
const FINAL_POLL: Duration = Duration::from_millis(20);

/// Waits for `limit` in ticks. Each tick counts once, however late it ends, so a process that was stopped still has the
/// rest of its time.
pub(super) async fn elapsed(limit: Duration) {
    let mut left = limit;
    while !left.is_zero() {
        let tick = left.min(TICK);
        tokio::time::sleep(tick).await;
        left -= tick;
    }
    // Data that arrived before a late last tick is read first.
    tokio::time::sleep(FINAL_POLL).await;
}

/// A connector layer that limits the time of connecting, TLS included, in ticks. reqwest's own connect timeout is a
/// plain timer, which fires as soon as a stopped process continues.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectTimeout(pub(super) Duration);

/// A connector with a [`ConnectTimeout`].
#[derive(Clone, Debug)]
pub(super) struct TimeoutConnector<C> {
    connector: C,
    timeout: Duration,
}

impl<C> Layer<C> for ConnectTimeout {
    type Service = TimeoutConnector<C>;

    fn layer(&self, connector: C) -> TimeoutConnector<C> {
        TimeoutConnector { connector, timeout: self.0 }
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, Cause>> + Send>>;

impl<C, To> Service<To> for TimeoutConnector<C>
where
    C: Service<To, Error = Cause>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = Cause;
    type Future = Connecting<C::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, to: To) -> Self::Future {
        let (connecting, timeout) = (self.connector.call(to), self.timeout);
        Box::pin(async move {
            tokio::select! {
                biased;
                connected = connecting => connected,
                () = elapsed(timeout) => {
                    let why = format!("not connected within {timeout:?}");
                    Err(Error::new(ErrorKind::TimedOut, why).into())
                }
            }
        })
    }
}
