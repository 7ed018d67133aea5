//! A test machine, its authority, and a running login.

use std::io::{BufReader, Read as _, Write as _};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use scripted_authority::{Account, Authority, Endpoint, Grant, GrantId, TokenState};
use serde_json::Value;

use crate::support::{Ended, Guarded, Machine, Run};

/// The timeout of every step.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A machine and its authority.
pub struct World<'a> {
    pub machine: &'a mut Machine,
    pub authority: Authority,
}

impl<'a> World<'a> {
    /// Creates a world without a login.
    pub fn new(machine: &'a mut Machine) -> Self {
        let authority = Authority::start().unwrap();
        authority.visit_as(Account::numbered(1));
        Self { machine, authority }
    }

    /// Stores a login of `account`.
    pub fn log_in(&self, account: u32) -> Grant {
        let grant = self.authority.grant(Account::numbered(account));
        if self.machine.session.is_some() {
            // A migration also creates the sealing key.
            self.machine.home.write("config.toml", "");
            self.machine.home.write("auth.json", grant.auth_json());
            self.codex(["migrate", "--to", "keychain"]).run().expect(0);
        } else {
            self.machine.store_text(grant.auth_json());
        }
        grant
    }

    /// Returns a run of the program that uses the authority.
    pub fn codex<'b>(&self, arguments: impl IntoIterator<Item = &'b str>) -> Run {
        self.machine
            .codex(arguments)
            .env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", self.authority.token_url())
            .env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", self.authority.revoke_url())
            .env("CODEX_APP_SERVER_LOGIN_ISSUER", self.authority.url())
            .env("CODEX_AUTHAPI_BASE_URL", self.authority.url())
            .env("CODEX_AUTH_CONFIG", format!("chatgpt_base_url = \"{}/backend-api\"", self.authority.url()))
    }

    /// Starts a browser login in which the test plays the browser.
    pub fn browser_login(&self, more: &[&str]) -> Login {
        let line = ["login", "--no-browser"].iter().chain(more).copied();
        Login::start(self.codex(line))
    }

    /// Returns the stored document.
    pub fn document(&self) -> Value {
        serde_json::from_str(&self.machine.stored_text().expect("a login is stored")).unwrap()
    }

    /// Returns one of the stored tokens.
    pub fn stored_token(&self, token: &str) -> String {
        self.document()["tokens"][token].as_str().unwrap().to_owned()
    }

    /// Returns how many requests `endpoint` got.
    pub fn requests(&self, endpoint: Endpoint) -> u64 {
        self.authority.counters().of(endpoint)
    }

    /// Returns the state of a token.
    pub fn state_of(&self, token: &str) -> TokenState {
        self.authority.state_of(token)
    }

    /// Returns how many grants can still be refreshed.
    pub fn live_grants(&self) -> usize {
        let all = (1..).map(GrantId).take_while(|grant| self.authority.latest(*grant).is_some());
        all.filter(|grant| self.authority.live_refresh_token(*grant).is_some()).count()
    }

    /// Asserts that the login of `grant` is unchanged and can be refreshed.
    #[track_caller]
    pub fn assert_still_works(&self, grant: &Grant) {
        let kept: Value = serde_json::from_str(&self.machine.stored_text().unwrap()).unwrap();
        let before: Value = serde_json::from_str(&grant.auth_json()).unwrap();
        assert_eq!(kept, before, "the login before was changed");
        assert_eq!(self.state_of(&grant.tokens.refresh_token), TokenState::Live);
        let ended = self.codex(["token"]).run().expect(0);
        assert_eq!(ended.out.trim_end(), grant.tokens.access_token);
        self.codex(["refresh"]).run().expect(0);
        assert_eq!(self.codex(["status"]).run().code, Some(0));
    }

    /// Asserts that a login that ended left no note and no port in use.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        assert!(!self.machine.home.file("codex-auth/login").exists(), "the note is still there");
        for port in [1455, 1457] {
            assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_ok(), "{port} is still taken");
        }
    }

    /// Asserts that `text` contains no issued secret.
    #[track_caller]
    pub fn assert_no_secret_in(&self, text: &str) {
        for secret in self.authority.issued_secrets() {
            assert!(!text.contains(&secret), "{secret} in\n{text}");
        }
    }
}

/// A running login and its output.
pub struct Login {
    process: Guarded,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    lines: Receiver<String>,
    output: String,
}

impl Login {
    /// Starts it with all three streams piped; [`Self::type_in`] writes to its stdin.
    pub fn start(run: Run) -> Self {
        Self::of(run.into_command())
    }

    fn of(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        let lines = listen(lines);
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        Self { process: Guarded(child), stdin, stdout, lines, output: String::new() }
    }

    /// Starts it on a terminal, where stdout and stderr are one stream.
    pub fn on_a_terminal(run: Run) -> Self {
        let mut command = run.on_a_terminal().into_command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = listen(BufReader::new(child.stdout.take().unwrap()));
        let stdin = child.stdin.take();
        Self { process: Guarded(child), stdin, stdout: None, lines, output: String::new() }
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// Waits for a line that contains `text`.
    #[track_caller]
    pub fn line_with(&mut self, text: &str) -> String {
        loop {
            match self.lines.recv_timeout(TEST_TIMEOUT) {
                Ok(line) => {
                    self.output.push_str(&line);
                    if line.contains(text) {
                        return line.trim().to_owned();
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("waited for {text:?} after\n{}", self.output),
                Err(RecvTimeoutError::Disconnected) => panic!("it never wrote {text:?}:\n{}", self.output),
            }
        }
    }

    /// Returns the URL to open.
    #[track_caller]
    pub fn url(&mut self) -> String {
        self.line_with("/oauth/authorize?")
    }

    /// Returns the code to type.
    #[track_caller]
    pub fn code(&mut self) -> String {
        self.line_with("type this code");
        self.line_with("-").trim_matches(['│', ' ']).to_owned()
    }

    /// Types a line.
    pub fn type_in(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Sends it the signal with this name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits until it ends.
    pub fn finish(mut self) -> Ended {
        drop(self.stdin.take());
        let mut out = String::new();
        if let Some(mut stdout) = self.stdout.take() {
            stdout.read_to_string(&mut out).unwrap();
        }
        let mut err = std::mem::take(&mut self.output);
        err.extend(self.lines.iter());
        let code = self.process.0.wait().unwrap().code();
        Ended { code, out, err }
    }
}

fn listen(mut lines: impl std::io::BufRead + Send + 'static) -> Receiver<String> {
    let (sender, received) = channel();
    thread::spawn(move || {
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    received
}
