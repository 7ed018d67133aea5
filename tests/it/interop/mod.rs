//! What others wrote, read by us; what we wrote, read by others.

mod alone;
pub mod codex;
// Linux: items of others.
#[cfg(target_os = "linux")]
mod codex_keychain;
mod documents;
mod hand_over;
// Linux: items of others.
#[cfg(target_os = "linux")]
mod keyring3;
