//! The stores, the lease and the commit, through the library and through processes.

mod commit;
mod contract;
mod faults;
// Linux: mounts.
#[cfg(target_os = "linux")]
pub mod homes;
mod import;
mod lease;
// Linux: mounts.
#[cfg(target_os = "linux")]
#[cfg(feature = "failpoints")]
mod links;
// Linux: mounts.
#[cfg(target_os = "linux")]
mod migrations;
// Linux: strace.
#[cfg(target_os = "linux")]
pub mod order;
// Linux: another user.
#[cfg(target_os = "linux")]
mod owner;
mod selection;
// Linux: mounts.
#[cfg(target_os = "linux")]
mod volumes;
mod worlds;

use std::time::Duration;

/// Far more than any healthy call needs; only a failing test waits for it.
const SOON: Duration = Duration::from_secs(20);
