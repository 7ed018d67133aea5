//! What others wrote, read by us; what we wrote, read by others.

// Linux: procfs.
#[cfg(target_os = "linux")]
mod account_daemons;
mod account_facts;
mod accounts;
pub mod codex;
mod command_lines;
mod completions;
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
mod codex_keychain;
// Linux: mounts and procfs.
#[cfg(target_os = "linux")]
pub mod container;
// Linux: mounts and procfs.
#[cfg(target_os = "linux")]
mod containers;
// Linux: procfs.
#[cfg(target_os = "linux")]
mod daemon;
mod documents;
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
mod encrypted;
mod facts;
mod hand_over;
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
mod keyring3;
mod provider;
// Linux: mounts and procfs.
#[cfg(target_os = "linux")]
mod recipes;
mod refused;
// Linux: procfs.
#[cfg(target_os = "linux")]
pub mod shared_daemon;
