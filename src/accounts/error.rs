//! The error type of accounts.

use std::path::PathBuf;

use codex_auth_platform::private_file;

use super::name::{AccountName, InvalidName};
use crate::manager;
use crate::remedy::{ErrorKind, Remedy};
use crate::store::{self, DocumentLocation};

/// An account cannot be found, changed or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no name of an account.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// There is no account of this name.
    #[error("there is no account {name}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The names that exist.
        known: Vec<AccountName>,
    },
    /// There are no accounts in this home.
    #[error("there is no account {name}: {} has no accounts", home.display())]
    NoAccounts {
        /// What was asked for.
        name: String,
        /// The home.
        home: PathBuf,
    },
    /// No account is listed, but there are folders of accounts.
    #[error("there is no account {name}: {} is lost, and there are folders of accounts", list.display())]
    ListLost {
        /// What was asked for.
        name: String,
        /// The list.
        list: PathBuf,
    },
    /// Another account has this name.
    #[error("there is an account {name} already")]
    NameTaken {
        /// The name, as that account spells it.
        name: AccountName,
    },
    /// The account has no login.
    #[error("the account {name} is not logged in")]
    LoggedOut {
        /// The account.
        name: AccountName,
    },
    /// The account still has a login.
    #[error("the account {name} is still logged in")]
    StillLoggedIn {
        /// The account.
        name: AccountName,
    },
    /// A document is of a user who is logged in here already.
    #[error(
        "its user is logged in here already, as {name}; using an old copy of a login would end that login"
    )]
    UserIsHere {
        /// The account, or a description of the login.
        name: String,
    },
    /// A document is an old copy of a login that was in use here.
    #[error("{} is an old copy of a login: its refresh token was used or revoked here", path.display())]
    EndedLogin {
        /// The file.
        path: PathBuf,
    },
    /// There is no file to import.
    #[error("{} does not exist", path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
    },
    /// The file to import holds no credential.
    #[error("{} holds no login", path.display())]
    NoLogin {
        /// The file.
        path: PathBuf,
    },
    /// `accounts.toml` cannot be parsed.
    #[error("cannot parse {}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// `accounts.toml` was written by a later version of this program.
    #[error("{} was written by a later version of codex-auth (format {version}); upgrade this one", path.display())]
    LaterVersion {
        /// The file.
        path: PathBuf,
        /// Its format.
        version: i64,
    },
    /// `auth.json` is a link that does not lead to an account.
    #[error("{} is a link to {}, which is not an account of this home", link.display(), target.display())]
    LinkedElsewhere {
        /// The link.
        link: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// The login in use is in a keychain, where no link can select another one.
    #[error("logins in a keychain cannot be switched with a link")]
    InKeychain,
    /// `auth.json` is a file, not an account.
    #[error("{location} holds a login that is no account")]
    NoAccount {
        /// The login.
        location: DocumentLocation,
    },
    /// No account is active.
    #[error("no account is active")]
    NoneActive,
    /// Another program changed `auth.json` meanwhile.
    #[error("another program changed {} meanwhile; nothing was changed", path.display())]
    Changed {
        /// The link or file.
        path: PathBuf,
    },
    /// The folder of a pin cannot be used.
    #[error("cannot pin {}: {problem}", path.display())]
    Pin {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The operating system returned no random bytes.
    #[error("cannot read random bytes from the operating system: {0}")]
    Random(std::io::Error),
    /// What a killed process left of a login cannot be completed now.
    #[error("a refresh or logout that was interrupted cannot be completed now: {0}")]
    Unfinished(#[source] Box<manager::Error>),
    /// A store, lock or record failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    /// Returns the kind of error, for callers that react to it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Unfinished(error) => error.kind(),
            Self::Changed { .. } => ErrorKind::TryAgain,
            Self::LoggedOut { .. } | Self::NoneActive => ErrorKind::NotLoggedIn,
            Self::Random(_) => ErrorKind::StoreUnavailable,
            _ => ErrorKind::Failed,
        }
    }

    /// Returns how the user can fix it, where that is known.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::Store(error) => error.remedy(),
            Self::Unfinished(error) => error.remedy(),
            _ => None,
        }
    }
}

impl From<private_file::Error> for Error {
    fn from(error: private_file::Error) -> Self {
        Self::Store(error.into())
    }
}
