//! Every process that watches a login reports each change by another process once and promptly.

// Linux: another user.
#[cfg(target_os = "linux")]
mod closed;
mod convergence;
mod host;
#[cfg(feature = "failpoints")]
mod killed;
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
mod keychain;
mod matrix;
mod poison;
// Linux: mounts.
#[cfg(target_os = "linux")]
mod polling;
mod program;
pub mod watcher;
