//! An app-server, compared with OpenAI's Codex 0.169 if that is installed: time to the first response, time of a
//! request, and memory.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark may panic and print, and has no public interface"
)]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

use self::support::{Limits, Times, World, header, line, resident};

const STARTS: usize = 20;
const ROUND_TRIPS: usize = 2_000;
const INITIALIZE: &str =
    r#"{"id":0,"method":"initialize","params":{"clientInfo":{"name":"bench","title":null,"version":"1"}}}"#;
const STATUS: &str = r#"{"id":1,"method":"getAuthStatus","params":{"includeToken":true}}"#;
/// Limit of the resident memory, in KiB.
const MEMORY: u64 = 15 * 1024;

/// An app-server with its pipes; killed on drop.
struct Server {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Server {
    fn start(program: &Path, world: &World) -> Self {
        let mut command = Command::new(program);
        command.arg("app-server").env_clear().envs(world.variables()).env("HOME", world.path());
        // No look-up of a workspace leaves this machine.
        command.env("CODEX_AUTH_CONFIG", "chatgpt_base_url = \"http://127.0.0.1:9/\"");
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output) }
    }

    /// Starts it and waits for its first response.
    fn initialized(program: &Path, world: &World) -> Self {
        let mut server = Self::start(program, world);
        server.call(INITIALIZE, 0);
        server
    }

    /// Sends a request and waits for the response with that id; other messages are ignored.
    fn call(&mut self, request: &str, id: u32) -> String {
        self.input.write_all(request.as_bytes()).unwrap();
        self.input.write_all(b"\n").unwrap();
        let mut response = String::new();
        let wanted = format!("\"id\":{id}");
        while !response.contains(&wanted) {
            response.clear();
            assert_ne!(self.output.read_line(&mut response).unwrap(), 0, "the app-server exited");
        }
        response
    }

    /// The resident memory, in KiB.
    fn resident(&self) -> u64 {
        resident(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Measured {
    starts: Times,
    round_trips: Times,
    resident: u64,
}

fn measure(program: &Path) -> Measured {
    let world = World::fresh();
    fs::write(world.path().join("config.toml"), "chatgpt_base_url = \"http://127.0.0.1:9/\"\n").unwrap();
    let (mut starts, mut round_trips) = (Times::default(), Times::default());
    // The first start reads the program from the disk.
    Server::initialized(program, &world);
    for _ in 0..STARTS {
        // Ending it is not timed.
        starts.of(|| Server::initialized(program, &world));
    }
    let mut server = Server::initialized(program, &world);
    for _ in 0..ROUND_TRIPS {
        let response = round_trips.of(|| server.call(STATUS, 1));
        assert!(response.contains("\"authMethod\":\"chatgpt\""), "{response}");
    }
    Measured { starts, round_trips, resident: server.resident() }
}

fn codex_0169() -> Option<PathBuf> {
    let named = std::env::var_os("CODEX_0169").map(PathBuf::from);
    let installed = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/peers/node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex");
    Some(named.unwrap_or(installed)).filter(|path| path.is_file())
}

fn main() -> ExitCode {
    let mut limits = Limits::default();
    let ours = measure(Path::new(env!("CARGO_BIN_EXE_codex")));
    header("app-server");
    line("start to the first response", &ours.starts, &limits.check(&ours.starts, Duration::from_millis(15)));
    let verdict = limits.check(&ours.round_trips, Duration::from_micros(200));
    line("getAuthStatus, request and response", &ours.round_trips, &verdict);
    println!("resident: {:.1} MiB of {} MiB", in_mebibytes(ours.resident), MEMORY / 1024);
    if let Some(theirs) = codex_0169().map(|program| measure(&program)) {
        line("Codex 0.169: start to the first response", &theirs.starts, "");
        line("Codex 0.169: getAuthStatus", &theirs.round_trips, "");
        println!("Codex 0.169: resident: {:.1} MiB", in_mebibytes(theirs.resident));
    } else {
        println!("Codex 0.169 is not installed; tests/run installs it");
    }
    if ours.resident > MEMORY { ExitCode::FAILURE } else { limits.exit() }
}

#[expect(clippy::cast_precision_loss, reason = "a report of one decimal")]
fn in_mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}
