//! Being the keeper of a home: held by one process at a time, taken over when that one is gone.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use codex_auth_platform::filesystem::{self, FileId, Presence};
use codex_auth_platform::lock::{self, Creation, FileLock, Holder, Mode, Wait};

use super::client::{Client, ProbeResult};
use crate::config::Environment;
use crate::home::Home;
use crate::store;

/// How often one who stands by tries: it has taken over well within a second.
const STAND_BY: Duration = Duration::from_millis(400);

/// How often one that stands by asks the keeper whether it answers.
const PROBE: Duration = Duration::from_secs(3);
/// How long a keeper whose socket accepts connections may answer none of them, before it counts as stopped.
const STOPPED: Duration = Duration::from_secs(15);

/// The proof that this process is the keeper of a home. Given up on drop, and by the kernel when the process ends.
#[derive(Debug)]
#[must_use = "the post is given up on drop"]
pub struct KeeperLock {
    home: Home,
    lock: FileLock,
    identity: Option<FileId>,
    folder: Option<FileId>,
}

/// Why there is no keeper here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The keeper's lock cannot be used.
    #[error("no keeper can be here: {0}")]
    Lock(#[source] lock::Error),
    /// The thread that watches the login is gone.
    #[error("changes of the login are not noticed any more; start the keeper again")]
    NobodyLooks,
    /// Another keeper has the post, because this process did not answer for a while.
    #[error("another keeper has taken over, because this one did not answer for {} s", STOPPED.as_secs())]
    TakenOver,
    /// The lock file is not where it was.
    #[error("the folder of the login was removed or replaced; start the keeper again")]
    LockLost,
    /// The path of the home leads to another folder now.
    #[error("{} leads to {} now, and not to {}; start the keeper again", spelled.display(), now.display(), was.display())]
    Repointed {
        /// The path as the keeper was given it.
        spelled: PathBuf,
        /// The folder that it keeps fresh.
        was: PathBuf,
        /// The folder that the path leads to.
        now: PathBuf,
    },
    /// The folder of the home cannot be made.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl KeeperLock {
    /// Waits until this process is the keeper of `home`. `waiting` is called once, with the process that is.
    ///
    /// It becomes the keeper when that process ends, and when that process has stopped: its socket accepts connections and
    /// answers none of them for 15 s. A stopped keeper that goes on finds out and ends ([`Error::TakenOver`]). Until then
    /// both may refresh, under the lease as all processes do.
    ///
    /// Dropping the future leaves nothing behind.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Lock`]: the home cannot be written. A home that is closed while this waits is waited for.
    pub async fn take(
        home: &Home,
        environment: &Environment,
        mut waiting: impl FnMut(Option<Holder>),
    ) -> Result<Self, Error> {
        let home = store::make_folders(home)?;
        let path = home.keeper_lock();
        let mut probe = SocketProbe::new(Client::of(&home, environment));
        let mut told = false;
        loop {
            match FileLock::acquire(&path, Mode::Exclusive, Creation::Private, Wait::No) {
                Ok(lock) => return Ok(Self::of(home, lock)),
                Err(lock::Error::Held { holder, .. }) => {
                    if !std::mem::replace(&mut told, true) {
                        waiting(holder);
                    }
                    if probe.has_stopped(&path).await {
                        tracing::warn!("the keeper has stopped: it answers nothing; taking over");
                        return Ok(Self::of(home, FileLock::seize(&path).map_err(Error::Lock)?));
                    }
                }
                Err(_) if told && filesystem::presence(&path) == Presence::Unknown => {}
                Err(error) => return Err(Error::Lock(error)),
            }
            tokio::time::sleep(STAND_BY).await;
        }
    }

    fn of(home: Home, lock: FileLock) -> Self {
        lock.sign("codex-auth keeper");
        let identity = filesystem::identity(lock.path());
        let folder = filesystem::identity(&home.folder());
        Self { home, lock, identity, folder }
    }

    /// The place.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Checks that the lock file is where it was locked, and that the path of the home still leads there. A home that is
    /// closed for now passes.
    ///
    /// # Errors
    /// [`Error::LockLost`], [`Error::TakenOver`], [`Error::Repointed`].
    pub(super) fn check(&self) -> Result<(), Error> {
        match filesystem::presence(self.lock.path()) {
            Presence::Unknown => return Ok(()),
            Presence::There(now) if Some(now) == self.identity => {}
            Presence::There(_) if filesystem::identity(&self.home.folder()) == self.folder => {
                return Err(Error::TakenOver);
            }
            Presence::There(_) | Presence::Gone => return Err(Error::LockLost),
        }
        match self.home.resolve_again() {
            Ok(now) if now != self.home => Err(Error::Repointed {
                spelled: self.home.spelled().to_owned(),
                was: self.home.path().to_owned(),
                now: now.path().to_owned(),
            }),
            // A path that leads nowhere for now may lead here again, and the folder is there.
            _ => Ok(()),
        }
    }
}

/// Asks the keeper at a socket now and then whether it answers.
struct SocketProbe {
    client: Option<Client>,
    due: Instant,
    /// Since when it has answered nothing, and which lock file it had then.
    silent: Option<(Instant, Option<FileId>)>,
}

impl SocketProbe {
    fn new(client: Option<Client>) -> Self {
        Self { client, due: Instant::now() + PROBE, silent: None }
    }

    /// Whether the holder of the lock at `path` has accepted connections and answered none for [`STOPPED`].
    async fn has_stopped(&mut self, path: &Path) -> bool {
        let Some(client) = self.client.clone().filter(|_| Instant::now() >= self.due) else { return false };
        let (began, holder) = (Instant::now(), filesystem::identity(path));
        let response = tokio::task::spawn_blocking(move || client.probe(PROBE)).await;
        self.due = Instant::now() + PROBE;
        if !matches!(response, Ok(ProbeResult::Silent)) {
            self.silent = None;
            return false;
        }
        let silent = self.silent.filter(|(_, before)| *before == holder).unwrap_or((began, holder));
        self.silent = Some(silent);
        silent.0.elapsed() >= STOPPED
    }
}
