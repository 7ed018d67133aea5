//! Kills or pauses this process at a point that a test chooses.

use std::path::Path;

/// Sends SIGKILL to this process: nothing is dropped, flushed or unlocked.
pub fn kill_self() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

/// Blocks until a writer of the FIFO `path` closes it. The writer's open succeeds once this process is waiting.
pub fn wait_at_fifo(path: &Path) {
    let _ = std::fs::read(path);
}
