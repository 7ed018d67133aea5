//! Runs a test again in another process, in a role, possibly as another user or in a namespace.
//!
//! A test begins with [`role`], which names the role in the other process; there the test performs it and ends with
//! [`report_done`]. No test is skipped: without root, mounts are made in a user namespace, and a test that requires
//! root fails with a message.
#![allow(dead_code, unused_macros, unused_imports, reason = "each test program uses its share")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "what fails here fails a test")]

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const ROLE: &str = "PLATFORM_TEST_ROLE";
const PATH: &str = "PLATFORM_TEST_PATH";
/// The line that a role prints when it has succeeded.
pub(crate) const DONE: &str = "@report_done";

/// A user that is neither root nor the user who runs the tests.
pub(crate) const OTHER_UID: u32 = 65_534;

/// The name of the program under [`RunAs::SelfExe`].
pub(crate) const OTHER_NAME: &str = "rehearsing-program";

/// Expands to the name of the enclosing test.
macro_rules! this_test {
    () => {{
        fn here() {}
        let name = std::any::type_name_of_val(&here);
        let name = name.strip_suffix("::here").unwrap_or(name);
        name.split_once("::").map_or(name, |(_, test)| test)
    }};
}
pub(crate) use this_test;

/// Returns the role of this process and the path to use, or `None` in the test itself.
#[expect(clippy::disallowed_methods, reason = "the one way into a test program")]
pub(crate) fn role() -> Option<(String, PathBuf)> {
    let role = std::env::var(ROLE).ok()?;
    Some((role, std::env::var_os(PATH).unwrap().into()))
}

/// Prints a line for the other process.
pub(crate) fn print_line(word: &str) {
    println!("{word}");
}

/// Waits until the other process writes a line or closes our input.
pub(crate) fn wait_for_stdin_end() {
    std::io::stdin().lines().next();
}

/// Reports that the role has succeeded.
pub(crate) fn report_done() {
    print_line(DONE);
}

/// How a role's process is started.
pub(crate) enum RunAs {
    /// As a plain child process.
    Plain,
    /// In its own mount namespace.
    MountNamespace,
    /// As root of a user namespace without other users.
    NamespaceRoot,
    /// As [`OTHER_UID`].
    OtherUser,
    /// As the current user, under the name [`OTHER_NAME`]; for processes started with [`RunAs::OtherUser`].
    SelfExe,
    /// In its own PID namespace.
    PidNamespace,
    /// Under `sh`, after these commands.
    Shell(&'static str),
}

/// Returns a command that runs `test` in `role` with `path`.
pub(crate) fn role_command(test: &str, role: &str, path: &Path, run_as: &RunAs) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut command = match run_as {
        RunAs::Plain => Command::new(program),
        RunAs::MountNamespace => {
            let mut command = Command::new("unshare");
            if !is_root() {
                command.arg("--map-root-user");
            }
            command.args(["--mount", "--propagation", "private", "--"]).arg(program);
            command
        }
        RunAs::NamespaceRoot => {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-root-user", "--"]).arg(program);
            command
        }
        RunAs::SelfExe => {
            let mut command = Command::new("/proc/self/exe");
            std::os::unix::process::CommandExt::arg0(&mut command, OTHER_NAME);
            command
        }
        RunAs::PidNamespace => {
            let mut command = Command::new("unshare");
            if !is_root() {
                command.arg("--map-root-user");
            }
            command.args(["--pid", "--fork", "--kill-child", "--"]).arg(program);
            command
        }
        RunAs::OtherUser => {
            require_root();
            // Opened by root, because other users may not reach the folder that the program was built in.
            let become_other_user =
                format!("exec setpriv --reuid={OTHER_UID} --regid={OTHER_UID} --clear-groups");
            let script = format!(r#"exec 9<"$0"; cd /; {become_other_user} /proc/self/fd/9 "$@""#);
            let mut command = Command::new("sh");
            command.args(["-c", &script]).arg(program);
            command
        }
        RunAs::Shell(script) => {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("{script}; exec \"$0\" \"$@\"")]).arg(program);
            command
        }
    };
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(PATH, path).stdin(Stdio::piped());
    command
}

/// Runs `test` in `role` and asserts that it succeeds.
pub(crate) fn run_role(test: &str, role: &str, path: &Path, run_as: &RunAs) {
    let output = role_command(test, role, path, run_as).stdin(Stdio::null()).output().unwrap();
    let output_text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && output_text.contains(DONE),
        "{role} of {test}: {}\n{output_text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A running process; killed on drop.
pub(crate) struct LiveProcess {
    pub(crate) child: Child,
    lines: BufReader<ChildStdout>,
}

impl LiveProcess {
    /// Starts the process and waits until it prints `word`.
    pub(crate) fn start(mut command: Command, word: &str) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut running = Self { child, lines };
        running.wait_for_line(word);
        running
    }

    pub(crate) fn wait_for_line(&mut self, word: &str) {
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "it ended without saying {word}");
        }
    }

    /// Waits until its output is closed in every process.
    pub(crate) fn wait_for_output_end(&mut self) {
        std::io::copy(&mut self.lines, &mut std::io::sink()).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for LiveProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Asserts that this process is root, which files of two users require.
pub(crate) fn require_root() {
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

/// Creates a folder that other users can enter.
pub(crate) fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

/// Creates an [`open_folder`] that belongs to [`OTHER_UID`].
pub(crate) fn folder_of_other_user() -> tempfile::TempDir {
    require_root();
    let folder = open_folder();
    std::os::unix::fs::chown(folder.path(), Some(OTHER_UID), Some(OTHER_UID)).unwrap();
    folder
}
