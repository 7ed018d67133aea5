//! An export: a folder in which the keeper hands in a login, and who may use it.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use codex_auth_platform::private_file::{self, DirectoryState, HeldFolder, Links, Removal, SharedAccess};
use codex_auth_platform::{lock, peer, process};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::client::{Client, ProbeResult};
use crate::document::{AuthDocument, Identity};

/// The largest exported document that is read, in bytes.
const MAX_DOCUMENT: u64 = 1024 * 1024;
/// How long a keeper may take to answer at the socket of an export.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// The name of the socket in an export.
const SOCKET: &str = "sock";
/// The name of the document in an export.
const DOCUMENT: &str = "auth.json";

/// A folder in which the keeper hands in the login: a document with the access token, and a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Export {
    /// The folder; its path is canonical.
    pub folder: PathBuf,
    /// Another user who may read the document and use the socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The only user whom the socket serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_uid: Option<u32>,
    /// Whose login it hands in.
    #[serde(flatten)]
    pub login: ExportedLogin,
}

/// The login that an export hands in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "login", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExportedLogin {
    /// That of one user in one workspace. After a switch to another one, nothing is handed in.
    Account {
        /// The workspace.
        account_id: String,
        /// The user.
        user_id: String,
    },
    /// That of any account.
    Follow,
}

/// The options of [`Export::new`].
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers construct it")]
pub struct ExportOptions {
    /// Another user who may read the document and use the socket.
    pub uid: Option<u32>,
    /// The only user whom the socket serves.
    pub require_uid: Option<u32>,
    /// Whether to follow a switch to another account.
    pub follow: bool,
}

/// Why a folder cannot be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// There is no login to export.
    #[error("not logged in")]
    NotLoggedIn,
    /// A keeper elsewhere hands in the login, and replaces it only here.
    #[error("the login is handed in by a keeper elsewhere")]
    HandedIn,
    /// The login is an API key or another credential that does not expire by itself.
    #[error("only the login of a ChatGPT account can be exported: its access token expires by itself")]
    NotExportable,
    /// The login could not be told from another one after a switch.
    #[error(
        "the tokens of this login name no workspace or no user, so that another login could not be told from it; to export whatever login is stored: --follow"
    )]
    UnknownAccount,
    /// The folder holds other files, which a container would see.
    #[error("{} is not empty; choose a new folder", folder.display())]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder contains the home of the login, or files of this program.
    #[error("{} contains the home of the login, {}, or its keeper's files; choose another folder", folder.display(), home.display())]
    Home {
        /// The folder.
        folder: PathBuf,
        /// The home.
        home: PathBuf,
    },
    /// The path cannot be stored or bound.
    #[error("{folder:?} cannot be an export: the path {problem}")]
    Path {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A user who does not exist in the user namespace of this process.
    #[error(
        "user {uid} does not exist in this user namespace, so the kernel cannot tell that user from others"
    )]
    UnknownUser {
        /// The user id.
        uid: u32,
    },
    /// The folder is not exported.
    #[error("{} is not exported", folder.display())]
    NotExported {
        /// The folder.
        folder: PathBuf,
    },
    /// The list cannot be parsed.
    #[error("cannot parse {}: {source}; correct or remove it, and export again", path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// The parse error.
        source: serde_json::Error,
    },
    /// Another process changes the exports, or the lock cannot be used.
    #[error(transparent)]
    Lock(#[from] lock::Error),
    /// A file or folder cannot be used.
    #[error(transparent)]
    File(#[from] private_file::Error),
}

impl Export {
    /// Returns the export of a run into `folder`, which is not created: of the account of `document`, or of whatever
    /// account is logged in if that is unknown.
    pub(super) fn of_run(folder: PathBuf, document: Option<&AuthDocument>) -> Result<Self, ExportError> {
        let document = document.ok_or(ExportError::NotLoggedIn)?;
        document.exported(Timestamp::UNIX_EPOCH).ok_or(ExportError::NotExportable)?;
        let login = owner(document).map_or(ExportedLogin::Follow, |(account_id, user_id)| {
            ExportedLogin::Account { account_id, user_id }
        });
        Ok(Self { folder, uid: None, require_uid: None, login })
    }

    /// An export that was removed may be exported again: a killed process can have left its document.
    pub(super) fn check_is_empty(&self) -> Result<(), ExportError> {
        let names = private_file::names(&self.folder)?;
        let is_ours = |name: &OsString| {
            name == SOCKET
                || (name == DOCUMENT && self.written().is_some_and(|document| document.is_handed_in()))
        };
        match names.iter().all(is_ours) {
            true => Ok(()),
            false => Err(ExportError::NotEmpty { folder: self.folder.clone() }),
        }
    }

    /// Creates the folder if it is missing, and gives the other user access.
    pub(super) fn create_folder(&self) -> Result<(), private_file::Error> {
        self.check_in_place()?;
        if self.readers().is_empty()
            || private_file::directory_state(&self.folder)? == DirectoryState::Missing
        {
            private_file::create_directory(&self.folder)?;
        }
        private_file::share(&self.folder, &self.readers(), SharedAccess::Enter)
    }

    /// Checks that the path leads through no link: the folder, or one above it, may have been replaced by one.
    pub(super) fn check_in_place(&self) -> Result<(), private_file::Error> {
        match self.link() {
            Some(path) => Err(private_file::Error::Link { path }),
            None => Ok(()),
        }
    }

    /// Returns the link that the folder, or one above it, was replaced by.
    pub(super) fn link(&self) -> Option<PathBuf> {
        private_file::links_on_the_way(&self.folder).into_iter().next()
    }

    /// Removes the document that a keeper has written into the folder `held`.
    pub(super) fn remove_document(held: &HeldFolder) -> io::Result<()> {
        held.remove_file(DOCUMENT.as_ref(), MAX_DOCUMENT, |bytes| {
            AuthDocument::parse(bytes).is_ok_and(|document| document.is_handed_in())
        })
    }

    /// Removes what a keeper has left in the folder `held`, which was moved since.
    pub(super) fn clear(held: &HeldFolder) -> io::Result<()> {
        held.remove_socket(SOCKET.as_ref())?;
        Self::remove_document(held)
    }

    /// Returns the path of the socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join(SOCKET)
    }

    /// Returns the path of the document.
    #[must_use]
    pub fn document(&self) -> PathBuf {
        self.folder.join(DOCUMENT)
    }

    /// Returns the document that is in the folder; `None` if there is none that can be read.
    #[must_use]
    pub fn written(&self) -> Option<AuthDocument> {
        AuthDocument::parse(&self.read()?).ok()
    }

    /// Returns whether a keeper serves it now: its document is there, and a process listens at its socket. Blocks for up
    /// to a second.
    pub(super) fn is_served(&self) -> bool {
        let is_written = self.written().is_some_and(|document| document.is_handed_in());
        is_written && Client::at(self.socket()).probe(PROBE_TIMEOUT) != ProbeResult::Unreachable
    }

    fn read(&self) -> Option<Zeroizing<Vec<u8>>> {
        let read = private_file::read(&self.document(), MAX_DOCUMENT, Links::Refuse);
        Some(read.ok()??.bytes)
    }

    /// Returns whether it hands in the login `document`.
    #[must_use]
    pub fn is_of(&self, document: &AuthDocument) -> bool {
        match &self.login {
            ExportedLogin::Follow => true,
            ExportedLogin::Account { account_id, user_id } => {
                owner(document).is_some_and(|(account, user)| account == *account_id && user == *user_id)
            }
        }
    }

    /// Returns the users other than the owner who may read the document and use the socket.
    pub(super) fn readers(&self) -> Vec<u32> {
        let mut readers: Vec<_> = [self.uid, self.require_uid].into_iter().flatten().collect();
        readers.retain(|uid| *uid != process::effective_uid());
        readers.dedup();
        readers
    }

    /// Returns the users whom the socket serves.
    pub(super) fn users(&self) -> Vec<u32> {
        match self.require_uid {
            Some(uid) => vec![uid],
            None => [process::effective_uid()].into_iter().chain(self.uid).collect(),
        }
    }

    /// Returns whether the document is `exported` already.
    pub(super) fn holds(&self, exported: &AuthDocument) -> bool {
        self.read().is_some_and(|there| *there == *exported.to_pretty())
    }

    /// Replaces the document by `exported`.
    pub(super) fn write(&self, exported: &AuthDocument) -> Result<(), private_file::Error> {
        self.create_folder()?;
        private_file::replace_shared(&self.document(), &exported.to_pretty(), &self.readers())
    }

    /// Removes the document; returns whether there was one. A document that no keeper has written stays.
    pub(super) fn withdraw(&self) -> Result<bool, private_file::Error> {
        // Nothing is removed through a link.
        if self.link().is_some() {
            return Ok(false);
        }
        // An unreadable file was put there by a container that may write.
        if self.written().is_some_and(|document| !document.is_handed_in()) {
            return Ok(false);
        }
        Ok(private_file::remove(&self.document(), Links::Refuse)? == Removal::Removed)
    }
}

/// Checks whether a folder can be listed and hold a socket.
pub(super) fn check_path(folder: &Path) -> Result<(), ExportError> {
    let problem = match folder.to_str() {
        None => "is not UTF-8",
        Some(text) if text.chars().any(char::is_control) => {
            "contains a control character, such as a line end"
        }
        Some(_) if folder.join(SOCKET).as_os_str().len() > peer::MAX_PATH_BYTES => "is too long for a socket",
        Some(_) => return Ok(()),
    };
    Err(ExportError::Path { folder: folder.to_owned(), problem })
}

/// The workspace and the user of the access token.
pub(super) fn owner(document: &AuthDocument) -> Option<(String, String)> {
    let Identity { user_id, .. } = document.identity();
    Some((document.workspace()?, user_id?))
}
