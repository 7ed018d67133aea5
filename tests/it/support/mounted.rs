//! Homes on a mounted file system.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::TestHome;
use super::program::{Ended, Guarded, Run};
use super::system::is_root;

/// A home with mounts in a private mount namespace.
pub struct Mounted {
    /// The home. Its content in the namespace is visible through [`Self::path`] and to runs by [`Self::enter`].
    pub home: TestHome,
    namespace: Guarded,
}

impl Mounted {
    /// Runs the shell script `mount`, in which `$home` is the folder, in a mount namespace that lasts until this is
    /// dropped.
    pub fn by(home: TestHome, mount: &str) -> Self {
        let mut namespace = Command::new("unshare");
        namespace.arg(if is_root() { "-m" } else { "-Urm" }).args(["sh", "-euc"]);
        // It exits at the end of its input.
        namespace.arg(format!("{mount}\necho mounted; read -r _")).env("home", home.path());
        let mut namespace = Guarded(namespace.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(namespace.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "mounted\n", "{mount}");
        Self { home, namespace }
    }

    /// The path of the home in the namespace, as seen from outside.
    pub fn path(&self) -> PathBuf {
        let home = self.home.path();
        let below = home.strip_prefix("/").unwrap().to_owned();
        Path::new("/proc").join(self.namespace.0.id().to_string()).join("root").join(below)
    }

    /// A run of the program in the namespace.
    pub fn codex<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        self.enter(self.home.codex(arguments))
    }

    /// Runs a shell script in the namespace, in which `$home` is the folder.
    pub fn change(&self, lines: &str) -> Ended {
        self.enter(Run::of(Path::new("/bin/sh"), ["-euc", lines]).env("home", self.home.path())).run()
    }

    /// `run` in the namespace.
    pub fn enter(&self, run: Run) -> Run {
        let namespace = self.namespace.0.id().to_string();
        let mut way = vec!["nsenter", "-m", "-t", &namespace];
        if !is_root() {
            way.extend(["-U", "--preserve-credentials"]);
        }
        run.through(way)
    }
}
