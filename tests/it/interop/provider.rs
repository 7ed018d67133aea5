//! A local model provider that answers every turn with one word.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

/// Which bearer tokens a provider accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AcceptedTokens {
    #[default]
    All,
    Only(String),
    None,
}

/// What the threads of a provider share with the test.
#[derive(Default)]
struct Traffic {
    bearers: Vec<String>,
    accepted: AcceptedTokens,
}

/// A provider, which ends with the test process.
pub struct Provider {
    url: String,
    traffic: Arc<Mutex<Traffic>>,
}

impl Provider {
    /// A provider on this machine.
    pub fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// A provider at `listener`, which may be in another network.
    pub fn on(listener: TcpListener) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let traffic = Arc::<Mutex<Traffic>>::default();
        let shared = Arc::clone(&traffic);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                // A client may close the connection.
                thread::spawn(move || stream.and_then(|stream| answer(stream, &shared)));
            }
        });
        Self { url, traffic }
    }

    /// The bearer tokens of the turns that were answered.
    pub fn bearers(&self) -> Vec<String> {
        self.traffic.lock().unwrap().bearers.clone()
    }

    /// Refuses all other tokens from now on.
    pub fn accept(&self, accepted: AcceptedTokens) {
        self.traffic.lock().unwrap().accepted = accepted;
    }

    /// The arguments that make Codex use it.
    pub fn settings(&self) -> [String; 8] {
        let Self { url, .. } = self;
        let provider = format!(
            r#"{{name="local",base_url="{url}/v1",wire_api="responses",requires_openai_auth=true,request_max_retries=0,stream_max_retries=0}}"#
        );
        [
            "-c".to_owned(),
            format!("chatgpt_base_url=\"{url}/backend-api\""),
            "-c".to_owned(),
            format!("model_providers.local={provider}"),
            "-c".to_owned(),
            "model_provider=local".to_owned(),
            "-c".to_owned(),
            "model=gpt-5".to_owned(),
        ]
    }
}

/// Reads one request and responds.
fn answer(mut stream: TcpStream, traffic: &Mutex<Traffic>) -> io::Result<()> {
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
    if !request.starts_with("POST /v1/responses ") {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let bearer = headers.get("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let bearer = bearer.unwrap_or_default();
    {
        let mut traffic = traffic.lock().unwrap();
        let is_accepted = match &traffic.accepted {
            AcceptedTokens::All => true,
            AcceptedTokens::Only(token) => token == bearer,
            AcceptedTokens::None => false,
        };
        if !is_accepted {
            let refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            return stream.write_all(refusal);
        }
        traffic.bearers.push(bearer.to_owned());
    }
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
    let body: String = events.iter().map(line).collect();
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
