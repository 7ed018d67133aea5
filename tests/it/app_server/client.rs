//! A client of an app-server: it asks, is told things, and is asked things itself.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::manager::world::PATIENCE;
use crate::support::{Guarded, Run, TestHome, eventually};

/// Whether what is said is read.
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

/// A conversation with an app-server, which ends with it.
pub struct Client {
    process: Guarded,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    gate: Arc<Gate>,
    /// What has been said and not been asked for yet.
    said: VecDeque<Value>,
    last_id: u64,
}

impl Client {
    /// Starts a program whose command line is complete, and says nothing yet.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let (input, output) = (process.stdin.take(), process.stdout.take().unwrap());
        let (tell, lines) = channel();
        let gate = Arc::new(Gate { open: Mutex::new(true), moved: Condvar::new() });
        let way_in = Arc::clone(&gate);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                way_in.pass();
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Self { process: Guarded(process), input, lines, gate, said: VecDeque::new(), last_id: 0 }
    }

    /// The same, introduced as an editor that uses everything.
    pub fn introduced(command: Command) -> Self {
        Self::introduced_with(command, &json!({"experimentalApi": true}))
    }

    pub fn introduced_with(command: Command, capabilities: &Value) -> Self {
        let mut client = Self::start(command);
        client.introduce(capabilities);
        client
    }

    /// Introduces itself, and gives back what the server says of itself.
    pub fn introduce(&mut self, capabilities: &Value) -> Value {
        let info = json!({"name": "editor", "title": "An Editor", "version": "1.2.3"});
        let said = self.call("initialize", json!({"clientInfo": info, "capabilities": capabilities}));
        self.send(&json!({"method": "initialized"}).to_string());
        said
    }

    /// One of ours in `home`, with nobody behind it.
    pub fn of(home: &TestHome) -> Self {
        Self::introduced(home.codex(["app-server"]).into_command())
    }

    /// One of ours, by a run that is prepared already.
    pub fn by(run: Run) -> Self {
        Self::introduced(run.into_command())
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
        // A server that is gone is found out when it does not answer.
        let _ = input.write_all(&[line, b"\n"].concat());
    }

    /// Sends a request, and does not wait for its answer.
    pub fn ask(&mut self, method: &str, params: Value) -> u64 {
        self.last_id += 1;
        let mut request = json!({"method": method, "id": self.last_id});
        if !params.is_null() {
            request["params"] = params;
        }
        self.send(&request.to_string());
        self.last_id
    }

    /// Waits for the answer to a request.
    #[track_caller]
    pub fn answer(&mut self, id: impl Into<Value>) -> Value {
        let id = id.into();
        self.next(|said| said["id"] == id && said.get("method").is_none())
    }

    /// Asks and waits; whatever comes of it, without the id.
    #[track_caller]
    pub fn outcome(&mut self, method: &str, params: Value) -> Value {
        let id = self.ask(method, params);
        let mut answer = self.answer(id);
        answer.as_object_mut().unwrap().remove("id");
        answer
    }

    /// Asks and waits for the result.
    #[track_caller]
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        let mut outcome = self.outcome(method, params);
        assert!(outcome.get("error").is_none(), "{method}: {outcome}");
        outcome["result"].take()
    }

    /// Asks and waits for a refusal of this code; its message.
    #[track_caller]
    pub fn refused(&mut self, method: &str, params: Value, code: i64) -> String {
        let outcome = self.outcome(method, params);
        assert_eq!(outcome["error"]["code"], code, "{method}: {outcome}");
        outcome["error"]["message"].as_str().unwrap().to_owned()
    }

    /// Waits to be told something of this kind; its parameters.
    #[track_caller]
    pub fn told(&mut self, method: &str) -> Value {
        self.next(|said| said["method"] == method && said.get("id").is_none())["params"].take()
    }

    /// Waits to be asked something of this kind; the id and the parameters.
    #[track_caller]
    pub fn asked(&mut self, method: &str) -> (Value, Value) {
        let mut asked = self.next(|said| said["method"] == method && said.get("id").is_some());
        (asked["id"].take(), asked["params"].take())
    }

    /// Answers what it was asked.
    pub fn reply(&mut self, id: &Value, result: &Value) {
        self.send(&json!({"id": id, "result": result}).to_string());
    }

    /// What it was told of this kind by now, and was not asked for. Whatever was said before the answer to one more
    /// request has been said.
    pub fn told_by_now(&mut self, method: &str) -> Vec<Value> {
        self.call("getAuthStatus", json!({}));
        let (told, rest): (VecDeque<_>, _) = self.said.drain(..).partition(|said| said["method"] == method);
        self.said = rest;
        told.into_iter().map(|mut said| said["params"].take()).collect()
    }

    /// The token that it is given.
    pub fn token(&mut self) -> Option<String> {
        let status = self.call("getAuthStatus", json!({"includeToken": true}));
        status["authToken"].as_str().map(str::to_owned)
    }

    /// The token that it is given after a refresh.
    pub fn new_token(&mut self) -> Value {
        self.call("getAuthStatus", json!({"includeToken": true, "refreshToken": true}))["authToken"].take()
    }

    /// Leaves what is said where it is.
    pub fn stop_reading(&mut self) {
        self.gate.set(false);
    }

    pub fn read_again(&mut self) {
        self.gate.set(true);
    }

    /// Ends the conversation; the exit code of the server.
    #[track_caller]
    pub fn end(mut self) -> Option<i32> {
        self.input = None;
        let mut ended = None;
        eventually("the server to end", || {
            ended = self.process.0.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap().code()
    }

    /// The next line of that kind; others are kept.
    #[track_caller]
    fn next(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.said.iter().position(&wanted) {
            return self.said.remove(at).unwrap();
        }
        loop {
            let said =
                self.hear(PATIENCE).unwrap_or_else(|| panic!("nothing of that kind in {:#?}", self.said));
            if wanted(&said) {
                return said;
            }
            self.said.push_back(said);
        }
    }

    fn hear(&mut self, limit: Duration) -> Option<Value> {
        let line = self.lines.recv_timeout(limit).ok()?;
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}")))
    }
}
