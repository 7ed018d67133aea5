//! What others wrote, read by us; what we wrote, read by others.

mod alone;
pub mod codex;
mod command_lines;
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
mod codex_keychain;
mod documents;
mod hand_over;
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
mod keyring3;
