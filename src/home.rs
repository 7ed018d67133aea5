//! A home: the folder that a login belongs to, and the names of the files in it.
//!
//! A home is an argument of stores, leases and state, and never a global: several accounts are several homes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use codex_auth_platform::filesystem::{self, FileId};
use codex_auth_platform::private_file::{self, FolderLocation};
use sha2::{Digest as _, Sha256};

/// The file name of the document in a home.
const DOCUMENT: &str = "auth.json";

/// The folder of one login. `CODEX_HOME` is the default one.
///
/// One folder is one home, however its path is spelled: the path is canonical, and two homes are equal if their folders
/// are the same directory.
#[derive(Clone, Debug)]
pub struct Home {
    path: PathBuf,
    spelled: PathBuf,
    identity: Option<FileId>,
}

impl Home {
    /// The home at `path`: the real path of a folder that exists; for a missing one, the real path of the folder around it
    /// and the last component, which is created when something is saved. Nothing is created here.
    ///
    /// # Errors
    /// As [`private_file::locate_folder`].
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, private_file::Error> {
        let spelled = path.into();
        let (path, identity) = match private_file::locate_folder(&spelled)? {
            FolderLocation::Existing(path) => {
                let identity = filesystem::identity(&path);
                (path, identity)
            }
            FolderLocation::Missing(path) => (path, None),
        };
        Ok(Self { path, spelled, identity })
    }

    /// Looks the spelled path up again: the same folder, another one, or one that exists by now.
    ///
    /// # Errors
    /// As [`Self::at`].
    pub fn resolve_again(&self) -> Result<Self, private_file::Error> {
        Self::at(&self.spelled)
    }

    /// The same home with its folder looked up again, by the canonical path.
    pub(crate) fn found(&self) -> Result<Self, private_file::Error> {
        Ok(Self { spelled: self.spelled.clone(), ..Self::at(&self.path)? })
    }

    /// Whether the folder existed when it was looked up.
    #[must_use]
    pub fn is_found(&self) -> bool {
        self.identity.is_some()
    }

    /// The folder itself, by its canonical path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path as the caller wrote it.
    #[must_use]
    pub fn spelled(&self) -> &Path {
        &self.spelled
    }

    /// The first 16 hex digits of SHA-256 of the canonical path as text: the account name of Codex's keychain item is made
    /// of it.
    #[must_use]
    pub fn hash(&self) -> String {
        hash(&self.path)
    }

    /// The document of the file store. It may be a symbolic link.
    #[must_use]
    pub fn document(&self) -> PathBuf {
        self.path.join(DOCUMENT)
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

    /// The lock file of the lease.
    #[must_use]
    pub fn refresh_lock(&self) -> PathBuf {
        self.folder().join("refresh.lock")
    }

    /// Where the document's link led when it was last written through, as a path.
    #[must_use]
    pub fn link_note(&self) -> PathBuf {
        self.folder().join("link")
    }

    /// The lock that the keeper of this home holds.
    #[must_use]
    pub fn keeper_lock(&self) -> PathBuf {
        self.folder().join("keeper.lock")
    }

    /// The keeper's socket, in a folder of its own, which can be mounted into a container.
    #[must_use]
    pub fn keeper_socket(&self) -> PathBuf {
        self.folder().join("keeper").join("sock")
    }

    /// The port and token of a login by browser that is running.
    #[must_use]
    pub fn login_note(&self) -> PathBuf {
        self.folder().join("login")
    }

    /// The files that describe the document where it is the home's own `auth.json`.
    #[must_use]
    pub fn own_records(&self) -> RecordPaths {
        self.records(DOCUMENT.as_ref())
    }

    /// Where a document of this name in this folder has its state and rescue: several documents may lie in one folder,
    /// and homes that link to one document share its files.
    #[must_use]
    pub fn records(&self, document: &OsStr) -> RecordPaths {
        let folder = self.folder();
        if document == DOCUMENT {
            RecordPaths { hash: self.hash(), folder }
        } else {
            RecordPaths { hash: hash(&self.path.join(document)), folder: folder.join(document) }
        }
    }
}

/// The files that describe one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordPaths {
    folder: PathBuf,
    hash: String,
}

impl RecordPaths {
    /// The folder they are in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What all processes know of the login; no secret in it.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    /// A token response from the moment it arrives until it is committed.
    #[must_use]
    pub fn rescue(&self) -> PathBuf {
        self.folder.join("rescue")
    }

    /// The name of the key that seals the rescue: the first 16 hex digits of SHA-256 of the path of the document's folder,
    /// or of the document where that is not called `auth.json`.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

impl PartialEq for Home {
    fn eq(&self, other: &Self) -> bool {
        match (&self.identity, &other.identity) {
            (Some(one), Some(other)) => one == other,
            _ => self.path == other.path,
        }
    }
}

impl Eq for Home {}

fn hash(path: &Path) -> String {
    let digest = Sha256::digest(path.to_string_lossy().as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_hash_of_a_path_is_the_one_that_codex_computes() {
        assert_eq!(hash(Path::new("~/.codex")), "940db7b1d0e4eb40");
    }

    #[test]
    fn one_folder_is_one_home_however_it_is_spelled() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        private_file::create_directory(&root.join("real/home")).unwrap();
        symlink(root.join("real"), root.join("alias")).unwrap();
        let home = Home::at(root.join("real/home")).unwrap();
        for spelled in ["alias/home", "real/./home//", "real/../alias/home"] {
            let other = Home::at(root.join(spelled)).unwrap();
            assert_eq!(other, home);
            assert_eq!((other.path(), other.hash()), (home.path(), home.hash()), "{spelled}");
        }
        let missing = Home::at(root.join("alias/new")).unwrap();
        assert_eq!(missing.path(), root.join("real/new"));
        private_file::create_directory(missing.path()).unwrap();
        assert_eq!(missing, missing.resolve_again().unwrap());
    }
}
