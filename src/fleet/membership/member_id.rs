//! The id of a member, which tells two hosts of one name apart.

use serde::{Deserialize, Serialize};

use super::error::MembershipError;

/// Tells a home from another one with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberId(u64);

impl MemberId {
    /// Returns a new id.
    ///
    /// # Errors
    /// [`MembershipError::Random`].
    pub fn random() -> Result<Self, MembershipError> {
        // 53 bits, which all readers of JSON understand.
        let bits = getrandom::u64().map_err(|error| MembershipError::Random(error.into()))?;
        Ok(Self(bits >> 11))
    }
}
