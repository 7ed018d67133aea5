//! Everyone knows: what one process does to a login, every other one learns, once and at once.

// Linux: another user.
#[cfg(target_os = "linux")]
mod closed;
mod convergence;
mod host;
#[cfg(feature = "failpoints")]
mod killed;
// Linux: items of others.
#[cfg(target_os = "linux")]
mod keychain;
mod matrix;
mod poison;
// Linux: mounts.
#[cfg(target_os = "linux")]
mod polling;
mod program;
pub mod watcher;
