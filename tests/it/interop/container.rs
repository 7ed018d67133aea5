//! A container by bubblewrap with an export and OpenAI's Codex, and a search for secrets in its processes and files.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::provider::Provider;
use crate::app_server::client::Client;
use crate::manager::world::World;
use crate::support::{Ended, Guarded, Lines, Run, TestHome, children, tree};

/// No program listens there, and the error that names it says why.
pub const CLOSED: &str = "http://127.0.0.1:9/only-the-keeper-outside-refreshes-this-login";

/// A network namespace with a model provider and nothing else.
pub struct Network {
    /// Holds the namespace.
    holder: Guarded,
    pub provider: Provider,
}

impl Network {
    pub fn new() -> Self {
        let mut holder = Command::new("unshare");
        holder.args(["--net", "sh", "-euc", "ip link set lo up; echo up; read -r _"]);
        let mut holder = Guarded(holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
        assert_eq!(Lines::of(holder.0.stdout.take().unwrap()).next().as_deref(), Some("up"));
        let provider = Provider::on(listener_in(holder.0.id()));
        Self { holder, provider }
    }

    /// The option of nsenter(1) that enters it.
    pub fn option(&self) -> String {
        format!("--net=/proc/{}/ns/net", self.holder.0.id())
    }
}

/// Listens in the network namespace of a process.
fn listener_in(process: u32) -> TcpListener {
    let enter = move || {
        let network = File::open(format!("/proc/{process}/ns/net")).unwrap();
        rustix::thread::move_into_link_name_space(network.as_fd(), None).expect("the tests run as root");
        TcpListener::bind("127.0.0.1:0").unwrap()
    };
    // Only this thread changes its namespace.
    std::thread::spawn(enter).join().unwrap()
}

/// The folder of the package of the Codex `program`, which holds what it runs.
pub fn package(program: &Path) -> &Path {
    program.parent().unwrap().parent().unwrap()
}

/// A container by bubblewrap: the system, Codex, a private home directory, and the export at `/run/codex-auth`.
pub struct Container {
    codex: PathBuf,
    pub export: PathBuf,
    pub home: TestHome,
    network: Network,
}

impl Container {
    pub fn new(codex: &Path, export: PathBuf) -> Self {
        let home = TestHome::new();
        fs::create_dir(home.file(".codex")).unwrap();
        symlink("/run/codex-auth/auth.json", home.file(".codex/auth.json")).unwrap();
        home.write(".codex/config.toml", "[features]\ndaemon_auto_start = false\n");
        Self { codex: codex.to_owned(), export, home, network: Network::new() }
    }

    pub fn provider(&self) -> &Provider {
        &self.network.provider
    }

    /// A run of Codex in the container, with the model of its network.
    pub fn codex<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        self.program("/opt/codex/bin/codex", arguments)
    }

    /// A run of another program in it.
    pub fn program<'a>(&self, program: &str, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        let binds = [
            ["--ro-bind", "/usr", "/usr"],
            ["--symlink", "usr/bin", "/bin"],
            ["--symlink", "usr/lib", "/lib"],
            ["--symlink", "usr/lib64", "/lib64"],
            ["--ro-bind", package(&self.codex).to_str().unwrap(), "/opt/codex"],
            ["--ro-bind", self.export.to_str().unwrap(), "/run/codex-auth"],
            ["--bind", self.home.path().to_str().unwrap(), "/home/agent"],
        ]
        .concat()
        .join("\n");
        let network = self.network.option();
        let way = ["nsenter", &network, "bwrap", "--unshare-user", "--uid", "1000", "--gid", "1000"];
        let way = way.into_iter().chain(["--unshare-pid", "--unshare-ipc", "--die-with-parent"]);
        let way = way.chain(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
        let way = way.chain(binds.lines()).chain(["--chdir", "/home/agent"]);
        Run::of(Path::new(program), arguments)
            .env("HOME", "/home/agent")
            .env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", CLOSED)
            .env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", CLOSED)
            .through(way)
    }

    pub fn app_server(&self) -> Client {
        let settings = self.provider().settings();
        let words = settings.iter().map(String::as_str).chain(["app-server"]);
        Client::from_run(self.codex(words))
    }

    pub fn exec(&self) -> Ended {
        let settings = self.provider().settings();
        let words = ["exec", "--skip-git-repo-check", "-s", "read-only"];
        self.codex(words.into_iter().chain(settings.iter().map(String::as_str)).chain(["ping"])).run()
    }
}

/// Starts a conversation, and returns its id.
pub fn thread(client: &mut Client) -> Value {
    client.call("thread/start", json!({}))["thread"]["id"].take()
}

/// Runs a turn, and returns its status and error.
pub fn turn(client: &mut Client, thread: &Value) -> (String, String) {
    let input = json!([{"type": "text", "text": "ping"}]);
    client.call("turn/start", json!({"threadId": thread, "input": input}));
    let turn = client.notification("turn/completed")["turn"].take();
    (turn["status"].as_str().unwrap().to_owned(), turn["error"].to_string())
}

/// The processes below `parent`, as this machine numbers them.
fn descendants(parent: u32) -> Vec<u32> {
    let below = children(parent);
    below.iter().flat_map(|child| std::iter::once(*child).chain(descendants(*child))).collect()
}

/// Searches the writable memory and the environment of the processes below `parent`, and returns those that hold one of
/// `secrets`.
pub fn holders(parent: u32, secrets: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let processes = descendants(parent);
    assert!(!processes.is_empty());
    for process in processes {
        for part in ["environ", "cmdline", "mem"] {
            let mut search = Command::new("grep");
            search.args(["--quiet", "--text", "--fixed-strings"]);
            for secret in secrets {
                search.args(["-e", secret]);
            }
            let mut search = search.stdin(Stdio::piped()).spawn().unwrap();
            // It stops reading at the first match.
            let _ = read(process, part, search.stdin.take().unwrap());
            if search.wait().unwrap().success() {
                found.push(format!("{part} of process {process}"));
            }
        }
    }
    found
}

/// The size of a page, and of the mapping that is looked at in one go.
const PAGE: u64 = 4096;
const CHUNK: u64 = 64 << 20;

/// Writes a file of `/proc` to `to`; of `mem`, the writable memory that is in use.
fn read(process: u32, part: &str, to: impl std::io::Write) -> std::io::Result<()> {
    let mut to = std::io::BufWriter::with_capacity(1 << 20, to);
    let path = format!("/proc/{process}/{part}");
    if part != "mem" {
        let mut bytes = Vec::new();
        File::open(path)?.read_to_end(&mut bytes)?;
        return to.write_all(&bytes);
    }
    let (memory, pages) = (File::open(path)?, File::open(format!("/proc/{process}/pagemap"))?);
    for line in fs::read_to_string(format!("/proc/{process}/maps"))?.lines() {
        let mut words = line.split_whitespace();
        let (range, mode) = (words.next().unwrap(), words.next().unwrap());
        if !mode.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [mut at, end] = [start, end].map(|address| u64::from_str_radix(address, 16).unwrap());
        while at < end {
            let length = (end - at).min(CHUNK);
            let mut entries = vec![0; usize::try_from(length / PAGE * 8).unwrap()];
            // A mapping may have been removed since the list was read.
            if pages.read_exact_at(&mut entries, at / PAGE * 8).is_err() {
                break;
            }
            for (number, entry) in (0..).zip(entries.chunks_exact(8)) {
                // In memory, or swapped out. The other pages were never written to.
                let mut page = [0; PAGE as usize];
                if entry[7] & 0xc0 != 0 && memory.read_exact_at(&mut page, at + number * PAGE).is_ok() {
                    to.write_all(&page)?;
                }
            }
            at += length;
        }
        to.write_all(b"\n")?;
    }
    Ok(())
}

/// What no container may hold: the refresh token, and what only the real id token has.
pub fn secrets(world: &World<'_>) -> Vec<String> {
    let mut secrets = unique_parts(&world.stored_token("id_token"));
    secrets.push(world.stored_token("refresh_token"));
    secrets
}

/// The id of a token, as text and as it is encoded in the token.
pub fn unique_parts(token: &str) -> Vec<String> {
    let payload = token.split('.').nth(1).unwrap();
    let claims = URL_SAFE_NO_PAD.decode(payload).unwrap();
    let id: Value = serde_json::from_slice::<Value>(&claims).unwrap()["jti"].take();
    let id = id.as_str().unwrap();
    let at = claims.windows(id.len()).position(|window| window == id.as_bytes()).unwrap();
    // Three bytes are four letters.
    let start = at.div_ceil(3) * 4;
    vec![id.to_owned(), payload[start..start + (id.len() / 3 - 1) * 4].to_owned()]
}

/// Asserts that no file of the container or its export holds one of `secrets`.
#[track_caller]
pub fn assert_not_in_files(container: &Container, secrets: &[String]) {
    for folder in [container.home.path(), container.export.clone()] {
        for (path, _, bytes) in tree(&folder) {
            for secret in secrets {
                let holds = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!holds, "{} holds {secret}", path.display());
            }
        }
    }
}
