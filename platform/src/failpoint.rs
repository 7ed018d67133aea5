//! Ending this very process, or stopping it, at a point of a test's choosing.

use std::path::Path;

/// Dies on the spot, as by `kill -9` from outside: nothing is dropped, flushed or unlocked by this process.
pub fn die() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

/// Stands still at the FIFO `path`. Whoever opens it for writing knows by that that this process is there, and lets it
/// go on by closing it.
pub fn stand_still(path: &Path) {
    let _ = std::fs::read(path);
}
