//! Homes whose folder has restricted permissions.

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

    /// A home in it that belongs to the user of the tests, with this mode.
    pub fn home(&self, mode: u32) -> PathBuf {
        let home = self.folder.path().join("home");
        fs::create_dir(&home).unwrap();
        self.set_mode(mode);
        home
    }

    pub fn set_mode(&self, mode: u32) {
        fs::set_permissions(self.folder.path().join("home"), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A run of the program by a user other than root.
    pub fn codex<'a>(&self, home: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        let run = Run::new(arguments).env("CODEX_HOME", home);
        let run = run.envs(no_keychain(self.folder.path()));
        system::bound_by_permissions(run)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Otherwise it could not be removed.
        let _ = fs::set_permissions(self.folder.path().join("home"), fs::Permissions::from_mode(0o700));
    }
}
