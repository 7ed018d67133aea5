//! Tests private files on real file systems: full, read-only and mounted ones, and files of other users.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails a test")]

mod directories;
#[cfg(target_os = "linux")]
mod obstacles;
#[cfg(target_os = "linux")]
mod owners;
#[cfg(target_os = "linux")]
mod predicates;
mod reading;
#[cfg(target_os = "linux")]
mod reservations;
#[path = "../subprocess/mod.rs"]
mod subprocess;
mod writing;

use std::ffi::OsString;
use std::path::Path;

use codex_auth_platform::private_file::{self, Error, FileMode, Links, MountPolicy, ReplacementNote};

const MANY: u64 = 1 << 20;

/// Returns the bytes of an existing file.
#[track_caller]
fn bytes(path: &Path) -> Vec<u8> {
    private_file::read(path, MANY, Links::Follow).unwrap().unwrap().bytes.to_vec()
}

fn replace(path: &Path, bytes: &[u8]) -> Result<Vec<ReplacementNote>, Error> {
    private_file::replace(path, bytes, Links::Follow, MountPolicy::Refuse, FileMode::Private)
}

/// Returns the temporary files in a folder.
fn leftovers(folder: &Path) -> Vec<OsString> {
    subprocess::names(folder).into_iter().filter(|name| name.to_str().unwrap().ends_with(".tmp")).collect()
}
