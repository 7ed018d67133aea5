//! Deadlines in ticks, which a process that was stopped or a machine that was suspended does not lose.

use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tower_layer::Layer;
use tower_service::Service;

/// The unit of a deadline.
const TICK: Duration = Duration::from_secs(1);
/// How long the socket is looked at once more.
const LAST_LOOK: Duration = Duration::from_millis(20);

/// Waits for `limit` in ticks, each of which counts once however late it comes: a process that was stopped, or a machine
/// that was suspended, has the rest of its time afterwards.
pub(super) async fn elapsed(limit: Duration) {
    let mut left = limit;
    while !left.is_zero() {
        let tick = left.min(TICK);
        tokio::time::sleep(tick).await;
        left -= tick;
    }
    // What is in the socket when the last tick comes late is read before this ends.
    tokio::time::sleep(LAST_LOOK).await;
}

/// Limits how long a client may take to connect, TLS and all, in ticks. The client's own limit is a timer, which ends the
/// moment a process that was stopped goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectWithin(pub(super) Duration);

/// A connector with such a limit.
#[derive(Clone, Debug)]
pub(super) struct Limited<C> {
    connector: C,
    within: Duration,
}

impl<C> Layer<C> for ConnectWithin {
    type Service = Limited<C>;

    fn layer(&self, connector: C) -> Limited<C> {
        Limited { connector, within: self.0 }
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, Cause>> + Send>>;

impl<C, To> Service<To> for Limited<C>
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
        let (connecting, within) = (self.connector.call(to), self.within);
        Box::pin(async move {
            tokio::select! {
                biased;
                connected = connecting => connected,
                () = elapsed(within) => {
                    let why = format!("not connected within {:?}", within);
                    Err(Error::new(ErrorKind::TimedOut, why).into())
                }
            }
        })
    }
}
