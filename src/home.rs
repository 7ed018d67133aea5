//! A home: the folder that a login belongs to, and the names of the files in it.
//!
//! A home is an argument of stores, leases and state, and never a global: several accounts are several homes. This
//! module only names things; whether they exist is the business of [`crate::store`].

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// The folder of one login. `CODEX_HOME` is the default one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// The home at `path`, taken as given. [`crate::store::locate`] makes the path canonical first, which the name
    /// of the keychain item depends on.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The first 16 hex digits of SHA-256 of the home as text, which names the home where a path cannot stand
    /// (`codex-behaviour.md` 1.4).
    #[must_use]
    pub fn hash(&self) -> String {
        let digest = Sha256::digest(self.path.to_string_lossy().as_bytes());
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The document of the file store. It may be a symbolic link.
    #[must_use]
    pub fn document(&self) -> PathBuf {
        self.path.join("auth.json")
    }

    /// The first of Codex's own commit locks. It stays here even where the document is a link.
    #[must_use]
    pub fn first_commit_lock(&self) -> PathBuf {
        self.path.join("auth.lock")
    }

    /// The configuration that is shared with Codex.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// The folder of everything that is ours alone.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.path.join("codex-auth")
    }

    /// What the lease locks.
    #[must_use]
    pub fn refresh_lock(&self) -> PathBuf {
        self.folder().join("refresh.lock")
    }

    /// What all instances know of this login; no secret in it.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder().join("state.json")
    }

    /// What the keeper of this home holds for as long as it is the one.
    #[must_use]
    pub fn keeper_lock(&self) -> PathBuf {
        self.folder().join("keeper.lock")
    }

    /// Where the keeper answers: in a folder of its own, which can be mounted into a container.
    #[must_use]
    pub fn keeper_socket(&self) -> PathBuf {
        self.folder().join("keeper").join("sock")
    }

    /// Where a login by browser that is going on now can be reached.
    #[must_use]
    pub fn login_note(&self) -> PathBuf {
        self.folder().join("login")
    }

    /// A token response from the moment it arrives until it is committed.
    #[must_use]
    pub fn rescue(&self) -> PathBuf {
        self.folder().join("rescue")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_home_is_the_one_that_codex_computes() {
        assert_eq!(Home::new("~/.codex").hash(), "940db7b1d0e4eb40");
    }
}
