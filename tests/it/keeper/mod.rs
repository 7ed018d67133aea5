//! The keeper: one process refreshes ahead of time, so that no other has to.

mod accounts;
mod authority;
mod clients;
mod clocks;
// Linux: another user.
#[cfg(target_os = "linux")]
mod closed;
mod codexes;
mod export_folders;
// Linux: another user and mounts.
#[cfg(target_os = "linux")]
mod export_users;
pub mod exports;
mod failover;
// Linux: mounts.
#[cfg(target_os = "linux")]
mod hostile;
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
mod keychain;
// Linux: strace, mounts and another user.
#[cfg(target_os = "linux")]
mod kernel;
pub mod process;
pub mod reads;
mod signals;
pub mod socket;
mod unreachable;
mod virtual_time;
