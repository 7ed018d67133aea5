//! Ending this very process at a point of a test's choosing.

/// Dies on the spot, as by `kill -9` from outside: nothing is dropped, flushed or unlocked by this process.
pub fn die() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}
