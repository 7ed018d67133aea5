//! Serves the exports of a home: keeps their documents in step with the login, and listens at their sockets.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use codex_auth_platform::filesystem::{self, Presence};
use codex_auth_platform::lock;
use codex_auth_platform::private_file::HeldFolder;
use jiff::Timestamp;
use tokio::sync::watch::Receiver;
use tokio::task::{AbortHandle, JoinSet};

use super::export::{Export, ExportError};
use super::export_list::{ExportList, LockedExports};
use super::file_watch::FileWatch;
use super::private_home::{PrivateHome, PrivateHomes};
use super::publication::{WritePolicy, publish};
use super::shared::KeeperShared;
use super::singleton::Error;
use super::socket::KeeperSocket;
use crate::home::Home;
use crate::manager::Snapshot;

/// How long a command may keep the keeper from writing; it is tried again at the next report of the watch.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// How long changes in the exported folders wait, so that a container that may write there cannot keep the keeper busy.
const FOLDER_PAUSE: Duration = Duration::from_millis(500);

/// How often the private homes of runs are looked at while there are some: no event tells that a command has ended.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The exports of the keeper's home.
pub(super) struct ExportServer {
    shared: Arc<KeeperShared>,
    reads: Receiver<u64>,
    served: Vec<ServedExport>,
    sockets: JoinSet<Error>,
    /// The failures that were logged already.
    failures: Vec<String>,
}

/// An export whose document this keeper has written and at whose socket it listens.
struct ServedExport {
    written: WrittenExport,
    socket: AbortHandle,
}

/// An export whose document this keeper has written.
#[derive(Clone)]
struct WrittenExport {
    export: Export,
    folder: Arc<HeldFolder>,
}

/// What [`write_all`] has done.
#[derive(Default)]
struct WriteOutcome {
    written: Vec<WrittenExport>,
    failures: Vec<String>,
    /// The documents of all exports.
    documents: Vec<PathBuf>,
}

impl ExportServer {
    pub(super) fn new(shared: Arc<KeeperShared>, reads: Receiver<u64>) -> Self {
        Self { shared, reads, served: Vec::new(), sockets: JoinSet::new(), failures: Vec::new() }
    }

    /// Serves the exports until it is dropped. A document is replaced as soon as a refresh is stored, and a new or
    /// removed export is noticed at once. A document or folder that was removed or replaced returns within a second.
    pub(super) async fn serve(mut self) -> Infallible {
        let mut snapshots = self.shared.manager.subscribe();
        let places = vec![self.shared.home.export_list(), self.shared.home.runs()];
        let mut list = FileWatch::of(places, &self.shared.files);
        let mut folders: Option<(Vec<PathBuf>, FileWatch)> = None;
        loop {
            let snapshot = snapshots.borrow_and_update().clone();
            let (home, now) = (self.shared.home.clone(), self.shared.clock.now());
            let before: Vec<_> = self.served.iter().map(|served| served.written.clone()).collect();
            // An account without exports costs no thread.
            let is_idle = before.is_empty() && has_none(&home);
            let work = move || (sweep(&home), write_all(&home, &snapshot, now, &before));
            let outcome = match is_idle {
                true => Ok((PrivateHomes::None, Ok(WriteOutcome::default()))),
                false => tokio::task::spawn_blocking(work).await,
            };
            let mut homes = PrivateHomes::None;
            match outcome {
                Ok((left, Ok(outcome))) => {
                    homes = left;
                    self.log(outcome.failures);
                    self.listen(outcome.written);
                    let documents = outcome.documents;
                    if folders.as_ref().is_none_or(|(watched, _)| *watched != documents) {
                        let watch = |paths: &[PathBuf]| FileWatch::of(paths.to_vec(), &self.shared.files);
                        folders = (!documents.is_empty()).then(|| (documents.clone(), watch(&documents)));
                    }
                }
                Ok((_, Err(error))) => self.log(vec![format!("cannot export the login: {error}")]),
                Err(error) => tracing::error!(%error, "cannot export the login"),
            }
            let earliest = tokio::time::Instant::now() + FOLDER_PAUSE;
            let folder_change = async {
                match &mut folders {
                    Some((_, watch)) => {
                        tokio::time::sleep_until(earliest).await;
                        watch.next_or_round().await;
                    }
                    None => std::future::pending().await,
                }
            };
            let list_change = async {
                match is_idle {
                    true => list.next().await,
                    false => list.next_or_round().await,
                }
            };
            let next_sweep = async {
                match homes {
                    PrivateHomes::InUse => tokio::time::sleep(SWEEP_INTERVAL).await,
                    PrivateHomes::None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = next_sweep => {}
                changed = snapshots.changed() => if changed.is_err() {
                    std::future::pending::<()>().await;
                },
                () = list_change => {}
                () = folder_change => {}
            }
        }
    }

    /// Logs what has failed, unless it failed in the same way before.
    fn log(&mut self, failures: Vec<String>) {
        for failure in failures.iter().filter(|failure| !self.failures.contains(failure)) {
            tracing::warn!("{failure}");
        }
        self.failures = failures;
    }

    /// Listens at the sockets of `exports`, and at no others. Closing a socket ends its connections.
    fn listen(&mut self, exports: Vec<WrittenExport>) {
        self.served.retain(|served| {
            let stays =
                exports.iter().any(|export| export.is_same(&served.written)) && !served.socket.is_finished();
            if !stays {
                served.socket.abort();
            }
            stays
        });
        while self.sockets.try_join_next().is_some() {}
        for written in exports {
            if self.served.iter().any(|served| served.written.is_same(&written)) {
                continue;
            }
            let socket = KeeperSocket::of_export(&self.shared.lock, written.export.clone());
            let socket = self.sockets.spawn(socket.answer(Arc::clone(&self.shared), self.reads.clone()));
            tracing::info!(folder = %written.export.folder.display(), "exporting the login");
            self.served.push(ServedExport { written, socket });
        }
    }
}

impl WrittenExport {
    fn open(export: Export) -> Result<Self, String> {
        let opened = export.create_folder().and_then(|()| HeldFolder::open(&export.folder));
        match opened {
            Ok(folder) => Ok(Self { export, folder: Arc::new(folder) }),
            Err(error) => Err(format!("cannot export into {}: {error}", export.folder.display())),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.export == other.export && Arc::ptr_eq(&self.folder, &other.folder)
    }

    /// Whether the folder was neither moved nor replaced.
    fn is_in_place(&self) -> bool {
        self.export.link().is_none() && self.folder.is_at(&self.export.folder)
    }
}

/// Whether `home` has neither exports nor homes of runs.
fn has_none(home: &Home) -> bool {
    [home.export_list(), home.runs()].iter().all(|path| filesystem::presence(path) == Presence::Absent)
}

/// Removes the homes that killed runs have left.
fn sweep(home: &Home) -> PrivateHomes {
    PrivateHome::sweep(home).unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot remove the homes of runs that have ended");
        PrivateHomes::None
    })
}

/// Writes or removes the documents of all exports of `home`, and returns those whose folder can be used. Those that were
/// served `before` with the same options are written only if they differ.
fn write_all(
    home: &Home,
    snapshot: &Snapshot,
    now: Timestamp,
    before: &[WrittenExport],
) -> Result<WriteOutcome, ExportError> {
    if before.is_empty() && filesystem::presence(&home.export_list()) == Presence::Absent {
        return Ok(WriteOutcome::default());
    }
    let _locked = match LockedExports::acquire(home, LOCK_WAIT) {
        Ok(locked) => Some(locked),
        // No process can change the list either.
        Err(ExportError::Lock(lock::Error::ReadOnly { .. })) => None,
        Err(error) => return Err(error),
    };
    let exports = ExportList::read(home)?.exports;
    let is_exported = |folder: &Path| exports.iter().any(|export| export.folder == folder);
    let mut outcome = WriteOutcome::default();
    for old in before {
        let removed = match () {
            () if !old.is_in_place() => Export::clear(&old.folder),
            // The command that removed it may have been killed before it removed the document. The socket stays until its
            // connections are closed.
            () if !is_exported(&old.export.folder) => Export::remove_document(&old.folder),
            () => Ok(()),
        };
        if let Err(error) = removed {
            let folder = old.export.folder.display();
            outcome.failures.push(format!("cannot remove the export that was at {folder}: {error}"));
        }
    }
    outcome.documents = exports.iter().map(Export::document).collect();
    for export in exports {
        let known = before.iter().find(|old| old.export == export && old.is_in_place());
        let policy = if known.is_some() { WritePolicy::IfDifferent } else { WritePolicy::Always };
        let written = match known.cloned().map_or_else(|| WrittenExport::open(export), Ok) {
            Ok(written) => written,
            Err(failure) => {
                outcome.failures.push(failure);
                continue;
            }
        };
        // The others are written all the same.
        if let Err(error) = publish(&written.export, snapshot, now, policy) {
            let folder = written.export.folder.display();
            outcome.failures.push(format!("cannot write the export {folder}: {error}"));
        }
        outcome.written.push(written);
    }
    Ok(outcome)
}
