//! A home, the folder that a login belongs to, and the paths of the files in it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use codex_auth_platform::filesystem::{self, FileId};
use codex_auth_platform::private_file::{self, FolderLocation};
use sha2::{Digest as _, Sha256};

/// The file name of the document in a home.
const DOCUMENT: &str = "auth.json";
/// The name of the private home in the folder of a run.
pub(crate) const PRIVATE_HOME: &str = "home";
/// The name of the folder of accounts in a home.
const ACCOUNTS: &str = "accounts";

/// The folder of one login, by default `CODEX_HOME`. Several accounts are several homes.
///
/// The path is canonical, and two homes are equal if their folders are the same directory.
#[derive(Clone, Debug)]
pub struct Home {
    path: PathBuf,
    spelled: PathBuf,
    identity: Option<FileId>,
}

impl Home {
    /// Returns the home at `path`. Resolves the path of a folder that exists; of a missing one, resolves the parent and
    /// appends the last component, which is created when something is saved. Creates nothing.
    ///
    /// # Errors
    /// - [`DanglingLink`](private_file::Error::DanglingLink): a link on the way, or the last component, leads nowhere.
    /// - [`NoParent`](private_file::Error::NoParent): the folder above it does not exist.
    /// - [`NotADirectory`](private_file::Error::NotADirectory): there is no folder at the path.
    /// - [`Unreadable`](private_file::Error::Unreadable), [`Io`](private_file::Error::Io): it cannot be examined.
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

    /// Returns whether the spelled path still leads to this folder. Costs one system call.
    #[must_use]
    #[cfg(feature = "keeper")]
    pub(crate) fn is_at_spelling(&self) -> bool {
        self.identity.is_some() && filesystem::identity(&self.spelled) == self.identity
    }

    /// Looks up the spelled path again, which may lead to another folder or to one that exists by now.
    ///
    /// # Errors
    /// As [`Self::at`].
    pub fn resolve_spelling_again(&self) -> Result<Self, private_file::Error> {
        Self::at(&self.spelled)
    }

    /// Looks up the folder again by the canonical path.
    pub(crate) fn resolve_path_again(&self) -> Result<Self, private_file::Error> {
        Ok(Self { spelled: self.spelled.clone(), ..Self::at(&self.path)? })
    }

    /// Returns whether the folder existed when it was looked up.
    #[must_use]
    pub fn is_found(&self) -> bool {
        self.identity.is_some()
    }

    /// Returns whether the spelled path leads to no folder now, so that no login is stored here.
    ///
    /// # Errors
    /// As [`Self::at`], except [`private_file::Error::NoParent`].
    pub fn is_missing(&self) -> Result<bool, private_file::Error> {
        match self.resolve_spelling_again() {
            Err(private_file::Error::NoParent { .. }) => Ok(true),
            found => Ok(!found?.is_found()),
        }
    }

    /// Returns the canonical path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path as the caller wrote it.
    #[must_use]
    pub fn spelled(&self) -> &Path {
        &self.spelled
    }

    /// Returns the first 16 hex digits of SHA-256 of the canonical path. The account attribute of Codex's keychain item
    /// contains it.
    #[must_use]
    pub fn hash(&self) -> String {
        hash(&self.path)
    }

    /// Returns the path of `auth.json`, the document of the file store. It may be a symbolic link.
    #[must_use]
    pub fn document(&self) -> PathBuf {
        self.path.join(DOCUMENT)
    }

    /// Returns the path of the first of Codex's commit locks, which is in the home also if the document is a link.
    #[must_use]
    pub fn first_commit_lock(&self) -> PathBuf {
        self.path.join("auth.lock")
    }

    /// Returns the path of the configuration, which is shared with Codex.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// Returns the path of the login that Codex encrypts with its feature `secret_auth_storage`.
    pub(crate) fn encrypted_login(&self) -> PathBuf {
        self.path.join("secrets").join("codex_auth.age")
    }

    /// Returns the folder of the files that only this library uses.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.path.join("codex-auth")
    }

    /// Returns the path of the lease's lock file.
    #[must_use]
    pub fn refresh_lock(&self) -> PathBuf {
        self.folder().join("refresh.lock")
    }

    /// Returns the path of the file that records where the document's link led at the last write through it.
    #[must_use]
    pub fn link_note(&self) -> PathBuf {
        self.folder().join("link")
    }

    /// Returns the path of the lock file that the keeper of this home holds.
    #[must_use]
    pub fn keeper_lock(&self) -> PathBuf {
        self.folder().join("keeper.lock")
    }

    /// Returns the path of the keeper's socket, in a separate folder that can be mounted into a container.
    #[must_use]
    pub fn keeper_socket(&self) -> PathBuf {
        self.folder().join("keeper").join("sock")
    }

    /// Returns the path of the list of the folders into which the keeper exports the login.
    #[must_use]
    pub fn export_list(&self) -> PathBuf {
        self.folder().join("exports.json")
    }

    /// Returns the path of the lock under which exports are written.
    #[must_use]
    pub fn export_lock(&self) -> PathBuf {
        self.folder().join("exports.lock")
    }

    /// Returns the folder of the files that make the home a member of a fleet.
    #[must_use]
    pub fn fleet(&self) -> PathBuf {
        self.folder().join("fleet")
    }

    /// Returns the folder of the private homes of runs.
    #[must_use]
    pub fn runs(&self) -> PathBuf {
        self.folder().join("runs")
    }

    /// Returns whether it is the private home of a run, or of an account in one.
    pub(crate) fn is_of_run(&self) -> bool {
        let in_runs = |home: &Path| {
            let runs = home.parent().and_then(Path::parent);
            home.ends_with(PRIVATE_HOME) && runs.is_some_and(|runs| runs.ends_with("codex-auth/runs"))
        };
        self.path.ancestors().any(in_runs)
    }

    /// Returns the path of the note with the port and token of a running browser login.
    #[must_use]
    pub fn login_note(&self) -> PathBuf {
        self.folder().join("login")
    }

    /// Returns the path of the file with the names of the accounts in this home.
    #[must_use]
    pub fn accounts_file(&self) -> PathBuf {
        self.folder().join("accounts.toml")
    }

    /// Returns the folder of the homes of the accounts in this home.
    #[must_use]
    pub fn accounts(&self) -> PathBuf {
        self.path.join(ACCOUNTS)
    }

    /// Returns the records of the home's own `auth.json`.
    #[must_use]
    pub fn own_records(&self) -> RecordPaths {
        self.records(DOCUMENT.as_ref())
    }

    /// Returns the records of the file `document` in this folder. One folder may hold several documents that other
    /// homes link to, each with its own records.
    #[must_use]
    pub fn records(&self, document: &OsStr) -> RecordPaths {
        let folder = self.folder();
        if document == DOCUMENT {
            RecordPaths { named: self.path.clone(), folder }
        } else {
            RecordPaths { named: self.path.join(document), folder: folder.join(document) }
        }
    }
}

/// The paths of the state and rescue of one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordPaths {
    folder: PathBuf,
    /// The path that names the key.
    named: PathBuf,
}

impl RecordPaths {
    /// Returns the folder of the records.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the path of `state.json`, the state that all processes share. It holds no secret.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    /// Returns the path of the rescue, a token response that is not committed yet.
    #[must_use]
    pub fn rescue(&self) -> PathBuf {
        self.folder.join("rescue")
    }

    /// Returns the folder of the history of the login.
    #[must_use]
    pub fn history(&self) -> PathBuf {
        self.folder.join("history")
    }

    /// Returns the name of the key that seals the rescue: the first 16 hex digits of SHA-256 of the path of the
    /// document's folder, or of the document itself if it is not called `auth.json`.
    #[must_use]
    pub fn hash(&self) -> String {
        hash(&self.named)
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
        assert_eq!(missing, missing.resolve_spelling_again().unwrap());
    }
}
