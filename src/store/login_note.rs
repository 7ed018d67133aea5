//! The note of a running browser login: the port it listens on, and the token by which another login may stop it.

use codex_auth_platform::private_file::{self, DirectoryState, FileMode, Links, MountPolicy};
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::lease::create_folders;
use crate::home::Home;
use crate::secret::Secret;

const MAX_NOTE_BYTES: u64 = 4096;

/// The note of our own login, in `codex-auth/login`. Dropping it removes the file, unless a later login has replaced
/// it. A killed process leaves the file behind, with a port on which nothing listens.
#[derive(Debug)]
#[must_use = "the note is removed when this is dropped"]
pub struct LoginNote {
    home: Home,
    token: Secret,
}

/// A browser login that is running, by its note.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunningLogin {
    /// The local port that it listens on.
    pub port: u16,
    /// The token that a request to stop it must carry.
    pub token: Secret,
}

#[derive(Serialize, Deserialize)]
struct NoteFile {
    port: u16,
    token: String,
}

impl LoginNote {
    /// Writes the note of a login that listens on `port` and stops for `token`. Creates missing folders. Takes no lock:
    /// of two simultaneous logins the later one's note stays, and the earlier one does not remove it.
    ///
    /// # Errors
    /// [`Error::ReadOnlyHome`], [`Error::File`]: nothing can be stored in this home.
    pub fn write(home: &Home, port: u16, token: &Secret) -> Result<Self, Error> {
        if private_file::directory_state(home.path())? == DirectoryState::ReadOnly {
            return Err(Error::ReadOnlyHome { path: home.path().to_owned() });
        }
        create_folders(home)?;
        let written = NoteFile { port, token: token.expose().to_owned() };
        // Encoding a number and a string cannot fail.
        let bytes = serde_json::to_vec(&written).unwrap_or_default();
        private_file::replace(
            &home.login_note(),
            &bytes,
            Links::Refuse,
            MountPolicy::Refuse,
            FileMode::Private,
        )?;
        Ok(Self { home: home.clone(), token: token.clone() })
    }

    /// Returns the login that is running in `home`, if it has a note that can be read.
    #[must_use]
    pub fn read(home: &Home) -> Option<RunningLogin> {
        let contents = private_file::read(&home.login_note(), MAX_NOTE_BYTES, Links::Refuse).ok()??;
        let NoteFile { port, token } = serde_json::from_slice(&contents.bytes).ok()?;
        Some(RunningLogin { port, token: Secret::new(token) })
    }
}

impl Drop for LoginNote {
    fn drop(&mut self) {
        if Self::read(&self.home).is_some_and(|running| running.token == self.token) {
            // A note that stays is replaced by the next login.
            let _ = private_file::remove(&self.home.login_note(), Links::Refuse);
        }
    }
}
