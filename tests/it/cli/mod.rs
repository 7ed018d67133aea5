//! The commands of the program.

mod command_lines;
mod doctor;
mod generated;
pub mod hand_over;
// Linux: another user.
#[cfg(target_os = "linux")]
mod hand_over_owners;
mod hand_over_refresh;
mod interrupts;
// Linux: keychain items of other programs.
#[cfg(target_os = "linux")]
mod keychain;
mod login;
mod logout;
// macOS: its keychain.
#[cfg(target_os = "macos")]
mod macos;
mod messages;
mod migrate;
// Linux: procfs.
#[cfg(target_os = "linux")]
mod run;
mod second_name;
pub mod shells;
mod status;
// Linux: systemd.
#[cfg(target_os = "linux")]
mod sync;
mod talk;
mod token;
// Linux: mounts, strace and keychain items of other programs.
#[cfg(target_os = "linux")]
mod usable;
mod usage;

/// The commands that the help names.
const COMMANDS: [&str; 15] = [
    "login",
    "logout",
    "status",
    "token",
    "refresh",
    "migrate",
    "watch",
    "top",
    "run",
    "sync",
    "account",
    "doctor",
    "app-server",
    "completions",
    "man",
];
