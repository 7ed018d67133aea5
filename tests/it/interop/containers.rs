//! An unmodified Codex in its own mount, process, user and network namespaces, with an export and nothing else.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::TcpListener;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use scripted_authority::Endpoint;
use serde_json::{Value, json};

use super::codex::{codex_0169, codex_0171};
use super::provider::Provider;
use crate::app_server::client::Client;
use crate::keeper::exports::{await_export, export, exported_token, folder};
use crate::keeper::process::Process;
use crate::manager::world::World;
use crate::support::{Guarded, Lines, Machine, Run, TestHome, children, tree};

/// Defines the tests of each promise: one for each version.
macro_rules! versions {
    ($($promise:ident),+ $(,)?) => {
        versions!(in codex_0_169, codex_0169, [$($promise),+]);
        versions!(in codex_0_171, codex_0171, [$($promise),+]);
    };
    (in $version:ident, $program:ident, [$($promise:ident),+]) => {
        mod $version {
            $(
                #[test]
                fn $promise() {
                    super::$promise(&super::$program());
                }
            )+
        }
    };
}

versions!(
    rotations_are_adopted_and_no_other_token_is_inside,
    a_token_in_its_last_five_minutes_is_replaced_without_a_request,
    a_refused_token_ends_in_a_clear_error_and_harms_nothing_at_home,
    commands_about_the_login_change_nothing_at_home,
);

const ROTATIONS: usize = 10;
/// The lifetime of a token, in seconds: Codex refreshes in the last five minutes, and the keeper half-way.
const LIFETIME: i64 = 660;
/// No program listens there, and the error that names it says why.
const CLOSED: &str = "http://127.0.0.1:9/only-the-keeper-outside-refreshes-this-login";

/// A container by bubblewrap: the system, Codex, a private home directory, and the export at `/run/codex-auth`.
struct Container {
    codex: PathBuf,
    export: PathBuf,
    home: TestHome,
    /// Holds the network namespace.
    network: Guarded,
    provider: Provider,
}

impl Container {
    fn new(codex: &Path, export: PathBuf) -> Self {
        let home = TestHome::new();
        fs::create_dir(home.file(".codex")).unwrap();
        symlink("/run/codex-auth/auth.json", home.file(".codex/auth.json")).unwrap();
        home.write(".codex/config.toml", "[features]\ndaemon_auto_start = false\n");
        let mut network = Command::new("unshare");
        network.args(["--net", "sh", "-euc", "ip link set lo up; echo up; read -r _"]);
        let mut network = Guarded(network.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
        assert_eq!(Lines::of(network.0.stdout.take().unwrap()).next().as_deref(), Some("up"));
        let provider = Provider::on(listener_in(network.0.id()));
        Self { codex: codex.to_owned(), export, home, network, provider }
    }

    /// A run of Codex in the container, with the model of its network.
    fn codex<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        let package = self.codex.parent().unwrap().parent().unwrap();
        let binds = [
            ["--ro-bind", "/usr", "/usr"],
            ["--symlink", "usr/bin", "/bin"],
            ["--symlink", "usr/lib", "/lib"],
            ["--symlink", "usr/lib64", "/lib64"],
            ["--ro-bind", package.to_str().unwrap(), "/opt/codex"],
            ["--ro-bind", self.export.to_str().unwrap(), "/run/codex-auth"],
            ["--bind", self.home.path().to_str().unwrap(), "/home/agent"],
        ]
        .concat()
        .join("\n");
        let network = format!("--net=/proc/{}/ns/net", self.network.0.id());
        let way = ["nsenter", &network, "bwrap", "--unshare-user", "--uid", "1000", "--gid", "1000"];
        let way = way.into_iter().chain(["--unshare-pid", "--unshare-ipc", "--die-with-parent"]);
        let way = way.chain(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
        let way = way.chain(binds.lines()).chain(["--chdir", "/home/agent"]);
        Run::of(Path::new("/opt/codex/bin/codex"), arguments)
            .env("HOME", "/home/agent")
            .env("CODEX_REFRESH_TOKEN_URL_OVERRIDE", CLOSED)
            .env("CODEX_REVOKE_TOKEN_URL_OVERRIDE", CLOSED)
            .through(way)
    }

    fn app_server(&self) -> Client {
        let settings = self.provider.settings();
        let words = settings.iter().map(String::as_str).chain(["app-server"]);
        Client::from_run(self.codex(words))
    }

    fn exec(&self) -> crate::support::Ended {
        let settings = self.provider.settings();
        let words = ["exec", "--skip-git-repo-check", "-s", "read-only"];
        self.codex(words.into_iter().chain(settings.iter().map(String::as_str)).chain(["ping"])).run()
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

/// Starts a conversation, and returns its id.
fn thread(client: &mut Client) -> Value {
    client.call("thread/start", json!({}))["thread"]["id"].take()
}

/// Runs a turn, and returns its status and error.
fn turn(client: &mut Client, thread: &Value) -> (String, String) {
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
fn holders(parent: u32, secrets: &[String]) -> Vec<String> {
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

fn read(process: u32, part: &str, mut to: impl std::io::Write) -> std::io::Result<()> {
    let path = format!("/proc/{process}/{part}");
    if part != "mem" {
        let mut bytes = Vec::new();
        File::open(path)?.read_to_end(&mut bytes)?;
        return to.write_all(&bytes);
    }
    let memory = File::open(path)?;
    for line in fs::read_to_string(format!("/proc/{process}/maps"))?.lines() {
        let mut words = line.split_whitespace();
        let (range, mode) = (words.next().unwrap(), words.next().unwrap());
        if !mode.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [mut at, end] = [start, end].map(|address| u64::from_str_radix(address, 16).unwrap());
        let mut buffer = vec![0; 1 << 20];
        while at < end {
            let length = buffer.len().min(usize::try_from(end - at).unwrap());
            // A mapping may have been removed since the list was read.
            let Ok(length @ 1..) = memory.read_at(&mut buffer[..length], at) else { break };
            to.write_all(&buffer[..length])?;
            at += length as u64;
        }
        to.write_all(b"\n")?;
    }
    Ok(())
}

/// What no container may hold: the refresh token, and what only the real id token has.
fn secrets(world: &World<'_>) -> Vec<String> {
    let mut secrets = unique_parts(&world.stored_token("id_token"));
    secrets.push(world.stored_token("refresh_token"));
    secrets
}

/// The id of a token, as text and as it is encoded in the token.
fn unique_parts(token: &str) -> Vec<String> {
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
fn assert_not_in_files(container: &Container, secrets: &[String]) {
    for folder in [container.home.path(), container.export.clone()] {
        for (path, _, bytes) in tree(&folder) {
            for secret in secrets {
                let holds = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!holds, "{} holds {secret}", path.display());
            }
        }
    }
}

fn rotations_are_adopted_and_no_other_token_is_inside(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::with_policy(&mut machine, |policy| policy.access_lifetime = LIFETIME);
    let _keeper = Process::of(&world);
    let folder = folder(&world, "export");
    export(&world, &folder, &[]);
    let container = Container::new(codex, folder);
    let mut client = container.app_server();
    let conversation = thread(&mut client);
    let mut before = 0;
    for rotation in 0..=ROTATIONS {
        if rotation > 0 {
            world.codex(["refresh"]).run().expect(0);
        }
        await_export(&world, &container.export);
        let token = world.stored_token("access_token");
        // The model refuses every older token.
        container.provider.accept_only(&[&token]);
        let (status, error) = turn(&mut client, &conversation);
        assert_eq!(status, "completed", "rotation {rotation}: {error}");
        let bearers = container.provider.bearers();
        assert!(bearers.len() > before && bearers.last() == Some(&token), "rotation {rotation}");
        before = bearers.len();
        let secrets = secrets(&world);
        assert_eq!(holders(client.pid(), &secrets), Vec::<String>::new(), "rotation {rotation}");
        assert_not_in_files(&container, &secrets);
    }
    // The search finds the token that is inside.
    let inside = unique_parts(&world.stored_token("access_token"));
    assert_ne!(holders(client.pid(), &inside[1..]), Vec::<String>::new());
    assert_eq!(world.requests(), ROTATIONS as u64, "only `codex refresh` has sent requests");
    assert_eq!(world.authority.counters().of(Endpoint::Revoke), 0);
}

/// The clock of Codex cannot be moved, so its token is moved into the last five minutes instead.
fn a_token_in_its_last_five_minutes_is_replaced_without_a_request(codex: &Path) {
    let mut machine = Machine::with_file();
    let mut world = World::empty(&mut machine);
    world.authority.adjust(|policy| policy.access_lifetime = LIFETIME);
    let account = world.grant.account.clone();
    world.log_in_as(account, 303);
    let folder = folder(&world, "export");
    export(&world, &folder, &[]);
    let old = world.stored_token("access_token");
    // Half of its lifetime is over, so the keeper replaces it at once; until then there is none.
    let container = Container::new(codex, folder);
    let hold = world.authority.hold(Endpoint::Refresh, scripted_authority::Moment::Before);
    let _keeper = Process::of(&world);
    hold.arrived(crate::manager::world::TEST_TIMEOUT).unwrap();
    crate::support::eventually("the old token", || exported_token(&container.export).as_ref() == Some(&old));
    let mut client = container.app_server();
    assert_eq!(client.token(), Some(old.clone()));
    let conversation = thread(&mut client);
    assert_eq!(turn(&mut client, &conversation).0, "completed");
    hold.release();
    crate::support::eventually("the refresh", || world.stored_token("access_token") != old);
    await_export(&world, &container.export);
    // Until the old token is in its last five minutes, Codex may use it.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(turn(&mut client, &conversation).0, "completed");
    assert_eq!(container.provider.bearers().last(), Some(&world.stored_token("access_token")));
    assert_eq!(client.token(), Some(world.stored_token("access_token")));
    assert_eq!(world.requests(), 1);
}

fn a_refused_token_ends_in_a_clear_error_and_harms_nothing_at_home(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let keeper = Process::of(&world);
    let folder = folder(&world, "export");
    export(&world, &folder, &[]);
    let container = Container::new(codex, folder);
    let before = world.machine.stored_text();
    container.provider.accept_only(&[]);
    let ended = container.exec();
    assert_ne!(ended.code, Some(0), "{ended}");
    assert!(ended.err.contains(CLOSED), "{ended}");
    let mut client = container.app_server();
    let conversation = thread(&mut client);
    let (status, error) = turn(&mut client, &conversation);
    assert!(status == "failed" && error.contains(CLOSED), "{status}: {error}");
    assert_eq!((world.machine.stored_text(), world.authority.journal().len()), (before, 0));
    // The next rotation heals it, without a restart.
    world.codex(["refresh"]).run().expect(0);
    await_export(&world, &container.export);
    container.provider.accept_only(&[&world.stored_token("access_token")]);
    let (status, error) = turn(&mut client, &conversation);
    assert_eq!(status, "completed", "{error}");
    // Without a keeper the token works until it ends.
    keeper.signal("-KILL");
    assert_eq!(keeper.wait().0, None);
    assert_eq!(turn(&mut client, &conversation).0, "completed");
    assert_eq!(container.exec().expect(0).out, "pong\n");
}

fn commands_about_the_login_change_nothing_at_home(codex: &Path) {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let _keeper = Process::of(&world);
    let folder = folder(&world, "export");
    export(&world, &folder, &[]);
    let container = Container::new(codex, folder);
    let before = world.machine.stored_text();
    let status = container.codex(["login", "status"]).run().expect(0);
    assert_eq!(status.err, "Logged in using ChatGPT\n");
    for (words, input) in [(&["logout"][..], ""), (&["login", "--with-api-key"], "sk-1")] {
        let ended = container.codex(words.iter().copied()).input(input).run().expect(1);
        assert!(ended.err.contains("Read-only file system"), "{ended}");
    }
    assert_eq!(world.machine.stored_text(), before);
    assert_eq!(world.authority.journal().len(), 0, "{:#?}", world.authority.journal());
    assert_eq!(exported_token(&container.export), Some(world.stored_token("access_token")));
    assert_eq!(container.exec().expect(0).out, "pong\n");
}

#[test]
fn the_recipe_for_bubblewrap_shows_the_export_inside() {
    let pages =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/CONTAINERS.md")).unwrap();
    let (_, recipe) = pages.split_once("bubblewrap:\n\n```sh\n").unwrap();
    let (recipe, _) = recipe.split_once("```").unwrap();
    let home = TestHome::new();
    fs::create_dir(home.file("codex-export")).unwrap();
    home.write("codex-export/auth.json", "{}");
    let run = Run::of(Path::new("/bin/sh"), ["-euc", recipe]).env("HOME", home.path());
    let ended = run.run().expect(0);
    assert_eq!((&*ended.out, &*ended.err), ("auth.json\n", ""));
}
