//! Reports that files may have changed, without reading them.
//!
//! The watches are on the folders, not on the files, because replacing a file removes the watch on it. The folders above
//! are watched as well, so that a folder that is created, removed or replaced is noticed and then watched.
//!
//! Where the file system may hide changes (a network or FUSE file system), the files count as possibly changed every
//! second. Where only the system's events are missing (an exhausted limit), the stamps of the files are compared ten
//! times a second, which costs a few system calls. notify's own poll watcher is not used: it compares modification
//! times in whole seconds and misses a second change within one second.

mod armed;
mod files;
mod thread;
mod trigger;

use std::time::Duration;

pub use self::armed::{
    COALESCE_WINDOW, COMPARE_INTERVAL, FALLBACK_POLL_INTERVAL, POLL_INTERVAL, WatchMethod,
};
pub use self::files::{WaitOutcome, Watch};
pub use self::thread::WatchThread;
pub(crate) use self::thread::{WatchAnswer, WatchMember, WatchRegistration, WatchWake, WatchedFiles};
pub use self::trigger::WatchTrigger;

/// How long a home may be missing before a process that watches it takes it for removed: it may be replaced, or mounted
/// again.
pub const MISSING_GRACE: Duration = Duration::from_secs(5);
