//! What others left behind and what machines do: one clear line, the right exit code, nothing lost, nothing half-written.

mod answers;
// Linux: mounts.
#[cfg(target_os = "linux")]
mod disks;
mod documents;
mod homes;
mod hostility;
// Linux: items of others.
#[cfg(target_os = "linux")]
mod keychains;
// Linux: mounts.
#[cfg(target_os = "linux")]
mod mounts;
