//! Being the keeper of a home: held by one process at a time, taken over when that one is gone.

use std::path::PathBuf;
use std::time::Duration;

use codex_auth_platform::filesystem::{self, Identity};
use codex_auth_platform::lock::{self, Creation, FileLock, Holder, Mode, Wait};

use crate::home::Home;
use crate::store;

/// How often one who stands by tries: it has taken over well within a second.
const STAND_BY: Duration = Duration::from_millis(400);

/// The proof that this process is the keeper of a home. Given up on drop, and by the kernel when the process ends.
#[derive(Debug)]
#[must_use = "the post is given up on drop"]
pub struct Post {
    home: Home,
    lock: FileLock,
    identity: Option<Identity>,
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
    /// The lock file is not where it was.
    #[error("the folder of the login was removed or replaced; start the keeper again")]
    PostLost,
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

impl Post {
    /// Waits until this process is the keeper of `home`. `waiting` is told once who is.
    ///
    /// Dropping the future leaves nothing behind.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Lock`]: the home cannot be written.
    pub async fn take(home: &Home, mut waiting: impl FnMut(Option<Holder>)) -> Result<Self, Error> {
        let home = store::make_folders(home)?;
        let path = home.keeper_lock();
        let mut told = false;
        loop {
            match FileLock::acquire(&path, Mode::Exclusive, Creation::Private, Wait::No) {
                Ok(lock) => {
                    lock.sign("codex-auth keeper");
                    let identity = filesystem::identity(&path);
                    return Ok(Self { home, lock, identity });
                }
                Err(lock::Error::Held { holder, .. }) => {
                    if !std::mem::replace(&mut told, true) {
                        waiting(holder);
                    }
                }
                Err(error) => return Err(Error::Lock(error)),
            }
            tokio::time::sleep(STAND_BY).await;
        }
    }

    /// The place.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Whether the lock file is where it was locked, and the path of the home still leads there: another one in its place
    /// is another post.
    pub(super) fn check(&self) -> Result<(), Error> {
        if filesystem::identity(self.lock.path()) != self.identity {
            return Err(Error::PostLost);
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
