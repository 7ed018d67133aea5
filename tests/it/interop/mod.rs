//! What others wrote, read by us; what we wrote, read by others.

pub mod codex;
mod documents;
mod hand_over;
#[cfg(target_os = "linux")]
mod keyring3;
