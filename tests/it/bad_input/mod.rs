//! Invalid files, hostile responses and failing machines lead to one clear error, and nothing is lost or half-written.

mod answers;
// Linux: mounts.
#[cfg(target_os = "linux")]
mod disks;
mod documents;
mod homes;
mod hostility;
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
mod keychains;
// Linux: mounts.
#[cfg(target_os = "linux")]
mod mounts;
// Linux: another user.
#[cfg(target_os = "linux")]
mod other_users;
mod system_calls;
