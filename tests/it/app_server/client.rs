//! A client of an app-server, which sends requests and receives notifications and requests.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::manager::world::TEST_TIMEOUT;
use crate::support::{Guarded, Run, TestHome, eventually};

/// Whether the output of the server is read.
struct Gate {
    open: Mutex<bool>,
    moved: Condvar,
}

impl Gate {
    fn pass(&self) {
        drop(self.moved.wait_while(self.open.lock().unwrap(), |open| !*open).unwrap());
    }

    fn set(&self, open: bool) {
        *self.open.lock().unwrap() = open;
        self.moved.notify_all();
    }
}

/// A client with its app-server, which is killed on drop.
pub struct Client {
    process: Guarded,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    gate: Arc<Gate>,
    /// Received messages that no caller has taken yet.
    received: VecDeque<Value>,
    /// The notification that the workspace of the first login is known, which comes at any time.
    ready: Option<Value>,
    last_id: u64,
}

impl Client {
    /// Starts `command` as the server, and sends nothing.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let (input, output) = (process.stdin.take(), process.stdout.take().unwrap());
        let (sender, lines) = channel();
        let gate = Arc::new(Gate { open: Mutex::new(true), moved: Condvar::new() });
        let input_gate = Arc::clone(&gate);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                input_gate.pass();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            process: Guarded(process),
            input,
            lines,
            gate,
            received: VecDeque::new(),
            ready: None,
            last_id: 0,
        }
    }

    /// Starts `command` and initializes with all capabilities.
    pub fn initialized(command: Command) -> Self {
        Self::initialized_with(command, &json!({"experimentalApi": true}))
    }

    /// Starts `command` and initializes with these capabilities.
    pub fn initialized_with(command: Command, capabilities: &Value) -> Self {
        let mut client = Self::start(command);
        client.initialize(capabilities);
        client
    }

    /// Initializes, and returns the result of the server.
    pub fn initialize(&mut self, capabilities: &Value) -> Value {
        let info = json!({"name": "editor", "title": "An Editor", "version": "1.2.3"});
        let result = self.call("initialize", json!({"clientInfo": info, "capabilities": capabilities}));
        self.send(&json!({"method": "initialized"}).to_string());
        result
    }

    /// Starts an app-server in `home`, without a next codex.
    pub fn in_home(home: &TestHome) -> Self {
        // No look-up of a workspace leaves this machine.
        let nowhere = "chatgpt_base_url = \"http://127.0.0.1:9/\"";
        Self::from_run(home.codex(["app-server"]).env("CODEX_AUTH_CONFIG", nowhere))
    }

    /// Starts an app-server from a prepared run.
    pub fn from_run(run: Run) -> Self {
        Self::initialized(run.into_command())
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// Sends a line.
    pub fn send(&mut self, line: &str) {
        self.send_bytes(line.as_bytes());
    }

    pub fn send_bytes(&mut self, line: &[u8]) {
        let input = self.input.as_mut().unwrap();
        // If the server has exited, the missing response fails the test.
        let _ = input.write_all(&[line, b"\n"].concat());
    }

    /// Sends a request and returns its id.
    pub fn send_request(&mut self, method: &str, params: Value) -> u64 {
        self.last_id += 1;
        let mut request = json!({"method": method, "id": self.last_id});
        if !params.is_null() {
            request["params"] = params;
        }
        self.send(&request.to_string());
        self.last_id
    }

    /// Waits for the response to a request.
    #[track_caller]
    pub fn response(&mut self, id: impl Into<Value>) -> Value {
        let id = id.into();
        self.next(|message| message["id"] == id && message.get("method").is_none())
    }

    /// Sends a request and waits for its response, which is returned without the id.
    #[track_caller]
    pub fn outcome(&mut self, method: &str, params: Value) -> Value {
        let id = self.send_request(method, params);
        let mut response = self.response(id);
        response.as_object_mut().unwrap().remove("id");
        response
    }

    /// Sends a request and waits for its result.
    #[track_caller]
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        let mut outcome = self.outcome(method, params);
        assert!(outcome.get("error").is_none(), "{method}: {outcome}");
        outcome["result"].take()
    }

    /// Sends a request and waits for an error of this code, whose message is returned.
    #[track_caller]
    pub fn error(&mut self, method: &str, params: Value, code: i64) -> String {
        let outcome = self.outcome(method, params);
        assert_eq!(outcome["error"]["code"], code, "{method}: {outcome}");
        outcome["error"]["message"].as_str().unwrap().to_owned()
    }

    /// Waits for a notification and returns its parameters.
    #[track_caller]
    pub fn notification(&mut self, method: &str) -> Value {
        self.next(|message| message["method"] == method && message.get("id").is_none())["params"].take()
    }

    /// Waits for a notification about the account, and returns its method and parameters.
    #[track_caller]
    pub fn account_notification(&mut self) -> (String, Value) {
        let methods = ["account/updated", "account/login/completed"];
        let mut message = self.next(|message| methods.iter().any(|method| message["method"] == *method));
        (message["method"].as_str().unwrap().to_owned(), message["params"].take())
    }

    /// Waits for a request of the server and returns its id and parameters.
    #[track_caller]
    pub fn server_request(&mut self, method: &str) -> (Value, Value) {
        let mut request = self.next(|message| message["method"] == method && message.get("id").is_some());
        (request["id"].take(), request["params"].take())
    }

    /// Responds to a request of the server.
    pub fn reply(&mut self, id: &Value, result: &Value) {
        self.send(&json!({"id": id, "result": result}).to_string());
    }

    /// The parameters of all such notifications that have arrived and were not taken. One more request makes sure that
    /// earlier notifications have arrived.
    pub fn notifications_so_far(&mut self, method: &str) -> Vec<Value> {
        self.call("getAuthStatus", json!({}));
        let (found, rest): (VecDeque<_>, _) =
            self.received.drain(..).partition(|message| message["method"] == method);
        self.received = rest;
        found.into_iter().map(|mut message| message["params"].take()).collect()
    }

    /// The token that `getAuthStatus` returns.
    pub fn token(&mut self) -> Option<String> {
        let status = self.call("getAuthStatus", json!({"includeToken": true}));
        status["authToken"].as_str().map(str::to_owned)
    }

    /// The token that `getAuthStatus` returns after a refresh.
    pub fn new_token(&mut self) -> Value {
        self.call("getAuthStatus", json!({"includeToken": true, "refreshToken": true}))["authToken"].take()
    }

    /// Waits for the notification that the workspace of the first login is known, and returns its parameters.
    #[track_caller]
    pub fn workspace_ready(&mut self) -> Value {
        while self.ready.is_none() {
            let message = self.message(TEST_TIMEOUT).unwrap_or_else(|| panic!("the workspace is not known"));
            self.received.extend(message);
        }
        self.ready.take().unwrap()
    }

    /// Stops reading the output of the server.
    pub fn stop_reading(&mut self) {
        self.gate.set(false);
    }

    pub fn resume_reading(&mut self) {
        self.gate.set(true);
    }

    /// Closes the server's input; its output can still be read.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Closes the input and returns the exit code of the server.
    #[track_caller]
    pub fn end(mut self) -> Option<i32> {
        self.input = None;
        self.wait()
    }

    /// Waits until the server ends, and returns its exit code.
    #[track_caller]
    pub fn wait(mut self) -> Option<i32> {
        let mut ended = None;
        eventually("the server to end", || {
            ended = self.process.0.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap().code()
    }

    /// The next message that `matches`; others are kept.
    #[track_caller]
    fn next(&mut self, matches: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.received.iter().position(&matches) {
            return self.received.remove(at).unwrap();
        }
        loop {
            let message = self
                .receive(TEST_TIMEOUT)
                .unwrap_or_else(|| panic!("no such message in {:#?}", self.received));
            if matches(&message) {
                return message;
            }
            self.received.push_back(message);
        }
    }

    fn receive(&mut self, limit: Duration) -> Option<Value> {
        loop {
            if let Some(message) = self.message(limit)? {
                return Some(message);
            }
        }
    }

    /// Receives a message; the inner `None` is the notification that is kept in `ready`. `None` after `limit`.
    fn message(&mut self, limit: Duration) -> Option<Option<Value>> {
        let line = self.lines.recv_timeout(limit).ok()?;
        let mut message: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"));
        if message["params"]["reason"] != "workspaceRoutingReady" {
            return Some(Some(message));
        }
        assert_eq!(self.ready.replace(message["params"].take()), None, "it is announced once");
        Some(None)
    }
}
