//! What a person should hear about how a login is kept.

use std::path::{Path, PathBuf};

use super::{CopyPreference, DocumentLocation};
use crate::config::{StoreKind, StoreSelection};
use crate::document::DocumentWarning;

/// Something a person should hear about how the login is kept. `Display` is one line that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StorageNote {
    /// Others could read the file.
    #[error("{} has mode {mode:03o}, so other users can read it; the next write makes it 600, or run: chmod 600 {}", path.display(), path.display())]
    Loose {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others could read the file until now.
    #[error("{} had mode {mode:03o}, so other users could read the old login; it is 600 now", path.display())]
    Tightened {
        /// The file.
        path: PathBuf,
        /// What its permission bits were.
        mode: u32,
    },
    /// The file is a mount point, so it could not be replaced as a whole.
    #[error("{} is a mount point and was written in place{}; mount its folder instead", path.display(), kept(backup.as_ref()))]
    InPlace {
        /// The file.
        path: PathBuf,
        /// Where the old content is, if there was any and the folder could take it.
        backup: Option<PathBuf>,
    },
    /// More than one item has the name that the login goes by.
    #[error(
        "the keychain holds {copies} items for this login, which Codex refuses; using one of them ({preference}); run `codex migrate --to keychain` to remove the others"
    )]
    Duplicates {
        /// How many there are.
        copies: usize,
        /// Why the one in use was preferred.
        preference: CopyPreference,
    },
    /// The file has more than one name.
    #[error("{} has {names} names (hard links), and the next write parts them: the others keep the old login; use a symbolic link instead", path.display())]
    HardLinked {
        /// The file.
        path: PathBuf,
        /// How many names it has.
        names: u64,
    },
    /// The keychain could not be used where it counts first.
    #[error("the keychain is not used: {reason}")]
    KeychainPassedOver {
        /// What the keychain said.
        reason: String,
    },
    /// There are two copies of the login.
    #[error(
        "there is another copy in {other}, which is not used ({preference}); `codex logout` removes both"
    )]
    OtherCopy {
        /// Where the copy is that is not used.
        other: DocumentLocation,
        /// Why the other one is used.
        preference: CopyPreference,
    },
    /// Another login was made at the same time and replaced this one.
    #[error("another login has taken its place in {location} since")]
    Overtaken {
        /// Where.
        location: DocumentLocation,
    },
    /// `config.toml` keeps every program from reading a login that is stored.
    #[error(
        "config.toml says cli_auth_credentials_store = \"ephemeral\", so the login in {location} is not read; `codex logout` revokes and removes it"
    )]
    NotRead {
        /// Where the login is.
        location: DocumentLocation,
    },
    /// A copy of the old login is still there.
    #[error("the copy in the {kind} store could not be removed: {reason}")]
    NotRemoved {
        /// The store.
        kind: StoreKind,
        /// What it said.
        reason: String,
    },
    /// The copy that is not used cannot be read.
    #[error("another copy is not used and cannot be read: {reason}")]
    OtherUnreadable {
        /// What is wrong with it.
        reason: String,
    },
    /// Something strange in the document.
    #[error("{0}")]
    Oddity(#[from] DocumentWarning),
    /// What is found where the configuration does not point.
    #[error(
        "the login is in the {found} store, where Codex does not look (config.toml says {configured}); run `codex migrate --to {found}`"
    )]
    Misplaced {
        /// Where it is.
        found: StoreKind,
        /// Where `config.toml` points, by its default if it says nothing.
        configured: StoreSelection,
    },
    /// The `auth_token` of old builds.
    #[error("{} still holds the auth_token of an old version; `codex logout` removes it", path.display())]
    LegacyToken {
        /// The configuration file.
        path: PathBuf,
    },
    /// A token response that was not stored yet cannot be read now, or belongs to another store.
    #[error("{} holds a token response that was not stored and cannot be used now: {reason}; if the login has ended, run: codex login", path.display())]
    RescueSetAside {
        /// Where it is now.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// Our own record cannot be read, and counts as empty.
    #[error("{} cannot be read and is started afresh: {reason}", path.display())]
    StateUnreadable {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl StorageNote {
    /// The token response that was set aside.
    pub(super) fn rescue(&self) -> Option<&Path> {
        match self {
            Self::RescueSetAside { path, .. } => Some(path),
            _ => None,
        }
    }
}

fn kept(backup: Option<&PathBuf>) -> String {
    backup.map(|path| format!(" (the old content is in {})", path.display())).unwrap_or_default()
}
