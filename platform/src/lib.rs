//! Files, locks, processes, keychains and services of the operating system, behind one interface for Linux and macOS.
#![doc = include_str!("../README.md")]

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
compile_error!(
    "this crate supports Linux and macOS; on another system depend on it only where it is not compiled"
);

pub mod boot_clock;
#[cfg(feature = "test-support")]
pub mod failpoint;
pub mod filesystem;
pub mod hardening;
pub mod keychain;
pub mod local_time;
pub mod lock;
pub mod machine;
mod ownership;
pub mod peer;
pub mod port;
pub mod private_file;
pub mod process;
pub mod process_start;
pub mod search_path;
pub mod service;
mod space;
pub mod sync;
pub mod tcp_client;
pub mod terminal;
pub mod text;
