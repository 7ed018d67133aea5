//! A clock that counts on while the process is stopped or the machine is suspended, and that no user can set.

use std::ops::Add;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
/// On macOS this clock counts on while the machine sleeps.
#[cfg(target_os = "macos")]
const CLOCK: ClockId = ClockId::Monotonic;

/// A time since the machine was started. Two of them are comparable within one start of one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(Duration);

impl BootTime {
    /// Returns the present time.
    #[must_use]
    pub fn now() -> Self {
        let now = clock_gettime(CLOCK);
        let (seconds, nanoseconds) = (now.tv_sec.try_into(), now.tv_nsec.try_into());
        Self(Duration::new(seconds.unwrap_or_default(), nanoseconds.unwrap_or_default()))
    }

    /// Returns how long ago it was; zero if it is in the future.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }

    /// Returns how long it takes until then; zero if it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_sub(Self::now().0)
    }
}

impl Add<Duration> for BootTime {
    type Output = Self;

    /// Returns the time `later`, or the last one that can be represented.
    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes() {
        let begin = BootTime::now();
        let end = begin + Duration::from_millis(2);
        while !end.remaining().is_zero() {
            std::thread::yield_now();
        }
        assert!(begin.elapsed() >= Duration::from_millis(2) && BootTime::now() > begin);
        assert!((begin + Duration::MAX).remaining() > Duration::from_secs(1) && begin.remaining().is_zero());
    }
}
