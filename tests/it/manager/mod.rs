//! The refresh transaction, with real processes.

mod answers;
// Linux: libfaketime.
#[cfg(target_os = "linux")]
#[cfg(feature = "failpoints")]
mod clocks;
#[cfg(feature = "failpoints")]
pub mod crashes;
mod flights;
mod fresh;
mod handed_in;
#[cfg(feature = "failpoints")]
mod in_runtime;
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
#[cfg(feature = "failpoints")]
mod killed_logouts;
mod library;
mod lifetimes;
mod logout;
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
mod logouts;
// Linux: mounts.
#[cfg(target_os = "linux")]
mod obstacles;
#[cfg(feature = "failpoints")]
mod order;
mod owners;
mod processes;
pub mod redaction;
pub mod rival;
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
#[cfg(feature = "failpoints")]
mod replaced_homes;
mod rivals;
pub mod rounds;
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
#[cfg(feature = "failpoints")]
mod set_aside;
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
#[cfg(feature = "failpoints")]
mod superseded;
// Linux: mounts.
#[cfg(target_os = "linux")]
mod unremovable;
mod upstream;
// Linux: strace.
#[cfg(target_os = "linux")]
mod wire;
pub mod world;
