//! A home of a test's own whose default keychain is a temporary one, made and locked by `security`.
//!
//! The Security framework looks for the keychains of a user in `$HOME/Library`, so a home with nothing in it has none.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Folder;

/// It protects nothing but what a test puts in.
const PASSWORD: &str = "correct horse";

/// The folders that a session needs in its own.
pub(super) const PARTS: &[&str] = &["home/Library/Keychains", "home/Library/Preferences"];

/// The variables that put a program into the session of a folder.
pub(super) fn variables(folder: &Path) -> Vec<(String, OsString)> {
    vec![("HOME".into(), folder.join("home").into())]
}

/// The variables with which a program finds no keychain at all. `folder` is one that nobody else uses.
pub(crate) fn no_keychain(folder: &Path) -> Vec<(String, OsString)> {
    vec![("HOME".into(), folder.join("no-keychain").into())]
}

/// A home with or without a keychain, which is gone when this is dropped.
pub(crate) struct PrivateSession {
    folder: Folder,
    /// The processes that showed dialogues before, for whomever.
    agents: BTreeSet<String>,
}

impl PrivateSession {
    /// A default keychain that is unlocked and empty.
    pub(crate) fn unlocked() -> Self {
        let mut session = Self::never_unlocked();
        session.keychain("create-keychain", &["-p", PASSWORD]);
        session.keychain("list-keychains", &["-d", "user", "-s"]);
        session.keychain("default-keychain", &["-d", "user", "-s"]);
        // Without options: it is locked neither after a time nor on sleep.
        session.keychain("set-keychain-settings", &[]);
        session.unlock_again();
        session
    }

    /// A default keychain that exists and is locked.
    pub(crate) fn locked_again() -> Self {
        let mut session = Self::unlocked();
        session.lock_again();
        session
    }

    /// A user who never had a keychain.
    pub(crate) fn never_unlocked() -> Self {
        Self { folder: Folder::here_or_new(), agents: agents() }
    }

    /// The variables that put a program into this session.
    pub(crate) fn environment(&self) -> Vec<(String, OsString)> {
        self.folder.environment()
    }

    /// Locks the keychain, for every program.
    pub(crate) fn lock_again(&mut self) {
        self.keychain("lock-keychain", &[]);
    }

    /// Lets the user unlock what was locked.
    pub(crate) fn unlock_again(&mut self) {
        self.keychain("unlock-keychain", &["-p", PASSWORD]);
    }

    /// The processes that came to show a dialogue since this session began.
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

/// The agents that show the dialogues of keychains, whoever asked for one.
fn agents() -> BTreeSet<String> {
    let output = Command::new("pgrep").args(["-x", "SecurityAgent"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}
