//! What a logout is asked for, and what it did.

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::helper_job::JobFailure;
use crate::remedy::{ErrorKind, Remedy};
use crate::store::{self, DocumentLocation, FileError};

/// How far a logout goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LogoutScope {
    /// Revoke, and remove only if that succeeded or was not needed.
    Revoke,
    /// Try to revoke, and remove whatever came of it.
    Force,
    /// Remove without telling the authority.
    Local,
}

/// What became of the tokens at the authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LogoutRevocation {
    /// They are revoked, or were dead already.
    Revoked,
    /// There was nothing that an authority could revoke.
    NotNeeded,
    /// The authority was not asked; tokens may live on until they expire.
    NotTried,
    /// It was asked and did not do it, or nothing could be read that could be revoked; tokens may live on until they
    /// expire. The text says why.
    Failed(String),
}

/// What a logout did.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LogoutReport {
    /// What became of the tokens.
    pub revocations: LogoutRevocation,
    /// Where copies were removed.
    pub removed: Vec<RemovedCopy>,
    /// Stores that hold or may hold a copy still, and why.
    pub failed: Vec<RemainingCopy>,
    /// Whether an `auth_token` of old builds was removed from `config.toml`.
    pub legacy_token_removed: bool,
    /// What a person should hear.
    pub notes: Vec<String>,
}

/// A copy that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RemovedCopy {
    /// The store, by our word.
    pub store: String,
    /// Where it was.
    pub location: String,
}

impl RemovedCopy {
    pub(super) fn from(location: &DocumentLocation) -> Self {
        Self { store: location.kind().to_string(), location: location.to_string() }
    }
}

/// A copy that is, or may be, there still.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RemainingCopy {
    /// The store, by our word.
    pub store: String,
    /// Why.
    pub failure: JobFailure,
}

impl LogoutReport {
    /// The report of a logout where nothing was ever stored.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            revocations: LogoutRevocation::NotNeeded,
            removed: Vec::new(),
            failed: Vec::new(),
            legacy_token_removed: false,
            notes: Vec::new(),
        }
    }

    /// Of two outcomes the one that a person has to know.
    pub(super) fn add(&mut self, done: LogoutRevocation) {
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

    /// A copy that is, or may be, at `location` still: whatever the reason is, the store did not give it up.
    pub(super) fn keep(&mut self, location: &DocumentLocation, error: &Error) {
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
