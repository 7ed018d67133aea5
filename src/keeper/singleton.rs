//! The keeper's lock: one keeper per home; a standby acquires it when the holder exits.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use codex_auth_platform::filesystem::{self, FileId, Presence};
use codex_auth_platform::lock::{self, FileLock, Holder, LockFileMode, Wait};

use super::client::{Client, ProbeResult};
use crate::config::Environment;
use crate::home::Home;
use crate::store;
use crate::watch::MISSING_GRACE;

/// How often a standby tries to acquire the lock.
const STANDBY_INTERVAL: Duration = Duration::from_millis(400);

/// How often a standby probes the keeper's socket, and how long it waits for the response.
const PROBE_INTERVAL: Duration = Duration::from_secs(3);
/// How long a keeper may accept connections without responding before a standby takes over.
const MAX_SILENCE: Duration = Duration::from_secs(15);

/// The lock of a home's keeper. Released on drop, and by the kernel when the process ends.
#[derive(Debug)]
#[must_use = "the lock is released on drop"]
pub struct KeeperLock {
    home: Home,
    lock: FileLock,
    identity: Option<FileId>,
    folder: Option<FileId>,
    missing: Mutex<MissingSince>,
    start: KeeperStart,
}

/// How a process became the keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeeperStart {
    /// There was no other keeper.
    Alone,
    /// It stood by before.
    TookOver,
}

/// The result of [`KeeperLock::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LockCheck {
    /// This process is the keeper.
    Held,
    /// There is no lock file, but it has been missing for less than [`MISSING_GRACE`].
    Missing {
        /// The rest of that time.
        left: Duration,
    },
}

/// Since when the lock file has been missing.
#[derive(Debug, Default)]
struct MissingSince(Option<Instant>);

impl MissingSince {
    /// Returns the rest of [`MISSING_GRACE`] for a file that is missing now; `None` if it is over.
    fn grace(&mut self) -> Option<Duration> {
        let since = *self.0.get_or_insert_with(Instant::now);
        MISSING_GRACE.checked_sub(since.elapsed()).filter(|left| !left.is_zero())
    }
}

/// The name in the note of a keeper's lock, before its version.
const PROGRAM: &str = "codex-auth keeper";

/// The process that is the keeper of a home, by the note in its lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunningKeeper {
    /// The name, version and process id.
    pub holder: Holder,
}

impl RunningKeeper {
    /// Returns the keeper of `home`; `None` if none runs. Acquires no lock.
    #[must_use]
    pub fn of(home: &Home) -> Option<Self> {
        lock::holder(&home.keeper_lock()).map(|holder| Self { holder })
    }

    /// Returns whether it is of an older version than this program. The first versions noted none, and serve no exports.
    #[must_use]
    pub fn is_older(&self) -> bool {
        let numbers = |version: &str| -> Vec<u64> {
            version.split(['.', '-', '+']).map_while(|number| number.parse().ok()).collect()
        };
        let version = self.holder.program.strip_prefix(PROGRAM).unwrap_or_default().trim();
        numbers(version) < numbers(env!("CARGO_PKG_VERSION"))
    }
}

/// Why a keeper cannot start or continue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The keeper's lock cannot be acquired.
    #[error("cannot start the keeper: {0}")]
    Lock(#[source] lock::Error),
    /// The thread that watches the login has ended.
    #[error("the file watcher stopped; restart the keeper: codex sync run")]
    WatchStopped,
    /// Another keeper has the lock, because this process did not respond.
    #[error("another keeper has taken over, because this one did not respond for {} s", MAX_SILENCE.as_secs())]
    TakenOver,
    /// The lock file was removed or replaced.
    #[error("the login's folder was removed or replaced; restart the keeper: codex sync run")]
    LockLost,
    /// The path of the home leads to another folder.
    #[error(
        "{} now leads to {} instead of {}; restart the keeper: codex sync run",
        spelled.display(), now.display(), was.display()
    )]
    Repointed {
        /// The path that the keeper was started with.
        spelled: PathBuf,
        /// The folder whose login it refreshes.
        was: PathBuf,
        /// The folder that the path leads to.
        now: PathBuf,
    },
    /// The folder of an account does not exist.
    #[error("{} does not exist", path.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The folder of the home cannot be created.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl KeeperLock {
    /// Waits until this process is the keeper of `home`. If it has to wait, `waiting` is called once with the current
    /// holder.
    ///
    /// It takes over when the holder exits, or has accepted connections for 15 s without responding to any. A stopped
    /// keeper that continues later detects that and ends ([`Error::TakenOver`]). Until then both may refresh, under the
    /// lease.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Lock`]: the home cannot be written. If it becomes inaccessible during the wait, or is
    /// missing for less than [`MISSING_GRACE`], the wait continues.
    pub async fn acquire(
        home: &Home,
        environment: &Environment,
        mut waiting: impl FnMut(Option<Holder>),
    ) -> Result<Self, Error> {
        let home = store::create_folders(home)?;
        let path = home.keeper_lock();
        let mut probe = SocketProbe::new(Client::of(&home, environment));
        let mut announced = false;
        let mut missing = MissingSince::default();
        loop {
            match FileLock::acquire(&path, LockFileMode::Private, Wait::No) {
                Ok(lock) => return Ok(Self::of(home, lock, KeeperStart::after_wait(announced))),
                Err(lock::Error::Held { holder, .. }) => {
                    missing = MissingSince::default();
                    if !std::mem::replace(&mut announced, true) {
                        waiting(holder);
                    }
                    if probe.has_stopped(&path).await {
                        tracing::warn!("the keeper does not respond; taking over");
                        let lock = FileLock::seize(&path).map_err(Error::Lock)?;
                        return Ok(Self::of(home, lock, KeeperStart::TookOver));
                    }
                }
                Err(error) => match filesystem::presence(&path) {
                    Presence::Unknown if announced => {}
                    Presence::Absent if announced && missing.grace().is_some() => {}
                    _ => return Err(Error::Lock(error)),
                },
            }
            tokio::time::sleep(STANDBY_INTERVAL).await;
        }
    }

    fn of(home: Home, lock: FileLock, start: KeeperStart) -> Self {
        lock.write_note(&format!("{PROGRAM} {}", env!("CARGO_PKG_VERSION")));
        let identity = filesystem::identity(lock.path());
        let folder = filesystem::identity(&home.folder());
        Self { home, lock, identity, folder, missing: Mutex::default(), start }
    }

    /// Returns the home.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Returns how this process became the keeper.
    pub(super) fn start(&self) -> KeeperStart {
        self.start
    }

    /// Checks that the lock file was not removed or replaced, and that the path of the home still leads there. Succeeds
    /// if the home is inaccessible for the moment. A lock file that is missing may come back with its folder, so it
    /// counts as removed after [`MISSING_GRACE`] only.
    ///
    /// # Errors
    /// [`Error::LockLost`], [`Error::TakenOver`], [`Error::Repointed`].
    pub(super) fn check(&self) -> Result<LockCheck, Error> {
        let found = filesystem::presence(self.lock.path());
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if found == Presence::Absent {
            return missing.grace().map(|left| LockCheck::Missing { left }).ok_or(Error::LockLost);
        }
        *missing = MissingSince::default();
        match found {
            Presence::Unknown => return Ok(LockCheck::Held),
            Presence::Present(now) if Some(now) == self.identity => {}
            Presence::Present(_) if filesystem::identity(&self.home.folder()) == self.folder => {
                return Err(Error::TakenOver);
            }
            Presence::Present(_) | Presence::Absent => return Err(Error::LockLost),
        }
        // The lock file was found by the canonical path.
        if self.home.spelled() == self.home.path() || self.home.is_at_spelling() {
            return Ok(LockCheck::Held);
        }
        match self.home.resolve_spelling_again() {
            Ok(now) if now != self.home => Err(Error::Repointed {
                spelled: self.home.spelled().to_owned(),
                was: self.home.path().to_owned(),
                now: now.path().to_owned(),
            }),
            // A path that leads nowhere may be restored; the folder still exists.
            _ => Ok(LockCheck::Held),
        }
    }
}

impl KeeperStart {
    fn after_wait(has_waited: bool) -> Self {
        if has_waited { Self::TookOver } else { Self::Alone }
    }
}

/// Probes the keeper's socket every [`PROBE_INTERVAL`].
struct SocketProbe {
    client: Option<Client>,
    due: Instant,
    /// Since when it has not responded, and the lock file at that time.
    silent: Option<(Instant, Option<FileId>)>,
}

impl SocketProbe {
    fn new(client: Option<Client>) -> Self {
        Self { client, due: Instant::now() + PROBE_INTERVAL, silent: None }
    }

    /// Whether the holder of the lock at `path` has accepted connections without responding for [`MAX_SILENCE`].
    async fn has_stopped(&mut self, path: &Path) -> bool {
        let Some(client) = self.client.clone().filter(|_| Instant::now() >= self.due) else { return false };
        let (began, holder) = (Instant::now(), filesystem::identity(path));
        let response = tokio::task::spawn_blocking(move || client.probe(PROBE_INTERVAL)).await;
        self.due = Instant::now() + PROBE_INTERVAL;
        if !matches!(response, Ok(ProbeResult::Silent)) {
            self.silent = None;
            return false;
        }
        let silent = self.silent.filter(|(_, before)| *before == holder).unwrap_or((began, holder));
        self.silent = Some(silent);
        silent.0.elapsed() >= MAX_SILENCE
    }
}
