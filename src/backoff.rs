//! Pauses between retries.

use std::time::Duration;

/// Returns `first` doubled for each of `failures` after the first one, at most `longest`.
pub(crate) fn exponential(first: Duration, longest: Duration, failures: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(longest)
}

/// Returns a random duration between half of `pause` and `pause`, so that machines do not retry at the same time.
pub(crate) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + random_fraction() / 2.0)
}

/// Returns a random number from 0 to 1; 1 without random bytes.
pub(crate) fn random_fraction() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}
