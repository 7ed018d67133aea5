//! Why a record cannot be read, or cannot be changed.

use std::path::PathBuf;

use codex_auth_platform::private_file;

/// Why bytes are no record, or values cannot be in one. The messages quote nothing of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRecord {
    /// It is not sealed by this program.
    #[error("it was not written by codex-auth")]
    Unsealed,
    /// It is sealed for another epoch than that of the key.
    #[error("it is sealed with key number {sealed}, and this host has number {key}")]
    OtherEpoch {
        /// The epoch of the record.
        sealed: u64,
        /// The epoch of the key.
        key: u64,
    },
    /// The key does not open it: it was changed, or belongs to another fleet.
    #[error("the key of this host does not open it: it was changed, or belongs to another fleet")]
    WrongKey,
    /// Its content is not one that this program writes.
    #[error("its content is damaged")]
    Malformed,
    /// The login has no refresh token that could be shared.
    #[error("the login has no refresh token of its own")]
    NoRefreshToken,
    /// The name is empty, too long, or has other characters than letters, digits, `.`, `_` and `-`.
    #[error("a name has 1 to 64 letters, digits, '.', '_' and '-'")]
    Name,
    /// The cipher failed.
    #[error("it cannot be encrypted")]
    Cipher,
}

/// Why a change of the record is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "the protocol has these")]
pub enum RefusedChange {
    /// The fleet was logged out.
    #[error("the fleet is logged out")]
    LoggedOut,
    /// A member has announced to send the token.
    #[error("another member is refreshing")]
    Claimed,
    /// The token was spent.
    #[error("the token was used already")]
    Spent,
    /// The token is poisoned.
    #[error("the authority refuses the token")]
    Poisoned,
    /// The token is not poisoned, so there is nothing to heal.
    #[error("the token works")]
    NotPoisoned,
    /// The record has a newer token than the one that was seen.
    #[error("there is a newer token")]
    NewerToken,
    /// The intent is not in the record any more.
    #[error("the record has no such intent")]
    NoIntent,
    /// A member cannot confirm its own refusal.
    #[error("another member must confirm it")]
    SameMember,
}

/// The error of the copy of a record on this host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] private_file::Error),
    /// The copy cannot be opened.
    #[error("cannot read {}: {source}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why.
        source: InvalidRecord,
    },
    /// The record is older than the copy: etcd was restored from a backup, or lies.
    #[error("etcd has an older record than this host has seen")]
    Older,
}
