//! Homes whose folder does not allow its user everything.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::program::Run;
use super::session::no_keychain;
use super::system;

/// A folder that any user can reach.
pub struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    /// A home in it, of the user who runs these tests, with this mode.
    pub fn home(&self, mode: u32) -> PathBuf {
        let home = self.folder.path().join("home");
        fs::create_dir(&home).unwrap();
        self.set_mode(mode);
        home
    }

    pub fn set_mode(&self, mode: u32) {
        fs::set_permissions(self.folder.path().join("home"), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A run of the program by a user whom permissions bind.
    pub fn codex<'a>(&self, home: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        let run = Run::new(arguments).env("CODEX_HOME", home);
        let run = run.envs(no_keychain(self.folder.path()));
        system::bound_by_permissions(run)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // So that it can be removed.
        let _ = fs::set_permissions(self.folder.path().join("home"), fs::Permissions::from_mode(0o700));
    }
}
