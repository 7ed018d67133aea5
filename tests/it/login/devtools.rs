//! A headless Chromium, controlled through the DevTools protocol.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{Guarded, eventually};

/// The timeout of every step, far longer than a page takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Debian's Chromium with one open page; ends when dropped.
pub struct Chromium {
    process: Guarded,
    folder: tempfile::TempDir,
    commands: File,
    messages: Receiver<Value>,
    session: Value,
    last: u64,
    /// The events since the last navigation.
    events: Vec<String>,
    /// The errors that the browser reported.
    pub complaints: Vec<String>,
}

impl Drop for Chromium {
    /// Chromium's other processes write to the profile for a moment after it has ended.
    fn drop(&mut self) {
        let group = format!("-{}", self.process.0.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.process.0.wait();
        eventually("the profile to be removed", || match std::fs::remove_dir_all(self.folder.path()) {
            Ok(()) => true,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        });
    }
}

impl Chromium {
    /// Starts it with a new profile and opens a page.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pipe = |name: &str| {
            let path = folder.path().join(name);
            assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
            path
        };
        let (commands, answers) = (pipe("commands"), pipe("answers"));
        let mut command = Command::new("sh");
        command.args(["-euc", "exec chromium \"$@\" 3<\"$commands\" 4>\"$answers\"", "chromium"]);
        command.args([
            "--headless=new",
            "--remote-debugging-pipe",
            // The tests may run as root and in a container; only local pages are visited.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--force-color-profile=srgb",
        ]);
        command.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
        command.env("commands", &commands).env("answers", &answers).env("HOME", folder.path());
        // It is killed in the end and leaves files in the temporary directory.
        command.env("TMPDIR", folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let process = Guarded(command.spawn().expect("sh is installed"));
        // Each side waits for the other to open its pipe.
        let commands = OpenOptions::new().write(true).open(commands).unwrap();
        let answers = File::open(answers).unwrap();
        let mut browser = Self {
            process,
            folder,
            commands,
            messages: messages(answers),
            session: Value::Null,
            last: 0,
            events: Vec::new(),
            complaints: Vec::new(),
        };
        let page = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": page["targetId"], "flatten": true});
        browser.session = browser.call("Target.attachToTarget", &attach)["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// Opens `url` and waits until it and its redirects are loaded.
    pub fn visit(&mut self, url: &str) {
        self.events.clear();
        self.call("Page.navigate", &json!({ "url": url }));
        self.event("Page.loadEventFired");
    }

    /// Clicks on `selector` and waits for the page that it opens.
    pub fn click(&mut self, selector: &str) {
        self.events.clear();
        self.evaluate(&format!("document.querySelector('{selector}').click()"));
        self.event("Page.loadEventFired");
    }

    /// Evaluates `script` in the page.
    pub fn evaluate(&mut self, script: &str) -> Value {
        let asked = json!({"expression": script, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", &asked);
        assert!(answer.get("exceptionDetails").is_none(), "{script}: {answer:#}");
        answer["result"]["value"].clone()
    }

    /// Sets the preferred colour scheme and the width of the window.
    pub fn show(&mut self, scheme: &str, width: u32) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", &json!({ "features": features }));
        let size = json!({"width": width, "height": 720, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Takes a screenshot.
    pub fn picture(&mut self, name: &str) {
        let picture = self.call("Page.captureScreenshot", &json!({"format": "png"}));
        let bytes = STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pages");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name).with_extension("png"), bytes).unwrap();
    }

    /// Returns the accessibility tree: role and name of every node.
    pub fn accessibility_nodes(&mut self) -> Vec<(String, String)> {
        let tree = self.call("Accessibility.getFullAXTree", &json!({}));
        let text = |node: &Value, field: &str| node[field]["value"].as_str().unwrap_or_default().to_owned();
        let nodes = tree["nodes"].as_array().unwrap().iter();
        nodes
            .filter(|node| node["ignored"] == false)
            .map(|node| (text(node, "role"), text(node, "name")))
            .collect()
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": parameters});
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        self.commands.write_all(message.to_string().as_bytes()).unwrap();
        self.commands.write_all(b"\0").unwrap();
        let id = json!(self.last);
        let answer = self.until(|message| message["id"] == id);
        assert!(answer.get("error").is_none(), "{method}: {answer:#}");
        answer["result"].clone()
    }

    /// Waits for an event, unless it arrived before.
    fn event(&mut self, name: &str) {
        if !self.events.iter().any(|event| event == name) {
            self.until(|message| message["method"] == name);
        }
    }

    fn until(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.messages.recv_timeout(PATIENCE);
            let message =
                message.unwrap_or_else(|error| panic!("chromium: {error}; events: {:?}", self.events));
            if message["method"] == "Log.entryAdded" {
                self.complaints.push(message["params"]["entry"]["text"].to_string());
            }
            self.events.extend(message["method"].as_str().map(str::to_owned));
            if is_it(&message) {
                return message;
            }
        }
    }
}

/// Reads the browser's messages on a thread until it ends; each ends with a zero byte.
fn messages(answers: File) -> Receiver<Value> {
    let (sender, messages) = channel();
    thread::spawn(move || {
        let messages = BufReader::new(answers).split(0).map_while(Result::ok);
        let _ = messages
            .map(|text| serde_json::from_slice(&text).unwrap())
            .try_for_each(|message| sender.send(message));
    });
    messages
}
