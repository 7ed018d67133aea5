//! What a store holds: a document, its location and warnings about how it is stored.

use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::preference::CopyPreference;
use crate::config::{StoreKind, StoreSelection};
use crate::document::{self, AuthDocument, DocumentWarning, Revision};
use crate::secret::Fingerprint;

/// The content of a store.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a caller must handle every case")]
pub enum StoreContent {
    /// Nothing is stored.
    Nothing,
    /// A document.
    Document(Box<StoredDocument>),
    /// Something that is not a document.
    Unparsable {
        /// Where it is stored.
        location: DocumentLocation,
        /// Why it could not be parsed.
        source: document::Error,
        /// The whole content, which may hold tokens.
        bytes: Zeroizing<Vec<u8>>,
    },
}

impl StoreContent {
    /// Returns the value for a later comparison.
    #[must_use]
    pub fn seen(&self) -> SeenRevision {
        match self {
            Self::Nothing => SeenRevision::Nothing,
            Self::Document(stored) => SeenRevision::Credential(stored.document.revision()),
            Self::Unparsable { bytes, .. } => SeenRevision::Unparsable(Fingerprint::of_bytes(bytes)),
        }
    }

    /// Returns the document, if it is one.
    #[must_use]
    pub fn document(&self) -> Option<&AuthDocument> {
        match self {
            Self::Document(stored) => Some(&stored.document),
            _ => None,
        }
    }

    /// Returns the document with its location, if it is one.
    #[must_use]
    pub fn stored(self) -> Option<StoredDocument> {
        match self {
            Self::Document(stored) => Some(*stored),
            _ => None,
        }
    }
}

/// The content of a store when the caller read it; a replacement or removal requires that it has not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeenRevision {
    /// Nothing was stored.
    Nothing,
    /// A document of this revision.
    Credential(Revision),
    /// Bytes with this fingerprint, which are not a document.
    Unparsable(Fingerprint),
}

/// A document with the location it was read from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoredDocument {
    /// The document.
    pub document: AuthDocument,
    /// Where it is stored.
    pub location: DocumentLocation,
    /// Warnings about how it is stored, to show to the user.
    pub notes: Vec<StorageNote>,
}

/// The result of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteReport {
    /// Where the document is stored now.
    pub location: DocumentLocation,
    /// Warnings to show to the user.
    pub notes: Vec<StorageNote>,
}

/// Where a document is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DocumentLocation {
    /// A file, with symbolic links resolved.
    File(PathBuf),
    /// An item of the system's keychain.
    Keychain {
        /// The item's service attribute.
        service: String,
        /// The item's account attribute.
        account: String,
    },
}

impl DocumentLocation {
    /// Returns the kind of store that it is in.
    #[must_use]
    pub fn kind(&self) -> StoreKind {
        match self {
            Self::File(_) => StoreKind::File,
            Self::Keychain { .. } => StoreKind::Keychain,
        }
    }
}

impl fmt::Display for DocumentLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Keychain { service, account } => write!(f, "item \"{service}\" of {account}"),
        }
    }
}

/// A warning about how the login is stored. `Display` is one line that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StorageNote {
    /// Other users can read the file.
    #[error("{} has mode {mode:03o}, so other users can read it; the next write makes it 600, or run: chmod 600 {}", path.display(), path.display())]
    ReadableByOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is shared with the users of a group.
    #[error("{} has mode {mode:03o}, so the users of group {group} can use the login; the next write makes it 600 and ends that: to share a login, let each user run codex login", path.display())]
    SharedWithGroup {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The id of the group.
        group: u32,
    },
    /// Other users could read the file until this write.
    #[error("{} had mode {mode:03o}, so other users could read the old login; it is 600 now", path.display())]
    ModeRepaired {
        /// The file.
        path: PathBuf,
        /// Its previous permission bits.
        mode: u32,
    },
    /// The file system refused to make the file private.
    #[error("{} has mode {mode:03o}, and its file system refused to make it 600 ({reason}), so other users may read the login; store it elsewhere: codex login --store keychain, or another CODEX_HOME", path.display())]
    ModeRefused {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The error of the system.
        reason: String,
    },
    /// The file is a mount point, so it could not be replaced atomically.
    #[error("{} is a mount point and was written in place{}; mount its folder instead", path.display(), backup_hint(backup.as_ref()))]
    WrittenInPlace {
        /// The file.
        path: PathBuf,
        /// The file with the old content, if there was any and it could be written.
        backup: Option<PathBuf>,
    },
    /// More than one keychain item has the name of the login's item.
    #[error(
        "the keychain holds {copies} items for this login, which Codex refuses; using one of them ({preference}); run `codex migrate --to keychain` to remove the others"
    )]
    Duplicates {
        /// The number of items.
        copies: usize,
        /// Why the item in use was preferred.
        preference: CopyPreference,
    },
    /// The file has more than one hard link.
    #[error("{} has {names} hard links; the next write replaces only this one, and the others keep the old login; use a symbolic link instead", path.display())]
    HardLinked {
        /// The file.
        path: PathBuf,
        /// The number of its hard links.
        names: u64,
    },
    /// The keychain takes precedence but could not be used.
    #[error("the keychain is not used: {reason}")]
    KeychainSkipped {
        /// The keychain's error.
        reason: String,
    },
    /// There are two copies of the login.
    #[error("another copy of the login in {other} is not used ({preference}); `codex logout` removes both")]
    OtherCopy {
        /// Where the unused copy is.
        other: DocumentLocation,
        /// Why the other copy is used.
        preference: CopyPreference,
    },
    /// Another login was stored at the same time and replaced this one.
    #[error("another login has replaced it in {location} since")]
    ReplacedSince {
        /// Where it is stored.
        location: DocumentLocation,
    },
    /// `config.toml` keeps every program from reading a stored login.
    #[error(
        "{by} says cli_auth_credentials_store = \"ephemeral\", so the login in {location} is not read; `codex logout` revokes and removes it"
    )]
    NotRead {
        /// Where the login is stored.
        location: DocumentLocation,
        /// `config.toml` or `-c`.
        by: &'static str,
    },
    /// A copy of the old login could not be removed.
    #[error("the copy in the {kind} store could not be removed: {reason}")]
    NotRemoved {
        /// The store.
        kind: StoreKind,
        /// The error of the removal.
        reason: String,
    },
    /// Codex has encrypted a login beside this one, which it uses if its configuration says so.
    #[error("Codex has encrypted another login in {}, which codex-auth cannot read", path.display())]
    EncryptedCopy {
        /// The file of Codex.
        path: PathBuf,
    },
    /// The copy that is not used cannot be read.
    #[error("another copy of the login cannot be read and is not used: {reason}")]
    OtherUnreadable {
        /// The error of the read.
        reason: String,
    },
    /// A warning about the document itself.
    #[error("{0}")]
    Document(#[from] DocumentWarning),
    /// The login is not in the configured store.
    #[error(
        "the login is in the {found} store, where Codex does not look ({by} says {configured}); run `codex migrate --to {found}`"
    )]
    Misplaced {
        /// The store that holds the login.
        found: StoreKind,
        /// The store that `config.toml` selects, or its default.
        configured: StoreSelection,
        /// `config.toml`, `-c` or the default.
        by: &'static str,
    },
    /// `config.toml` still has the `auth_token` of old builds.
    #[error("{} still holds the auth_token of an old version; `codex logout` removes it", path.display())]
    LegacyToken {
        /// The configuration file.
        path: PathBuf,
    },
    /// A rescue cannot be used now, and was renamed to make room for a new one.
    #[error("{} holds tokens that are neither stored nor revoked: {reason}; the next refresh or login tries again, and if the login has ended, run: codex login", path.display())]
    RescueSetAside {
        /// The renamed file.
        path: PathBuf,
        /// Why it cannot be used.
        reason: &'static str,
    },
    /// `state.json` cannot be parsed, and is treated as empty.
    #[error("cannot parse {}, which will be replaced: {reason}", path.display())]
    StateUnreadable {
        /// The file.
        path: PathBuf,
        /// The parse error.
        reason: String,
    },
}

impl StorageNote {
    /// Returns the path of the rescue that was set aside, if the note is about one.
    pub(super) fn rescue(&self) -> Option<&Path> {
        match self {
            Self::RescueSetAside { path, .. } => Some(path),
            _ => None,
        }
    }
}

fn backup_hint(backup: Option<&PathBuf>) -> String {
    backup.map(|path| format!(" (the old content is in {})", path.display())).unwrap_or_default()
}

/// The result of [`Stores::find`](super::Stores::find).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FindReport {
    /// The login, if there is one.
    pub stored: Option<StoredDocument>,
    /// Why this store was read.
    pub reason: ChoiceReason,
    /// Warnings about the home, to show to the user; those about the document are in [`StoredDocument::notes`].
    pub notes: Vec<StorageNote>,
}

/// Why a store was chosen. `Display` completes "chosen because …".
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChoiceReason {
    /// The caller requested it.
    Requested,
    /// The logins of all accounts of the home are stored there.
    SharedByAccounts,
    /// `config.toml` names it.
    Configured,
    /// An override of the command line names it.
    Overridden,
    /// It already holds a login.
    LoginPresent,
    /// The keychain cannot be used, for this reason.
    KeychainUnusable(String),
    /// The keychain can be used, and the other programs that use this login can read it there.
    KeychainUsable,
    /// Codex is installed and could not read our keychain item.
    SharedWithCodex,
    /// `state.json` names it.
    Recorded,
    /// It is the default, as for Codex.
    Default,
}

impl fmt::Display for ChoiceReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requested => "you asked for it",
            Self::SharedByAccounts => "the logins of accounts are stored there",
            Self::Configured => "config.toml says so",
            Self::Overridden => "-c says so",
            Self::LoginPresent => "it already holds a login",
            Self::KeychainUnusable(reason) => return write!(f, "the keychain cannot be used: {reason}"),
            Self::KeychainUsable => "the keychain can be used",
            Self::SharedWithCodex => "Codex could not read our keychain item",
            Self::Recorded => "the login was last stored there",
            Self::Default => "it is the default",
        })
    }
}
/// What [`super::Writer::recover`] found and did with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the history records every case")]
pub enum RescueRecovery {
    /// A process was killed after it had reserved space for a response, and before it received one: its request may have
    /// been sent.
    Unanswered,
    /// The tokens that it had received are stored now, or were already.
    Stored {
        /// The spent token.
        spent: Fingerprint,
        /// The token received.
        received: Option<Fingerprint>,
    },
    /// They belong to no stored login.
    Overtaken {
        /// The spent token.
        spent: Fingerprint,
        /// The token received.
        received: Option<Fingerprint>,
    },
    /// They could not be used, and were set aside.
    SetAside,
}
