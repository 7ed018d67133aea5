//! Whether the fleet serves a home.

use serde::{Deserialize, Serialize};

/// Whether the fleet serves a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "a caller must handle every case")]
pub enum Standing {
    /// It does not yet: its invite is being redeemed.
    Invited,
    /// It does, and the login of the home is to be written.
    Joining,
    /// It does, and the login of the home was written.
    Active,
    /// It does not: a program has logged out here.
    Left,
    /// It does not: a program has logged in to another account here.
    Detached,
}

impl Standing {
    /// Returns whether the fleet serves the home.
    #[must_use]
    pub fn is_served(self) -> bool {
        matches!(self, Self::Joining | Self::Active)
    }

    /// Returns what it is if no login is stored in the home: a program has removed the one that was written.
    #[must_use]
    pub fn without_login(self) -> Self {
        if self == Self::Active { Self::Left } else { self }
    }

    /// Returns a sentence that says what it means.
    #[must_use]
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Invited => "the invite of this home was not redeemed",
            Self::Joining => "this home joins its fleet",
            Self::Active => "this home has the login of its fleet",
            Self::Left => "a program has logged out in this home, which its fleet does not serve any more",
            Self::Detached => {
                "another account has logged in to this home, which its fleet does not serve any more"
            }
        }
    }

    /// Returns its word in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Joining => "joining",
            Self::Active => "active",
            Self::Left => "left",
            Self::Detached => "detached",
        }
    }
}
