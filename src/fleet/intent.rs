//! Who announces to send a refresh token, and how often it was sent.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::record_error::InvalidRecord;
use crate::secret::Fingerprint;

/// The maximum length of the name of a member or the id of a login.
const MAX_NAME: usize = 64;

/// The name of a member, unique in its fleet: 1 to 64 letters, digits, `.`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MemberName(String);

/// The id of an intent: random, so that a member recognises its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IntentId(u64, u64);

/// The announcement that a member will send a refresh token to the authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SpendIntent {
    /// Its id.
    pub id: IntentId,
    /// The member.
    pub member: MemberName,
    /// The fingerprint of the token. It is not that of the record's token if a late response is presented.
    pub spends: Fingerprint,
    /// How often the token may have been sent before.
    pub attempt: SpendAttempt,
}

/// The number of an attempt to spend a token. There is no third.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "attempt")]
#[expect(clippy::exhaustive_enums, reason = "the protocol has these")]
pub enum SpendAttempt {
    /// The token was never sent.
    First,
    /// It was sent and refused; another member must confirm that.
    Refused,
    /// It was sent once before, by `former`.
    Second {
        /// The intent of the first attempt, which stays announced if the second is withdrawn.
        former: Box<SpendIntent>,
    },
}

impl SpendIntent {
    /// Whether it is one that a record may have.
    pub(super) fn is_sound(&self) -> bool {
        match &self.attempt {
            SpendAttempt::First | SpendAttempt::Refused => true,
            SpendAttempt::Second { former } => {
                !matches!(former.attempt, SpendAttempt::Second { .. }) && former.spends == self.spends
            }
        }
    }
}

impl IntentId {
    /// Returns a new id.
    ///
    /// # Errors
    /// The operating system has no random bytes.
    pub fn random() -> Result<Self, std::io::Error> {
        Ok(Self(getrandom::u64()?, getrandom::u64()?))
    }
}

/// Whether `text` may be the name of a member or the id of a login.
pub(super) fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(is_allowed)
}

impl fmt::Display for IntentId {
    /// Writes 32 hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0, self.1)
    }
}

impl FromStr for MemberName {
    type Err = InvalidRecord;

    fn from_str(text: &str) -> Result<Self, InvalidRecord> {
        if is_name(text) { Ok(Self(text.to_owned())) } else { Err(InvalidRecord::Name) }
    }
}

impl TryFrom<String> for MemberName {
    type Error = InvalidRecord;

    fn try_from(text: String) -> Result<Self, InvalidRecord> {
        text.parse()
    }
}

impl From<MemberName> for String {
    fn from(name: MemberName) -> Self {
        name.0
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
