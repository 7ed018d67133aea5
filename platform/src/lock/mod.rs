//! Advisory file locks: bounded waits, released by the kernel when the holder dies, with a note that names the
//! holder.
//!
//! These are `flock` locks. They exclude every other program that uses `flock` on the same file, but no program that
//! uses `fcntl` record locks. They bind the processes of one kernel; over NFS, the mount options decide.
//!
//! A lock file is created if it is missing and never removed; only [`FileLock::seize`] replaces it. Its content is a
//! note for people. A lock belongs to the handle that acquired it: another handle is refused even in the same
//! process, and child processes do not inherit it.

mod attempt;
mod directory;
mod error;
mod file;
mod kernel;
mod note;
mod note_marker;
mod waiting;

pub use attempt::{LockFileMode, check_can_open, check_support};
pub use directory::{DirectoryAcquireOutcome, DirectoryLock, check_can_open_directory};
pub use error::Error;
pub use file::{AcquireOutcome, FileLock, LockState, state};
pub use kernel::holder as listed_holder;
pub use note::{Holder, holder};
pub use waiting::{Wait, Waiting};
