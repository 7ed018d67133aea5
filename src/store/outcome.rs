//! The outcome of the last refresh, and the poison of a refused token, as `state.json` shares them.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::secret::Fingerprint;

/// The longest back-off. A retry time further ahead was written under another clock and is ignored.
pub const MAX_BACK_OFF: SignedDuration = SignedDuration::from_mins(60);

/// The permanent failure of one refresh token at one endpoint and client id.
///
/// It applies until a document with another fingerprint is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Poison {
    /// The refused refresh token.
    pub fingerprint: Fingerprint,
    /// The endpoint that refused it.
    pub endpoint: String,
    /// The client id that was sent with it.
    pub client_id: String,
    /// Why it was refused.
    pub cause: PoisonCause,
    /// The authority's error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// When it was refused.
    pub at: Timestamp,
    /// When the poison expires; never if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Poison {
    /// Returns whether the poison applies at `now`. An expiry that this clock cannot have set does not end it early.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until && now.duration_since(self.at) > -MAX_BACK_OFF)
    }
}

/// Why an authority refuses a refresh token permanently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PoisonCause {
    /// It has expired.
    Expired,
    /// It was spent before, and the process that received its successor did not store it.
    Reused,
    /// It was revoked.
    Revoked,
    /// The authority gave no reason, or one that is not known.
    #[serde(other)]
    Other,
}

/// The last attempt to spend a refresh token of a home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SpendRecord {
    /// The refresh token.
    pub fingerprint: Fingerprint,
    /// How the attempt ended.
    #[serde(rename = "ending")]
    pub outcome: SpendOutcome,
    /// When it ended.
    pub at: Timestamp,
    /// The earliest time of the next attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// The number of attempts in a row that neither succeeded nor were refused.
    #[serde(default)]
    pub failures: u32,
    /// The error, in one line without secrets.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// How an attempt to spend a refresh token ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SpendOutcome {
    /// Its successor is stored.
    Committed,
    /// The authority refused it; see [`Poison`].
    Refused,
    /// The authority could not be reached, or asked to try again later.
    Transient,
    /// The token may have been spent, but no response arrived.
    #[serde(other)]
    Unknown,
}

impl SpendRecord {
    /// Returns the record of a commit: the successor of `fingerprint` arrived at `at` and is stored.
    #[must_use]
    pub fn committed(fingerprint: Fingerprint, at: Timestamp) -> Self {
        let (ending, message) = (SpendOutcome::Committed, String::new());
        Self { fingerprint, outcome: ending, at, retry_at: None, failures: 0, message }
    }

    /// Returns the time from `now` until the next attempt is allowed, if that is in the future. A record that this
    /// clock cannot have written is ignored.
    #[must_use]
    pub fn remaining_back_off(&self, now: Timestamp) -> Option<SignedDuration> {
        let left = self.retry_at?.duration_since(now);
        let set = self.at.duration_since(now);
        (left.is_positive() && set <= SignedDuration::from_secs(1)).then_some(left)
    }
}
