//! The bounded wait for a lock that another process holds.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use super::error::Error;
use super::kernel;
use super::note::{Holder, holder};
use crate::private_file::random;

/// The pause after the first failed attempt; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(40);
/// How often in a row the file or directory may be replaced while it is being locked.
const REPLACED_TRIES: u32 = 64;

/// How long to wait for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// Try once.
    No,
    /// Wait at most this long, by the monotonic clock.
    For(Duration),
}

/// The outcome of one attempt.
pub(super) enum LockAttempt<L> {
    Locked(L),
    Held,
    /// Another file is at the path now.
    Replaced,
}

/// A wait for a lock, before the next attempt.
#[derive(Debug)]
pub struct Waiting<'a> {
    path: &'a Path,
    waited: Duration,
}

impl Waiting<'_> {
    /// Returns the lock file or directory.
    pub fn path(&self) -> &Path {
        self.path
    }

    /// Returns how long the wait has lasted.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Returns the holder by its own note, which is read anew.
    pub fn holder(&self) -> Option<Holder> {
        holder(self.path)
    }
}

/// Repeats `attempt` until it succeeds, `wait` is over or `between` stops the wait.
pub(super) fn until_locked<L, B>(
    path: &Path,
    wait: Wait,
    mut between: impl FnMut(&Waiting<'_>) -> ControlFlow<B>,
    mut attempt: impl FnMut() -> Result<LockAttempt<L>, Error>,
) -> Result<ControlFlow<B, L>, Error> {
    let start = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut replaced = 0;
    loop {
        match attempt()? {
            LockAttempt::Locked(lock) => return Ok(ControlFlow::Continue(lock)),
            LockAttempt::Replaced if replaced == REPLACED_TRIES => {
                return Err(Error::Unstable { path: path.to_owned() });
            }
            LockAttempt::Replaced => {
                replaced += 1;
                continue;
            }
            LockAttempt::Held => replaced = 0,
        }
        let waited = start.elapsed();
        let left = match wait {
            Wait::For(limit) if waited < limit => limit - waited,
            _ => {
                return Err(Error::Held {
                    path: path.to_owned(),
                    waited,
                    holder: holder(path).or_else(|| kernel::holder(path)),
                });
            }
        };
        std::thread::sleep(jittered(pause).min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
        if let ControlFlow::Break(reason) = between(&Waiting { path, waited: start.elapsed() }) {
            return Ok(ControlFlow::Break(reason));
        }
    }
}

/// Returns between half of the pause and all of it.
pub(super) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + (random() % 1024) as f64 / 2048.0)
}
