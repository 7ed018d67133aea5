//! OpenAI's Codex 0.169 after this program on PATH: it works as before, and its login does not break.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use super::codex::codex_0169;
use crate::manager::world::World;
use crate::support::{Machine, Run, TestHome, search_path};

/// A local model provider that answers every turn with one word. It ends with the test process.
struct Provider {
    url: String,
    /// The bearer tokens of the requests.
    bearers: Arc<Mutex<Vec<String>>>,
}

impl Provider {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bearers = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&bearers);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let seen = Arc::clone(&seen);
                // A client may close the connection.
                thread::spawn(move || stream.and_then(|stream| answer(stream, &seen)));
            }
        });
        Self { url, bearers }
    }

    /// The arguments that make Codex use it.
    fn settings(&self) -> [String; 8] {
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
fn answer(mut stream: TcpStream, seen: &Mutex<Vec<String>>) -> io::Result<()> {
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
    seen.lock().unwrap().push(bearer.unwrap_or_default().to_owned());
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

/// The `PATH` with Codex 0.169 at the end.
fn path(home: &TestHome) -> OsString {
    let folder = home.path().with_file_name("next");
    if !folder.exists() {
        std::os::unix::fs::symlink(codex_0169(), home.beside("next").join("codex")).unwrap();
    }
    let folders: Vec<_> = std::env::split_paths(&search_path()).chain([folder]).collect();
    std::env::join_paths(folders).unwrap()
}

#[test]
fn version_and_other_commands_reach_codex() {
    let home = TestHome::new();
    let through = |words: &[&str]| home.codex(words.iter().copied()).env("PATH", path(&home)).run().expect(0);
    let version = through(&["--version"]).out;
    assert_eq!(version, format!("codex-cli 0.169.0\ncodex-auth {}\n", env!("CARGO_PKG_VERSION")));
    for words in [&["exec", "--help"][..], &["-c", "model=o3", "mcp", "--help"], &["help", "exec"]] {
        let direct = Run::of(&codex_0169(), words.iter().copied()).envs(home.variables()).run().expect(0);
        assert_eq!(through(words).out, direct.out);
    }
    let help = through(&["--help"]).out;
    assert!(help.contains("  token ") && help.contains("  exec "), "{help}");
    // Codex's own report follows, and may find problems.
    let doctor = home.codex(["doctor"]).env("PATH", path(&home)).run().out;
    assert!(doctor.contains("ok       next codex    codex-cli 0.169.0, a tested version ("), "{doctor}");
}

#[test]
fn eight_codex_processes_with_an_expired_login_cost_one_request() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    let home = &world.machine.home;
    let provider = Provider::start();
    let settings = provider.settings();
    let words = ["exec", "--skip-git-repo-check", "-s", "read-only"];
    let words: Vec<_> =
        words.into_iter().chain(settings.iter().map(String::as_str)).chain(["ping"]).collect();
    let folder = home.beside("work");
    let start = || {
        let run = world.codex(words.iter().copied()).env("PATH", path(home)).env("HOME", &folder);
        run.start()
    };
    let children: Vec<_> = (0..8).map(|_| start()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"pong\n"[..]), "{stderr}");
    }
    assert_eq!(world.requests(), 1);
    let token = world.stored_token("access_token");
    let bearers = provider.bearers.lock().unwrap();
    assert!(bearers.len() == 8 && bearers.iter().all(|bearer| *bearer == token), "{bearers:?}");
    assert_eq!(Some(world.stored_token("refresh_token")), world.live_refresh_token());
}
