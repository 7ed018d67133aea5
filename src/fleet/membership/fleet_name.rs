//! The name of a fleet, and its keys in etcd.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::super::intent::{MemberName, is_name};
use super::super::record_error::InvalidRecord;

/// The name of a fleet: 1 to 64 letters, digits, `.`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FleetName(String);

impl FleetName {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns what all keys of the fleet in etcd begin with.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("/codex-auth/{self}/")
    }

    /// Returns the key of the record.
    #[must_use]
    pub fn record_key(&self) -> String {
        format!("{}record", self.prefix())
    }

    /// Returns the key of the member that may refresh.
    #[must_use]
    pub fn leader_key(&self) -> String {
        format!("{}leader", self.prefix())
    }

    /// Returns what the keys of all members begin with.
    pub(super) fn members_prefix(&self) -> String {
        format!("{}members/", self.prefix())
    }

    /// Returns the key of a member.
    pub(super) fn member_key(&self, member: &MemberName) -> String {
        format!("{}{member}", self.members_prefix())
    }

    /// Returns the key of an invite.
    pub(super) fn invite_key(&self, id: &str) -> String {
        format!("{}invite/{id}", self.prefix())
    }
}

impl Default for FleetName {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl FromStr for FleetName {
    type Err = InvalidRecord;

    fn from_str(text: &str) -> Result<Self, InvalidRecord> {
        if is_name(text) { Ok(Self(text.to_owned())) } else { Err(InvalidRecord::Name) }
    }
}

impl TryFrom<String> for FleetName {
    type Error = InvalidRecord;

    fn try_from(text: String) -> Result<Self, InvalidRecord> {
        text.parse()
    }
}

impl From<FleetName> for String {
    fn from(name: FleetName) -> Self {
        name.0
    }
}

impl fmt::Display for FleetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
