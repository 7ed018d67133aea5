//! Whether a token can be had of a login, or why not.

use super::error::Error;
use crate::store::Holder;

/// Whether `codex token` is expected to succeed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Usability {
    /// It is. An access token that has expired counts, where the refresh token can buy the next.
    Usable,
    /// It is, once another process has finished what it does to the login.
    Busy(Holder),
    /// It is not, and fails with this.
    Unusable(Error),
}

impl Usability {
    /// Why not, if it is not.
    #[must_use]
    pub fn reason(&self) -> Option<&Error> {
        match self {
            Self::Unusable(error) => Some(error),
            Self::Usable | Self::Busy(_) => None,
        }
    }

    /// The process that is waited for, if one is.
    #[must_use]
    pub fn busy(&self) -> Option<String> {
        match self {
            Self::Busy(holder) => Some(holder.to_string()),
            Self::Usable | Self::Unusable(_) => None,
        }
    }
}
