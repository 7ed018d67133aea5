//! What became of the last spending, for every process to know: its outcome, and the poison if there is one.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::secret::Fingerprint;

/// No back-off is longer; a retry time further off than this was written under another clock and does not count.
pub const LONGEST_BACK_OFF: SignedDuration = SignedDuration::from_mins(60);

/// The permanent failure of one refresh token at one endpoint and client id.
///
/// It belongs to the fingerprint, not to an event: only a document with another one is free of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Poison {
    /// Which refresh token.
    pub fingerprint: Fingerprint,
    /// Where it was refused.
    pub endpoint: String,
    /// As which client.
    pub client_id: String,
    /// Why.
    pub cause: PoisonCause,
    /// The authority's own word for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// When it was refused.
    pub at: Timestamp,
    /// Until when it counts; for good if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Poison {
    /// Whether it still counts at `now`. A time that cannot have been set by this clock does not end it early.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until && now.duration_since(self.at) > -LONGEST_BACK_OFF)
    }
}

/// Why an authority refuses a refresh token for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PoisonCause {
    /// Its time was up.
    Expired,
    /// It has been spent before, and whoever has the successor has not saved it.
    Reused,
    /// It was taken back.
    Revoked,
    /// The authority says no more than that.
    #[serde(other)]
    Other,
}

/// How the last spending of a home ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SpendRecord {
    /// The refresh token that was, or was to be, spent.
    pub fingerprint: Fingerprint,
    /// How it ended.
    pub ending: SpendOutcome,
    /// When.
    pub at: Timestamp,
    /// Before when nobody should try again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// How many attempts in a row have ended without an answer that helps.
    #[serde(default)]
    pub failures: u32,
    /// What went wrong, in one line without secrets.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// How a spending ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SpendOutcome {
    /// Its successor is stored.
    Committed,
    /// The authority refuses it; see [`Poison`].
    Refused,
    /// The authority could not be asked, or asked to come again.
    Transient,
    /// It may have been spent and no answer came.
    #[serde(other)]
    Unknown,
}

impl SpendRecord {
    /// The successor of `fingerprint` was stored at `at`.
    #[must_use]
    pub fn committed(fingerprint: Fingerprint, at: Timestamp) -> Self {
        let (ending, message) = (SpendOutcome::Committed, String::new());
        Self { fingerprint, ending, at, retry_at: None, failures: 0, message }
    }

    /// How long to keep away from the authority at `now`, if at all. A retry time that this clock could not have set is
    /// no reason to wait.
    #[must_use]
    pub fn back_off(&self, now: Timestamp) -> Option<SignedDuration> {
        let left = self.retry_at?.duration_since(now);
        let set = self.at.duration_since(now);
        (left.is_positive() && set <= SignedDuration::from_secs(1)).then_some(left)
    }
}
