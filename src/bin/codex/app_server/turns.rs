//! The order of account requests: each runs after the earlier ones, unless one of those waits for another process.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// Maximum delay of the requests after a request. One that takes longer waits for another process or the authority.
const MAX_DELAY: Duration = Duration::from_secs(2);

/// What a request does to the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TurnKind {
    /// Replaces or removes it. Two of this kind never run at the same time.
    Change,
    /// Reads it, and may refresh it.
    Read,
}

/// The requests that are running, in their order.
#[derive(Default)]
pub(super) struct Turns(Vec<ActiveTurn>);

struct ActiveTurn {
    kind: TurnKind,
    task: JoinHandle<()>,
    due: Instant,
}

impl Turns {
    /// Starts `answer` once the earlier requests have ended or have run for [`MAX_DELAY`]. If cancelled, `answer` may
    /// never start.
    pub(super) async fn begin(&mut self, kind: TurnKind, answer: impl Future<Output = ()> + Send + 'static) {
        self.0.retain(|earlier| !earlier.task.is_finished());
        for earlier in &mut self.0 {
            let _ = timeout_at(earlier.due, &mut earlier.task).await;
        }
        self.0.retain(|earlier| !earlier.task.is_finished());
        let changes =
            self.0.extract_if(.., |earlier| kind == TurnKind::Change && earlier.kind == TurnKind::Change);
        let changes: Vec<_> = changes.map(|earlier| earlier.task).collect();
        let task = tokio::spawn(async move {
            for change in changes {
                let _ = change.await;
            }
            answer.await;
        });
        self.0.push(ActiveTurn { kind, task, due: Instant::now() + MAX_DELAY });
    }

    /// Waits until all requests have ended.
    pub(super) async fn finish(self) {
        for turn in self.0 {
            let _ = turn.task.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_slow_change_delays_reads_for_a_limited_time_and_other_changes_until_it_ends() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.unwrap().block_on(async {
            let order = Arc::new(Mutex::new(Vec::new()));
            let record = |word: &'static str| {
                let order = Arc::clone(&order);
                async move { order.lock().unwrap().push(word) }
            };
            let mut turns = Turns::default();
            let (release, released) = oneshot::channel::<()>();
            let login = record("login");
            turns
                .begin(TurnKind::Change, async move {
                    let _ = released.await;
                    login.await;
                })
                .await;
            let begun = Instant::now();
            turns.begin(TurnKind::Read, record("first read")).await;
            let delayed = begun.elapsed();
            turns.begin(TurnKind::Read, record("second read")).await;
            assert!(
                delayed >= MAX_DELAY && begun.elapsed() - delayed < MAX_DELAY,
                "only the first is delayed"
            );
            turns.begin(TurnKind::Change, record("logout")).await;
            turns.begin(TurnKind::Read, record("third read")).await;
            release.send(()).unwrap();
            turns.finish().await;
            let order = order.lock().unwrap();
            assert_eq!(*order, ["first read", "second read", "third read", "login", "logout"]);
        });
    }
}
