//! The commands of the program.

mod command_lines;
mod doctor;
mod generated;
pub mod hand_over;
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
mod second_name;
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
const COMMANDS: [&str; 13] = [
    "login",
    "logout",
    "status",
    "token",
    "refresh",
    "migrate",
    "watch",
    "sync",
    "account",
    "doctor",
    "app-server",
    "completions",
    "man",
];
