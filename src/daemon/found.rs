//! A running daemon, and the login that it serves.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::connection::{Connection, Incoming, Response};
use super::error::Error;
use super::process::{DaemonPaths, DaemonProcess};
use super::served::{ServedComparison, ServedLogin};
use crate::document::AuthDocument;
use crate::home::Home;

/// Maximum duration of connecting, handshake and answers together; they take 4 to 8 ms.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// The notification of a thread that begins or ends a turn; every client gets it.
const STATUS_CHANGED: &str = "thread/status/changed";
/// The notification of a new thread.
const STARTED: &str = "thread/started";
/// The source of threads in which Codex finds a title for another thread.
const TITLES: &str = "thread_title";

/// A running daemon of a home, with an open connection to it.
pub struct Daemon {
    pub(super) paths: DaemonPaths,
    pub(super) process: DaemonProcess,
    pub(super) connection: Connection,
    /// The threads with a turn in progress, as far as they were reported.
    pub(super) busy: BTreeSet<String>,
    /// The threads whose turns are not those of the user.
    titles: BTreeSet<String>,
    home: Home,
    version: Option<String>,
    served: ServedLogin,
    has_environment_token: bool,
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon")
            .field("process", &self.process)
            .field("served", &self.served)
            .finish_non_exhaustive()
    }
}

impl Daemon {
    /// Finds the daemon of `home` and asks which login it serves; `None` if none runs. Where none was ever started, this
    /// is one system call. Blocks for up to a second.
    ///
    /// # Errors
    /// [`Error::Unreachable`], also if another user listens at the socket; [`Error::NoAnswer`];
    /// [`Error::InvalidAnswer`]; [`Error::NotCodex`], and nothing was sent to that process.
    pub fn find(home: &Home) -> Result<Option<Self>, Error> {
        let paths = DaemonPaths::of(home);
        let Some(socket) = paths.socket()? else { return Ok(None) };
        let until = Instant::now() + ANSWER_TIMEOUT;
        let Some(open) = Connection::open(&socket, until)? else { return Ok(None) };
        let process = DaemonProcess::identify(&paths, &socket, open.peer)?;
        let has_environment_token = process.has_environment_token();
        let mut daemon = Self {
            paths,
            process,
            connection: open.shake_hands()?,
            busy: BTreeSet::new(),
            titles: BTreeSet::new(),
            home: home.clone(),
            version: None,
            served: ServedLogin::Unused,
            has_environment_token,
        };
        daemon.ask()?;
        Ok(Some(daemon))
    }

    /// Returns its process id, if the system says it.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.pid
    }

    /// Returns its version.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Returns the path of its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        self.connection.socket()
    }

    /// Returns the login that it serves.
    #[must_use]
    pub fn served(&self) -> &ServedLogin {
        &self.served
    }

    /// Returns whether it was started with `CODEX_ACCESS_TOKEN`, which it serves whatever is stored. macOS does not show
    /// that.
    #[must_use]
    pub fn has_environment_token(&self) -> bool {
        self.has_environment_token
    }

    /// Returns whether it serves the `stored` login of its home.
    #[must_use]
    pub fn comparison(&self, stored: Option<&AuthDocument>) -> ServedComparison {
        self.served.comparison(stored, self.paths.age_of_document(&self.home))
    }

    /// Asks which login is served. All requests are sent at once, and one that waits for the network is not waited for
    /// if another has the answer.
    fn ask(&mut self) -> Result<(), Error> {
        let client = json!({"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION")});
        let hello = json!({"clientInfo": client, "capabilities": {"experimentalApi": true}});
        let hello = self.connection.request("initialize", &hello)?;
        self.connection.notify("initialized")?;
        let account = self.connection.request("account/read", &json!({}))?;
        let sessions = self.connection.request("accountSession/list", &json!({}))?;
        let (mut account_answer, mut sessions_answer) = (None, None);
        while account_answer.is_none() || sessions_answer.is_none() {
            match self.next() {
                Ok(Some(response)) if response.id == hello => {
                    let answer = response.result.map_err(|problem| self.connection.invalid(&problem))?;
                    self.version = answer["userAgent"].as_str().and_then(version_of);
                }
                Ok(Some(response)) if response.id == account => account_answer = Some(response.result),
                Ok(Some(response)) if response.id == sessions => sessions_answer = Some(response.result),
                Ok(_) => {}
                Err(Error::NoAnswer { .. }) if matches!(sessions_answer, Some(Ok(_))) => break,
                Err(error) => return Err(error),
            }
        }
        let sessions = sessions_answer.and_then(Result::ok);
        let account = account_answer.unwrap_or_else(|| Err("it waits for the network".to_owned()));
        self.served = ServedLogin::read(account.as_ref().map_err(String::as_str), sessions.as_ref());
        Ok(())
    }

    /// Asks which threads have a turn in progress. From then on [`Self::next`] keeps the answer up to date.
    pub(super) fn find_busy(&mut self) -> Result<(), Error> {
        self.connection.set_deadline(Instant::now() + ANSWER_TIMEOUT);
        let list = self.connection.request("thread/loaded/list", &json!({}))?;
        let loaded = self.response(list)?.map_err(|problem| self.connection.invalid(&problem))?;
        let loaded =
            loaded["data"].as_array().ok_or_else(|| self.connection.invalid("no list of threads"))?;
        for thread in loaded.iter().filter_map(Value::as_str) {
            let read = self.connection.request("thread/read", &json!({"threadId": thread}))?;
            // A thread that was closed meanwhile has no turn.
            if let Ok(answer) = self.response(read)? {
                self.note_thread(&answer["thread"]);
                self.note(thread, &answer["thread"]["status"]);
            }
        }
        Ok(())
    }

    /// Waits for the response to the request `id`.
    fn response(&mut self, id: u64) -> Result<Result<Value, String>, Error> {
        loop {
            if let Some(response) = self.next()?.filter(|response| response.id == id) {
                return Ok(response.result);
            }
        }
    }

    /// Waits for the next message; returns it if it is a response.
    pub(super) fn next(&mut self) -> Result<Option<Response>, Error> {
        match self.connection.receive()? {
            Incoming::Response(response) => return Ok(Some(response)),
            Incoming::Notification { method, params } if method == STATUS_CHANGED => {
                if let Some(thread) = params["threadId"].as_str() {
                    self.note(thread, &params["status"]);
                }
            }
            Incoming::Notification { method, params } if method == STARTED => {
                self.note_thread(&params["thread"]);
            }
            Incoming::Notification { .. } => {}
        }
        Ok(None)
    }

    /// Records a thread that Codex uses for itself.
    fn note_thread(&mut self, thread: &Value) {
        if let Some(id) = thread["id"].as_str().filter(|_| thread["threadSource"] == TITLES) {
            self.titles.insert(id.to_owned());
        }
    }

    /// Records the status of a thread. One that is not known to be idle counts as busy.
    fn note(&mut self, thread: &str, status: &Value) {
        match status["type"].as_str() {
            Some("idle" | "notLoaded" | "systemError") => self.busy.remove(thread),
            _ if self.titles.contains(thread) => self.busy.remove(thread),
            _ => self.busy.insert(thread.to_owned()),
        };
    }
}

/// Reads the version in `NAME/VERSION (…`.
fn version_of(agent: &str) -> Option<String> {
    let version = agent.split_once('/')?.1.split(' ').next()?;
    let is_version = version.starts_with(|letter: char| letter.is_ascii_digit());
    is_version.then(|| crate::redaction::printable(version, 40))
}
