//! A watch of a key that pauses after errors.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::backoff::{exponential, jittered};
use crate::fleet::error::Error;
use crate::fleet::key_watch::{KeyWatch, Observation};
use crate::fleet::shared_store::SharedStore;

/// The pause after the first failure, and the longest one, before jitter.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A [`KeyWatch`] that pauses after errors, so that the members do not all return at once.
#[derive(Debug)]
pub(super) struct PacedWatch {
    watch: KeyWatch,
    failures: u32,
    not_before: Instant,
}

impl PacedWatch {
    pub(super) fn of(store: &SharedStore, key: &str) -> Self {
        Self { watch: KeyWatch::of(store, key), failures: 0, not_before: Instant::now() }
    }

    /// Waits for the next observation, or error. If the future is dropped, nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Observation, Error> {
        sleep_until(self.not_before).await;
        let observed = self.watch.next().await;
        match &observed {
            Ok(_) => self.failures = 0,
            Err(_) => {
                self.failures += 1;
                let pause = jittered(exponential(FIRST_PAUSE, LONGEST_PAUSE, self.failures));
                self.not_before = Instant::now() + pause;
            }
        }
        observed
    }
}
