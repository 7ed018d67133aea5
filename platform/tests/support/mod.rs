//! A private session with a real keychain of this operating system, in the state that a test needs.
//!
//! The session lives in one folder, which alone determines its environment. A test can hold a session and start
//! programs in it ([`PrivateSession::environment`]). Code that reads the environment of its own process is tested by
//! running the test again in that environment, where it holds the session ([`inside`]).
//!
//! Uses std and tempfile only: tests of other crates include this file by its path.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "it serves tests alone")]
#![allow(dead_code, reason = "not every test binary uses every condition")]
#![allow(clippy::disallowed_methods, reason = "tests make their own world, files and environment included")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::{env, fs};

use tempfile::TempDir;

#[cfg_attr(target_os = "linux", path = "secret_service.rs")]
#[cfg_attr(target_os = "macos", path = "login_keychain.rs")]
mod system;

#[allow(unused_imports, reason = "not every test binary needs a home without a keychain")]
pub(crate) use system::{PrivateSession, no_keychain};

/// Names the session folder whose environment this process already has.
const FOLDER: &str = "PRIVATE_SESSION_FOLDER";

/// Runs `body` in a copy of this test process, in the environment of a private session.
///
/// `test` is the full name of the calling test in the test harness. The body starts the session that it needs, with a
/// constructor of [`PrivateSession`]. A body that fails after the service of its keychain crashed runs again, twice at most:
/// gnome-keyring 42 aborts when a property is read of an item that was deleted meanwhile.
pub(crate) fn inside(test: &str, body: impl FnOnce()) {
    if env::var_os(FOLDER).is_some() {
        return body();
    }
    for tries_left in (0..3).rev() {
        let folder = Folder::new();
        let copy = Command::new(env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .envs(folder.environment())
            .env_remove("DISPLAY")
            .env_remove("WAYLAND_DISPLAY")
            .output()
            .unwrap();
        let (out, err) = (String::from_utf8_lossy(&copy.stdout), String::from_utf8_lossy(&copy.stderr));
        // The body may print a table for the person who runs the test.
        std::io::Write::write_all(&mut std::io::stdout(), out.as_bytes()).unwrap();
        let passed = copy.status.success() && out.contains("1 passed");
        if passed || tries_left == 0 || !folder.crash_mark().exists() {
            assert!(passed, "{test} in its session:\n{out}\n{err}");
            return;
        }
        let again = format!("{test} runs again, because the service of its keychain crashed:\n{err}\n");
        std::io::Write::write_all(&mut std::io::stdout(), again.as_bytes()).unwrap();
    }
}

/// A process that is killed on drop.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The folder of a session, with its keychains and its home directory.
struct Folder {
    path: PathBuf,
    /// `None` in the copy that [`inside`] started, whose parent removes the folder.
    _own: Option<TempDir>,
}

impl Folder {
    fn new() -> Self {
        let own = tempfile::tempdir().unwrap();
        let folder = Self { path: own.path().to_owned(), _own: Some(own) };
        for part in system::PARTS {
            fs::create_dir_all(folder.path.join(part)).unwrap();
        }
        folder
    }

    fn here_or_new() -> Self {
        env::var_os(FOLDER).map_or_else(Self::new, |path| Self { path: path.into(), _own: None })
    }

    fn path(&self) -> &Path {
        &self.path
    }

    /// The file that exists after the service crashed.
    fn crash_mark(&self) -> PathBuf {
        self.path.join("service-crashed")
    }

    fn environment(&self) -> Vec<(String, OsString)> {
        let mut variables = system::variables(&self.path);
        variables.push((FOLDER.into(), self.path.clone().into()));
        variables
    }
}
