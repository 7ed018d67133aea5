//! Homes on a file system of their own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::TestHome;
use super::program::{Ended, Guarded, Run};
use super::system::is_root;

/// A home with something mounted over it where no other process sees it.
pub struct Mounted {
    /// The home; what is in it is seen by [`Self::path`] and by runs that [`Self::enter`].
    pub home: TestHome,
    keeper: Guarded,
}

impl Mounted {
    /// Runs `mount`, lines of shell in which `$home` is the folder, in a mount namespace that lasts as long as this.
    pub fn by(home: TestHome, mount: &str) -> Self {
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

    /// The same run in there.
    pub fn enter(&self, run: Run) -> Run {
        let keeper = self.keeper.0.id().to_string();
        let mut way = vec!["nsenter", "-m", "-t", &keeper];
        if !is_root() {
            way.extend(["-U", "--preserve-credentials"]);
        }
        run.through(way)
    }
}
