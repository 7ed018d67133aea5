//! The order of the account requests: each is answered after those before it, unless one of them waits for another process.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// How long a request delays those after it. A login, logout or refresh that takes longer waits for another process, or
/// for the authority.
const IN_TURN: Duration = Duration::from_secs(2);

/// What a request does to the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TurnKind {
    /// It replaces or ends it. Two of this kind never run at the same time.
    Change,
    /// It reads it, and may have it refreshed.
    Look,
}

/// The requests that are being answered, in their order.
#[derive(Default)]
pub(super) struct Turns(Vec<ActiveTurn>);

struct ActiveTurn {
    kind: TurnKind,
    task: JoinHandle<()>,
    due: Instant,
}

impl Turns {
    /// Begins to answer a request in its turn. Cancel-safe only between requests.
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
        self.0.push(ActiveTurn { kind, task, due: Instant::now() + IN_TURN });
    }

    /// Waits until everything is answered.
    pub(super) async fn finish(self) {
        for under_way in self.0 {
            let _ = under_way.task.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_request_that_waits_delays_others_for_a_moment_and_changes_until_it_ends() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.unwrap().block_on(async {
            let said = Arc::new(Mutex::new(Vec::new()));
            let say = |word: &'static str| {
                let said = Arc::clone(&said);
                async move { said.lock().unwrap().push(word) }
            };
            let mut turns = Turns::default();
            let (release, released) = oneshot::channel::<()>();
            let login = say("login");
            turns
                .begin(TurnKind::Change, async move {
                    let _ = released.await;
                    login.await;
                })
                .await;
            let begun = Instant::now();
            turns.begin(TurnKind::Look, say("first look")).await;
            let delayed = begun.elapsed();
            turns.begin(TurnKind::Look, say("second look")).await;
            assert!(delayed >= IN_TURN && begun.elapsed() - delayed < IN_TURN, "only the first is delayed");
            turns.begin(TurnKind::Change, say("logout")).await;
            turns.begin(TurnKind::Look, say("third look")).await;
            release.send(()).unwrap();
            turns.finish().await;
            let said = said.lock().unwrap();
            assert_eq!(*said, ["first look", "second look", "third look", "login", "logout"]);
        });
    }
}
