//! The history: its files under many writers, kills, rotations and obstacles.

mod files;
// Linux: strace and procfs.
#[cfg(target_os = "linux")]
mod reads;
