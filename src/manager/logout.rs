//! The scope and the report of a logout.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::error::{Error, JobFailure};
use crate::remedy::{ErrorKind, Remedy};
use crate::store::{self, DocumentLocation, FileError};

/// What a logout revokes and removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LogoutScope {
    /// Revokes, and removes only if that succeeded or was not needed.
    Revoke,
    /// Tries to revoke, and removes also if that failed.
    Force,
    /// Removes without a request to the authority.
    Local,
}

/// The result of the revocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LogoutRevocation {
    /// The tokens are revoked, or were invalid already.
    Revoked,
    /// There was no token that an authority could revoke.
    NotNeeded,
    /// No request was sent; tokens stay valid until they expire.
    NotTried,
    /// The request failed, or the tokens could not be read; they may stay valid until they expire. The text says why.
    Failed(String),
}

/// The report of a logout.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LogoutReport {
    /// The result of the revocation.
    pub revocations: LogoutRevocation,
    /// The copies that were removed.
    pub removed: Vec<RemovedCopy>,
    /// The stores that still hold or may hold a copy, and why.
    pub failed: Vec<RemainingCopy>,
    /// Whether an `auth_token` of an old build was removed from `config.toml`.
    pub legacy_token_removed: bool,
    /// The other change of `config.toml`: the store that a login had set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setting: Option<String>,
    /// Whether a keeper elsewhere hands in the login, so that only the copy here was removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub handed_in: bool,
    /// Warnings for the user.
    pub notes: Vec<String>,
}

/// A copy that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RemovedCopy {
    /// The name of the store.
    pub store: String,
    /// Its location.
    pub location: String,
}

impl RemovedCopy {
    pub(super) fn from(location: &DocumentLocation) -> Self {
        Self { store: location.kind().to_string(), location: location.to_string() }
    }
}

/// A copy that is still stored, or may be.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RemainingCopy {
    /// The name of the store.
    pub store: String,
    /// Why it was not removed.
    pub failure: JobFailure,
}

impl LogoutReport {
    /// Returns the report of a logout that found nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            revocations: LogoutRevocation::NotNeeded,
            removed: Vec::new(),
            failed: Vec::new(),
            legacy_token_removed: false,
            setting: None,
            handed_in: false,
            notes: Vec::new(),
        }
    }

    /// Merges the result of another revocation; the worse one is reported.
    pub(super) fn add_revocation(&mut self, done: LogoutRevocation) {
        let rank = |of: &LogoutRevocation| match of {
            LogoutRevocation::NotNeeded => 0,
            LogoutRevocation::Revoked => 1,
            LogoutRevocation::NotTried => 2,
            LogoutRevocation::Failed(_) => 3,
        };
        if rank(&done) > rank(&self.revocations) {
            self.revocations = done;
        }
    }

    /// Reports a login that only Codex can remove.
    pub(super) fn add_encrypted(&mut self, path: PathBuf) {
        let failure = JobFailure::from(&Error::from(store::Error::EncryptedLogin { path }));
        self.failed.push(RemainingCopy { store: "encrypted".to_owned(), failure });
    }

    /// Reports that the copy at `location` was not removed because of `error`.
    pub(super) fn add_remaining(&mut self, location: &DocumentLocation, error: &Error) {
        let mut failure = JobFailure::from(error);
        if let Error::Store(error) = error
            && matches!(
                **error,
                store::Error::Document { .. } | store::Error::File(FileError::TooLarge { .. })
            )
        {
            failure.remedy = Some(Remedy::ForceLogout);
        }
        if failure.kind == ErrorKind::Failed {
            failure.kind = ErrorKind::StoreUnavailable;
        }
        failure.message = format!("the copy in {location} was not removed: {}", failure.message);
        self.failed.push(RemainingCopy { store: location.kind().to_string(), failure });
    }
}
