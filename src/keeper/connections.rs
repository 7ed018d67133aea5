//! The open connections of the keeper's socket: silent ones give way, and containers leave room for this machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use codex_auth_platform::peer::Peer;
use tokio::task::{AbortHandle, JoinSet};

/// Maximum number of connections from this machine, and of those from containers.
const MAX_CONNECTIONS: usize = 128;
/// Maximum number of connections of one process that have sent no request.
const MAX_SILENT: usize = 16;

/// The open connections, in the order of their acceptance. Dropping it closes them.
#[derive(Default)]
pub(super) struct Connections {
    tasks: JoinSet<()>,
    open: Vec<Connection>,
}

struct Connection {
    peer: Peer,
    is_local: bool,
    activity: ConnectionActivity,
    task: AbortHandle,
}

/// Whether a connection has sent a request.
#[derive(Clone, Debug, Default)]
pub(super) struct ConnectionActivity(Arc<AtomicBool>);

impl ConnectionActivity {
    /// Records that a request has arrived: from then on the connection is not closed for another one.
    pub(super) fn record_request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_silent(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

impl Connections {
    /// Makes room for a connection of `peer` and runs its task. Closes the oldest silent connection of that process if it
    /// has too many, or of the process with the most if there are too many in all. Returns whether there was room.
    pub(super) fn serve<F>(&mut self, peer: Peer, task: impl FnOnce(ConnectionActivity) -> F) -> bool
    where
        F: Future<Output = ()> + Send + 'static,
    {
        while self.tasks.try_join_next().is_some() {}
        self.open.retain(|connection| !connection.task.is_finished());
        let is_local = peer.is_in_this_container();
        if self.silent_of(peer) >= MAX_SILENT {
            self.close_oldest_silent(|connection| connection.peer == peer);
        }
        if self.open.iter().filter(|connection| connection.is_local == is_local).count() >= MAX_CONNECTIONS {
            let silent = self
                .open
                .iter()
                .filter(|connection| connection.is_local == is_local && connection.activity.is_silent());
            // Of several processes with the most, the one with the oldest connection.
            let Some(crowd) =
                silent.rev().map(|connection| connection.peer).max_by_key(|peer| self.silent_of(*peer))
            else {
                return false;
            };
            self.close_oldest_silent(|connection| connection.peer == crowd);
        }
        let activity = ConnectionActivity::default();
        let task = self.tasks.spawn(task(activity.clone()));
        self.open.push(Connection { peer, is_local, activity, task });
        true
    }

    fn silent_of(&self, peer: Peer) -> usize {
        self.open
            .iter()
            .filter(|connection| connection.peer == peer && connection.activity.is_silent())
            .count()
    }

    fn close_oldest_silent(&mut self, is_candidate: impl Fn(&Connection) -> bool) {
        let oldest = self
            .open
            .iter()
            .position(|connection| connection.activity.is_silent() && is_candidate(connection));
        if let Some(oldest) = oldest {
            self.open.remove(oldest).task.abort();
        }
    }
}
