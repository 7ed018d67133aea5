//! Accounts: several logins in one home, and which of them a command uses.

// Linux: mounts.
#[cfg(target_os = "linux")]
mod activation;
mod choice;
mod commands;
// Linux: strace.
#[cfg(target_os = "linux")]
#[cfg(feature = "failpoints")]
mod crashes;
mod foreign;
mod logins;
mod lost;
mod refusals;
// Linux: procfs.
#[cfg(target_os = "linux")]
mod running;
pub mod world;
