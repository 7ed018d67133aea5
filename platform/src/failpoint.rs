//! Ending or stopping this very process at a point of a test's choosing.

use std::path::Path;
use std::time::Duration;

/// How often a stopped process looks whether it may go on.
const LOOK: Duration = Duration::from_millis(2);

/// Dies on the spot, as by `kill -9` from outside: nothing is dropped, flushed or unlocked by this process.
pub fn die() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

/// Makes the file at `path`, for the test to see, and goes no further until it is removed.
pub fn pause_at(path: &Path) {
    if std::fs::write(path, std::process::id().to_string()).is_err() {
        return;
    }
    while path.exists() {
        std::thread::sleep(LOOK);
    }
}
