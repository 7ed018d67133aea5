//! A home directory with a temporary default keychain, created and locked by `security`.
//!
//! The Security framework searches `$HOME/Library` for keychains, so an empty home has none.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Folder;

/// Protects test data only.
const PASSWORD: &str = "correct horse";

/// The folders that a session needs.
pub(super) const PARTS: &[&str] = &["home/Library/Keychains", "home/Library/Preferences"];

/// Returns the variables that put a program into the session of a folder.
pub(super) fn variables(folder: &Path) -> Vec<(String, OsString)> {
    vec![("HOME".into(), folder.join("home").into())]
}

/// Returns the variables that hide every keychain from a program. `folder` must not be used otherwise.
pub(crate) fn no_keychain(folder: &Path) -> Vec<(String, OsString)> {
    vec![("HOME".into(), folder.join("no-keychain").into())]
}

/// A home directory with or without a keychain, removed on drop.
pub(crate) struct PrivateSession {
    folder: Folder,
    /// The processes that already showed dialogues.
    agents: BTreeSet<String>,
}

impl PrivateSession {
    /// Creates an unlocked, empty default keychain.
    pub(crate) fn unlocked() -> Self {
        let mut session = Self::never_unlocked();
        session.keychain("create-keychain", &["-p", PASSWORD]);
        session.keychain("list-keychains", &["-d", "user", "-s"]);
        session.keychain("default-keychain", &["-d", "user", "-s"]);
        // Without options, the keychain is locked neither after a time nor on sleep.
        session.keychain("set-keychain-settings", &[]);
        session.unlock_again();
        session
    }

    /// Creates a locked default keychain.
    pub(crate) fn locked_again() -> Self {
        let mut session = Self::unlocked();
        session.lock_again();
        session
    }

    /// Creates a home directory without a keychain.
    pub(crate) fn never_unlocked() -> Self {
        Self { folder: Folder::here_or_new(), agents: agents() }
    }

    /// Returns the variables that put a program into this session.
    pub(crate) fn environment(&self) -> Vec<(String, OsString)> {
        self.folder.environment()
    }

    /// Locks the keychain for every program.
    pub(crate) fn lock_again(&mut self) {
        self.keychain("lock-keychain", &[]);
    }

    /// Unlocks the keychain, as the user would.
    pub(crate) fn unlock_again(&mut self) {
        self.keychain("unlock-keychain", &["-p", PASSWORD]);
    }

    /// Returns the processes that began to show a dialogue during this session.
    pub(crate) fn dialogues(&mut self) -> Vec<String> {
        agents().difference(&self.agents).cloned().collect()
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("home/Library/Keychains/login.keychain-db")
    }

    fn keychain(&self, verb: &str, options: &[&str]) {
        let path = self.path();
        let words = [verb].into_iter().chain(options.iter().copied()).map(OsStr::new);
        let mut command = Command::new("security");
        command.args(words).arg(path).envs(self.environment());
        let output = command.output().expect("security(1) is part of macOS");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Returns the processes that show keychain dialogues for any program.
fn agents() -> BTreeSet<String> {
    let output = Command::new("pgrep").args(["-x", "SecurityAgent"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}
