//! Whether a token can be obtained.

use super::error::Error;
use crate::store::Holder;

/// Whether `codex token` is expected to succeed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Usability {
    /// A token can be obtained, also by a refresh.
    Usable,
    /// A token can be obtained when another process has released the lease.
    Busy(Holder),
    /// No token can be obtained, for this reason.
    Unusable(Error),
}

impl Usability {
    /// Returns why no token can be obtained.
    #[must_use]
    pub fn reason(&self) -> Option<&Error> {
        match self {
            Self::Unusable(error) => Some(error),
            Self::Usable | Self::Busy(_) => None,
        }
    }

    /// Returns the process that holds the lease.
    #[must_use]
    pub fn busy(&self) -> Option<String> {
        match self {
            Self::Busy(holder) => Some(holder.to_string()),
            Self::Usable | Self::Unusable(_) => None,
        }
    }
}
