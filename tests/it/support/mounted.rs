//! Homes with something about their folder: on a file system of their own, or another user's.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Home;
use super::program::{Ended, Guarded, Run};

/// Whether these tests run as root, who may mount, and whom permissions do not bind.
fn is_root() -> bool {
    codex_auth_platform::process::user() == 0
}

/// A home with something mounted over it where no other process sees it.
pub struct Mounted {
    /// The home; what is in it is seen by [`Self::path`] and by runs that [`Self::enter`].
    pub home: Home,
    keeper: Guarded,
}

impl Mounted {
    /// Runs `mount`, lines of shell in which `$home` is the folder, in a mount namespace that lasts as long as this.
    pub fn by(home: Home, mount: &str) -> Self {
        let mut keeper = Command::new("unshare");
        keeper.arg(if is_root() { "-m" } else { "-Urm" }).args(["sh", "-euc"]);
        // It ends when its input does.
        keeper.arg(format!("{mount}\necho mounted; read -r _")).env("home", home.path());
        let mut keeper = Guarded(keeper.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
        let mut told = String::new();
        BufReader::new(keeper.0.stdout.take().unwrap()).read_line(&mut told).unwrap();
        assert_eq!(told, "mounted\n", "{mount}");
        Self { home, keeper }
    }

    /// The home as it is in there.
    pub fn path(&self) -> PathBuf {
        let home = self.home.path();
        let below = home.strip_prefix("/").unwrap().to_owned();
        Path::new("/proc").join(self.keeper.0.id().to_string()).join("root").join(below)
    }

    /// A run of the program in there.
    pub fn codex<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        self.enter(self.home.codex(arguments))
    }

    /// Runs lines of shell in there, in which `$home` is the folder.
    pub fn change(&self, lines: &str) -> Ended {
        self.enter(Run::of(Path::new("/bin/sh"), ["-euc", lines]).env("home", self.home.path())).run()
    }

    fn enter(&self, run: Run) -> Run {
        let keeper = self.keeper.0.id().to_string();
        let mut way = vec!["nsenter", "-m", "-t", &keeper];
        if !is_root() {
            way.extend(["-U", "--preserve-credentials"]);
        }
        run.through(way)
    }
}

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
        let run = run.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere");
        if is_root() { run.by_user(65534) } else { run }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // So that it can be removed.
        let _ = fs::set_permissions(self.folder.path().join("home"), fs::Permissions::from_mode(0o700));
    }
}
