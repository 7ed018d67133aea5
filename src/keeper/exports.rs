//! Serves the exports of a home: keeps their documents in step with the login, and listens at their sockets.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use codex_auth_platform::filesystem::{self, Presence};
use jiff::Timestamp;
use tokio::sync::watch::Receiver;
use tokio::task::{AbortHandle, JoinSet};

use super::export::{Export, ExportError};
use super::export_list::{ExportList, LockedExports};
use super::file_watch::FileWatch;
use super::private_home::PrivateHome;
use super::publication::{WritePolicy, publish};
use super::shared::KeeperShared;
use super::singleton::Error;
use super::socket::KeeperSocket;
use crate::home::Home;
use crate::manager::Snapshot;

/// How long a command may keep the keeper from writing; it is tried again at the next report of the watch.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// The exports of the keeper's home.
pub(super) struct ExportServer {
    shared: Arc<KeeperShared>,
    reads: Receiver<u64>,
    served: Vec<ServedExport>,
    sockets: JoinSet<Error>,
}

/// An export whose document this keeper has written and at whose socket it listens.
struct ServedExport {
    export: Export,
    socket: AbortHandle,
}

impl ExportServer {
    pub(super) fn new(shared: Arc<KeeperShared>, reads: Receiver<u64>) -> Self {
        Self { shared, reads, served: Vec::new(), sockets: JoinSet::new() }
    }

    /// Serves the exports until it is dropped. A document is replaced as soon as a refresh is stored, and a new or
    /// removed export is noticed at once. What fails is tried again within half a minute.
    pub(super) async fn serve(mut self) -> Infallible {
        let mut snapshots = self.shared.manager.subscribe();
        let mut list = FileWatch::of(vec![self.shared.home.export_list()], &self.shared.files);
        loop {
            let snapshot = snapshots.borrow_and_update().clone();
            let (home, now) = (self.shared.home.clone(), self.shared.clock.now());
            let before: Vec<_> = self.served.iter().map(|served| served.export.clone()).collect();
            let written =
                tokio::task::spawn_blocking(move || write_all(&home, &snapshot, now, &before)).await;
            match written {
                Ok(Ok(exports)) => self.listen(exports),
                Ok(Err(error)) => tracing::warn!(%error, "cannot export the login"),
                Err(error) => tracing::error!(%error, "cannot export the login"),
            }
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() {
                    std::future::pending::<()>().await;
                },
                () = list.next() => {}
            }
        }
    }

    /// Listens at the sockets of `exports`, and at no others. Closing a socket ends its connections.
    fn listen(&mut self, exports: Vec<Export>) {
        self.served.retain(|served| {
            let stays = exports.contains(&served.export) && !served.socket.is_finished();
            if !stays {
                served.socket.abort();
            }
            stays
        });
        while self.sockets.try_join_next().is_some() {}
        for export in exports {
            if self.served.iter().any(|served| served.export == export) {
                continue;
            }
            let socket = KeeperSocket::of_export(&self.shared.lock, export.clone());
            let socket = self.sockets.spawn(socket.answer(Arc::clone(&self.shared), self.reads.clone()));
            tracing::info!(folder = %export.folder.display(), "exporting the login");
            self.served.push(ServedExport { export, socket });
        }
    }
}

/// Writes or removes the documents of all exports of `home`, and returns the exports. Those that were served `before`
/// with the same options are written only if they differ.
fn write_all(
    home: &Home,
    snapshot: &Snapshot,
    now: Timestamp,
    before: &[Export],
) -> Result<Vec<Export>, ExportError> {
    // A killed `codex run` has left its home.
    if let Err(error) = PrivateHome::sweep(home) {
        tracing::warn!(%error, "cannot remove the homes of runs that have ended");
    }
    if before.is_empty() && filesystem::presence(&home.export_list()) == Presence::Absent {
        return Ok(Vec::new());
    }
    let _locked = LockedExports::acquire(home, LOCK_WAIT)?;
    let exports = ExportList::read(home)?.exports;
    let is_exported = |folder: &Path| exports.iter().any(|export| export.folder == folder);
    // The command that removed it may have been killed before it removed the document.
    for removed in before.iter().filter(|export| !is_exported(&export.folder)) {
        removed.withdraw()?;
    }
    for export in &exports {
        let policy = if before.contains(export) { WritePolicy::IfDifferent } else { WritePolicy::Always };
        // The others are written all the same.
        if let Err(error) = publish(export, snapshot, now, policy) {
            tracing::warn!(%error, folder = %export.folder.display(), "cannot write an export");
        }
    }
    Ok(exports)
}
