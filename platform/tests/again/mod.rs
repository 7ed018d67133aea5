//! A test that plays a part in another process: its own program once more, elsewhere or as somebody else.
//!
//! The test begins with [`part`]; in the other process that names the part, and the test plays it and ends
//! with [`played`]. Nothing is skipped: without root, mounts are made in a user namespace, and what cannot be
//! had without root fails and says so.
#![allow(dead_code, unused_macros, unused_imports, reason = "each test program uses its share")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "what fails here fails a test")]

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const PART: &str = "PLATFORM_TEST_PART";
const PLACE: &str = "PLATFORM_TEST_PLACE";
/// What a part says when it was played to its end.
pub(crate) const PLAYED: &str = "@played";

/// A user that is neither root nor the one who runs the tests.
pub(crate) const SOMEBODY: u32 = 65_534;

/// What a program calls itself at [`Stage::Myself`].
pub(crate) const CALLED: &str = "rehearsing-program";

/// The name of the test that this stands in.
macro_rules! this_test {
    () => {{
        fn here() {}
        let name = std::any::type_name_of_val(&here);
        let name = name.strip_suffix("::here").unwrap_or(name);
        name.split_once("::").map_or(name, |(_, test)| test)
    }};
}
pub(crate) use this_test;

/// The part that this process is to play, and the path it is to play it on.
#[expect(clippy::disallowed_methods, reason = "the one way into a test program")]
pub(crate) fn part() -> Option<(String, PathBuf)> {
    let part = std::env::var(PART).ok()?;
    Some((part, std::env::var_os(PLACE).unwrap().into()))
}

/// Tells the other process something.
pub(crate) fn tell(word: &str) {
    println!("{word}");
}

/// Waits until the other process says that this is enough, or is gone.
pub(crate) fn await_the_end() {
    std::io::stdin().lines().next();
}

/// Tells the other process that the part was played to its end.
pub(crate) fn played() {
    tell(PLAYED);
}

/// Where a part is played.
pub(crate) enum Stage {
    /// Another process.
    Here,
    /// With mounts of its own.
    Mounts,
    /// As root of a user namespace in which there is no other user.
    LonelyRoot,
    /// As [`SOMEBODY`].
    Somebody,
    /// As who we are now, called [`CALLED`]; for when the program was started as [`Stage::Somebody`].
    Myself,
    /// Where only its own processes are seen.
    Container,
    /// Under `sh` with these commands run first.
    After(&'static str),
}

/// A command that has `test` play `part` on `place`.
pub(crate) fn command(test: &str, part: &str, place: &Path, stage: &Stage) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut command = match stage {
        Stage::Here => Command::new(program),
        Stage::Mounts => {
            let mut command = Command::new("unshare");
            if !is_root() {
                command.arg("--map-root-user");
            }
            command.args(["--mount", "--propagation", "private", "--"]).arg(program);
            command
        }
        Stage::LonelyRoot => {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-root-user", "--"]).arg(program);
            command
        }
        Stage::Myself => {
            let mut command = Command::new("/proc/self/exe");
            std::os::unix::process::CommandExt::arg0(&mut command, CALLED);
            command
        }
        Stage::Container => {
            let mut command = Command::new("unshare");
            if !is_root() {
                command.arg("--map-root-user");
            }
            command.args(["--pid", "--fork", "--kill-child", "--"]).arg(program);
            command
        }
        Stage::Somebody => {
            needs_root();
            // Opened by root: where the program was built, others may not be able to go.
            let become_somebody =
                format!("exec setpriv --reuid={SOMEBODY} --regid={SOMEBODY} --clear-groups");
            let script = format!(r#"exec 9<"$0"; cd /; {become_somebody} /proc/self/fd/9 "$@""#);
            let mut command = Command::new("sh");
            command.args(["-c", &script]).arg(program);
            command
        }
        Stage::After(script) => {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("{script}; exec \"$0\" \"$@\"")]).arg(program);
            command
        }
    };
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(PART, part).env(PLACE, place).stdin(Stdio::piped());
    command
}

/// Has `test` play `part` to its end.
pub(crate) fn play(test: &str, part: &str, place: &Path, stage: &Stage) {
    let output = command(test, part, place, stage).stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains(PLAYED),
        "{part} of {test}: {}\n{told}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A part that is being played; killed on drop.
pub(crate) struct Actor {
    pub(crate) child: Child,
    words: BufReader<ChildStdout>,
}

impl Actor {
    /// Starts and waits for it to say `word`.
    pub(crate) fn start(mut command: Command, word: &str) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let words = BufReader::new(child.stdout.take().unwrap());
        let mut actor = Self { child, words };
        actor.await_word(word);
        actor
    }

    pub(crate) fn await_word(&mut self, word: &str) {
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            assert_ne!(self.words.read_line(&mut line).unwrap(), 0, "it ended without saying {word}");
        }
    }

    /// Waits until nobody holds its output any more.
    pub(crate) fn await_silence(&mut self) {
        std::io::copy(&mut self.words, &mut std::io::sink()).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// For what only root can set up: files of two users.
pub(crate) fn needs_root() {
    assert!(is_root(), "this test makes files of another user: run it as root, or in a container");
}

pub(crate) fn run(program: &str, arguments: &[&dyn AsRef<OsStr>]) {
    let status = Command::new(program).args(arguments.iter().map(AsRef::as_ref)).status().unwrap();
    assert!(status.success(), "{program}: {status}");
}

pub(crate) fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

pub(crate) fn names(folder: &Path) -> Vec<OsString> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

/// A folder that other users can go to.
pub(crate) fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

/// As [`open_folder`], and it belongs to [`SOMEBODY`].
pub(crate) fn folder_of_somebody() -> tempfile::TempDir {
    needs_root();
    let folder = open_folder();
    std::os::unix::fs::chown(folder.path(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    folder
}
