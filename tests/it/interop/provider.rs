//! A local model provider that answers every turn with one word, and the backend that Codex asks about the account.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use serde_json::{Value, json};

/// The provider. It ends with the test process.
pub struct Provider {
    url: String,
    shared: Arc<Shared>,
}

/// What the threads of the connections share.
#[derive(Default)]
struct Shared {
    /// The bearer tokens of the turns.
    bearers: Mutex<Vec<String>>,
    /// The bearer tokens that are accepted; all without a list.
    accepted: Mutex<Option<Vec<String>>>,
    held: Mutex<bool>,
    changed: Condvar,
}

impl Provider {
    /// A provider on this machine.
    pub fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// A provider at `listener`, which may be in another network.
    pub fn on(listener: TcpListener) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::<Shared>::default();
        let seen = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let seen = Arc::clone(&seen);
                // A client may close the connection.
                thread::spawn(move || stream.and_then(|stream| answer(stream, &seen)));
            }
        });
        Self { url, shared }
    }

    /// The bearer tokens of the turns so far that were not refused, also of those that are not answered yet.
    pub fn bearers(&self) -> Vec<String> {
        self.shared.bearers.lock().unwrap().clone()
    }

    /// Refuses all tokens but these from now on.
    // Linux: mounts and procfs.
    #[cfg(target_os = "linux")]
    pub fn accept_only(&self, tokens: &[&str]) {
        let tokens = tokens.iter().map(|token| (*token).to_owned()).collect();
        *self.shared.accepted.lock().unwrap() = Some(tokens);
    }

    /// Answers no turn until this is called with `false`.
    // Linux: procfs.
    #[cfg(target_os = "linux")]
    pub fn hold(&self, held: bool) {
        *self.shared.held.lock().unwrap() = held;
        self.shared.changed.notify_all();
    }

    /// Whether it answers no turn now.
    // Linux: procfs.
    #[cfg(target_os = "linux")]
    pub fn is_held(&self) -> bool {
        *self.shared.held.lock().unwrap()
    }

    /// The settings that make Codex use it.
    fn values(&self) -> [String; 4] {
        let Self { url, .. } = self;
        let provider = format!(
            r#"{{name="local",base_url="{url}/v1",wire_api="responses",requires_openai_auth=true,request_max_retries=0,stream_max_retries=0}}"#
        );
        [
            format!("chatgpt_base_url=\"{url}/backend-api\""),
            format!("model_providers.local={provider}"),
            "model_provider=\"local\"".to_owned(),
            "model=\"gpt-5\"".to_owned(),
        ]
    }

    /// The settings as arguments.
    pub fn settings(&self) -> Vec<String> {
        self.values().into_iter().flat_map(|value| ["-c".to_owned(), value]).collect()
    }

    /// The settings as `config.toml`.
    // Linux: procfs.
    #[cfg(target_os = "linux")]
    pub fn config(&self) -> String {
        self.values().join("\n") + "\ncheck_for_update_on_startup=false\n"
    }
}

/// Reads one request and responds.
fn answer(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    reader.take(length).read_to_end(&mut Vec::new())?;
    if request.starts_with("GET /backend-api/wham/accounts/check ") {
        let account = headers.get("chatgpt-account-id").map_or("", String::as_str);
        let checked = json!({
            "id": account, "account_id": account, "name": "A Workspace",
            "workspace_backend_origin": "https://chatgpt.com", "account_routing_override": "NO_CONSTRAINT",
        });
        let answer =
            json!({"accounts": [checked], "account_ordering": [account], "default_account_id": account});
        return respond(&mut stream, "application/json", &answer.to_string());
    }
    if !request.starts_with("POST /v1/responses ") {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let bearer = headers.get("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let bearer = bearer.unwrap_or_default();
    let accepted = shared.accepted.lock().unwrap().clone();
    let is_accepted = accepted.is_none_or(|tokens| tokens.iter().any(|token| token == bearer));
    if !is_accepted {
        let refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return stream.write_all(refusal);
    }
    shared.bearers.lock().unwrap().push(bearer.to_owned());
    drop(shared.changed.wait_while(shared.held.lock().unwrap(), |held| *held).unwrap());
    let message = json!({
        "type": "message", "role": "assistant", "id": "m", "content": [{"type": "output_text", "text": "pong"}],
    });
    let events = [
        json!({"type": "response.created", "response": {"id": "r"}}),
        json!({"type": "response.output_item.done", "item": message}),
        json!({"type": "response.completed", "response": {"id": "r", "usage": {
            "input_tokens": 0, "input_tokens_details": null,
            "output_tokens": 0, "output_tokens_details": null, "total_tokens": 0,
        }}}),
    ];
    let line = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    respond(&mut stream, "text/event-stream", &events.iter().map(line).collect::<String>())
}

fn respond(stream: &mut TcpStream, kind: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
