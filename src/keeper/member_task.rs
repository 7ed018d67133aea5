//! What a process of a member's home asks of the process that takes part.

use serde::{Deserialize, Serialize};

use crate::secret::Fingerprint;

/// What a process asks of the one that takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "the one that takes part carries out every task")]
pub enum MemberTask {
    /// Look at the record and the stored login, and bring both in step.
    Settle,
    /// Get another access token than the known one.
    Refresh {
        /// The fingerprint of the access token.
        known: Option<Fingerprint>,
    },
    /// Seal the record with the newest key of this host.
    Rekey,
    /// Log the fleet out.
    LogOut,
}
