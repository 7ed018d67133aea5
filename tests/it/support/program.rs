//! Runs of the program as a child process.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::system;

/// The path of the program under test.
pub fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_codex"))
}

/// The `PATH` of the tests without folders that contain a `codex`.
pub fn search_path() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).filter(|folder| !folder.join("codex").exists());
    std::env::join_paths(folders).unwrap()
}

/// A run of a program. It inherits no environment variable of the tests except `PATH`.
pub struct Run {
    command: Command,
    input: Option<Vec<u8>>,
}

impl Run {
    pub(super) fn new<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Self {
        // Without an authority of the test, no request may leave this machine.
        let nowhere = "http://127.0.0.1:9/";
        Self::of(&program(), arguments)
            .env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", nowhere)
            .env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", nowhere)
            .env("CODEX_APP_SERVER_LOGIN_ISSUER", nowhere)
            .env("CODEX_AUTHAPI_BASE_URL", nowhere)
    }

    /// A run of another program.
    pub fn of<'a>(program: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let mut command = Command::new(program);
        command.env_clear().args(arguments).env("PATH", search_path());
        Self { command, input: None }
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub fn envs(mut self, variables: impl IntoIterator<Item = (String, OsString)>) -> Self {
        self.command.envs(variables);
        self
    }

    /// Sets its standard input, which is empty by default.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// The same run, started by the program of the command line `way`.
    pub fn through<'a>(self, way: impl IntoIterator<Item = &'a str>) -> Self {
        let mut way = way.into_iter();
        let mut command = Command::new(way.next().unwrap());
        command.env_clear().args(way).arg(self.command.get_program()).args(self.command.get_args());
        let set = self.command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.envs(set);
        Self { command, ..self }
    }

    /// The same run in a pseudo-terminal: its screen becomes [`Ended::out`], and [`Run::input`] is typed.
    pub fn on_a_terminal(self) -> Self {
        let words = [self.command.get_program()].into_iter().chain(self.command.get_args());
        let mut command = system::terminal(words);
        command.env_clear().env("TERM", "xterm");
        command.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Self { command, ..self }
    }

    /// The same run in another working folder.
    pub fn at(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// The command, to be run differently.
    pub fn into_command(self) -> Command {
        self.command
    }

    /// Starts it with piped streams.
    pub fn start(mut self) -> Child {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = self.input.unwrap_or_default();
        // A program that rejects its input early closes the pipe.
        thread::spawn(move || stdin.write_all(&input));
        child
    }

    /// Runs it until it exits.
    pub fn run(self) -> Ended {
        let output = self.start().wait_with_output().unwrap();
        Ended {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The result of a run. `Display` shows all of it, for snapshots.
pub struct Ended {
    /// The exit code; `None` if a signal killed it.
    pub code: Option<i32>,
    /// All of stdout.
    pub out: String,
    /// All of stderr.
    pub err: String,
}

impl Ended {
    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in\n{self}"))
    }

    /// Checks that it failed with `code`, one error line and otherwise only hints.
    #[track_caller]
    pub fn refused(self, code: i32) -> Self {
        let mut lines = self.err.lines().filter(|line| !line.starts_with("warning: "));
        let named = lines.next().is_some_and(|line| line.starts_with("error: "));
        assert!(named && lines.all(|line| line.is_empty() || line.starts_with("hint: ")), "\n{self}");
        assert!(!self.err.contains("panicked"), "\n{self}");
        self.expect(code)
    }

    /// Checks the exit code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "\n{self}");
        self
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.map_or_else(|| "signal".to_owned(), |code| code.to_string());
        write!(f, "exit {code}\n--- stdout\n{}--- stderr\n{}", self.out, self.err)
    }
}

/// A process that is killed on drop.
pub struct Guarded(pub Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Polls until `it` returns true; `what` names the condition in a failure.
#[track_caller]
pub fn eventually(what: &str, mut it: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !it() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
