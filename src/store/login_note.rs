//! The note of a login by browser that is going on: where it listens, and the word by which it yields to another.

use codex_auth_platform::private_file::{self, DirectoryState, Links, MountPolicy};
use serde::{Deserialize, Serialize};

use super::Error;
use crate::home::Home;
use crate::secret::Secret;

const LIMIT: u64 = 4096;

/// The note of our own login, in `codex-auth/login`. It is removed when this is dropped, unless a later login has put
/// its own there; a process that is killed leaves it behind, and then it leads nowhere.
#[derive(Debug)]
#[must_use = "the note is removed when this is dropped"]
pub struct LoginNote {
    home: Home,
    token: Secret,
}

/// A login by browser that says it is going on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunningLogin {
    /// The port of this machine that it listens on.
    pub port: u16,
    /// What it yields to, and to nothing else.
    pub token: Secret,
}

#[derive(Serialize, Deserialize)]
struct NoteFile {
    port: u16,
    token: String,
}

impl LoginNote {
    /// Says in `home` that we listen on `port` and yield to `token`. The folders are made where they are missing. It
    /// takes no lock: of two logins at once the later one is found, and the earlier one removes nothing of it.
    ///
    /// # Errors
    /// [`Error::ReadOnlyHome`], [`Error::File`]: nothing can be kept here, so no login has any use.
    pub fn write(home: &Home, port: u16, token: &Secret) -> Result<Self, Error> {
        if private_file::directory(home.path())? == DirectoryState::Missing {
            private_file::create_directory(home.path())?;
        }
        if private_file::directory(home.path())? == DirectoryState::ReadOnly {
            return Err(Error::ReadOnlyHome { path: home.path().to_owned() });
        }
        private_file::create_directory(&home.folder())?;
        let written = NoteFile { port, token: token.expose().to_owned() };
        // A number and a text have no way to fail.
        let bytes = serde_json::to_vec(&written).unwrap_or_default();
        private_file::replace(&home.login_note(), &bytes, Links::Refuse, MountPolicy::Refuse)?;
        Ok(Self { home: home.clone(), token: token.clone() })
    }

    /// The login that is going on in `home`, if there is a note of one. One that cannot be read is none.
    #[must_use]
    pub fn read(home: &Home) -> Option<RunningLogin> {
        let contents = private_file::read(&home.login_note(), LIMIT, Links::Refuse).ok()??;
        let NoteFile { port, token } = serde_json::from_slice(&contents.bytes).ok()?;
        Some(RunningLogin { port, token: Secret::new(token) })
    }
}

impl Drop for LoginNote {
    fn drop(&mut self) {
        if Self::read(&self.home).is_some_and(|running| running.token == self.token) {
            // What is left behind leads nowhere and is replaced by the next login.
            let _ = private_file::remove(&self.home.login_note(), Links::Refuse);
        }
    }
}
