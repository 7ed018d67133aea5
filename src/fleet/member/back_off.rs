//! The pauses of a member after failures of the authority.

use std::time::Duration;

use codex_auth_platform::boot_clock::BootTime;

use super::error::MemberError;
use crate::authority::{Error, RefusalDuration};
use crate::backoff::{exponential, jittered};

/// The pause after the first failure, and the longest one, before jitter.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);
/// How long a refusal without a known code holds.
const PORTAL_PAUSE: Duration = Duration::from_secs(10 * 60);

/// The pause of automatic requests after failures.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    pub(super) failures: u32,
    until: Option<BootTime>,
}

impl BackOff {
    /// Counts a failure, and doubles the pause, which is `least` at least.
    pub(super) fn fail(&mut self, least: Duration) {
        self.failures += 1;
        let pause = exponential(FIRST_PAUSE, LONGEST_PAUSE, self.failures);
        self.until = Some(BootTime::now() + jittered(pause).max(least));
    }

    /// As [`Self::fail`], with the pause that the authority asks for.
    pub(super) fn fail_after(&mut self, error: &MemberError) {
        self.fail(match error {
            MemberError::Authority(Error::Transient { retry_after, .. }) => retry_after.unwrap_or_default(),
            MemberError::Authority(Error::Permanent { hold: RefusalDuration::TenMinutes, .. }) => {
                PORTAL_PAUSE
            }
            _ => Duration::ZERO,
        });
    }

    pub(super) fn remaining(&self) -> Duration {
        self.until.map_or(Duration::ZERO, BootTime::remaining)
    }
}
