//! Timeouts that do not count the time in which the process was stopped or the machine was suspended, and the last check
//! before a request.

use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tower_layer::Layer;
use tower_service::Service;

use super::wire::ConnectLimit;

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

/// A connector with a [`ConnectLimit`].
#[derive(Clone)]
pub(super) struct LimitedConnector<C> {
    connector: C,
    limit: ConnectLimit,
}

/// Limits the time of connecting in ticks. reqwest's own connect timeout is a plain timer, which fires as soon as a
/// stopped process continues.
impl<C> Layer<C> for ConnectLimit {
    type Service = LimitedConnector<C>;

    fn layer(&self, connector: C) -> LimitedConnector<C> {
        LimitedConnector { connector, limit: self.clone() }
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, Cause>> + Send>>;

impl<C, To> Service<To> for LimitedConnector<C>
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
        let connecting = self.connector.call(to);
        let ConnectLimit { timeout, last_check } = self.limit.clone();
        Box::pin(async move {
            tokio::select! {
                biased;
                connected = connecting => match last_check {
                    Some(check) if !check() => {
                        let why = "connected too late, so the request was not sent";
                        Err(Error::new(ErrorKind::TimedOut, why).into())
                    }
                    _ => connected,
                },
                () = elapsed(timeout) => {
                    let why = format!("not connected within {timeout:?}");
                    Err(Error::new(ErrorKind::TimedOut, why).into())
                }
            }
        })
    }
}
