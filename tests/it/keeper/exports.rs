//! Exports: folders with a document and a socket that hand in the access token and nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use scripted_authority::{Account, Endpoint, Moment};
use serde_json::Value;

use super::process::{AT_WORK, Process, STANDING_BY};
use super::socket::{get, response_to, status};
use crate::manager::world::{TEST_TIMEOUT, World};
use crate::support::{Ended, Guarded, Lines, Machine, TestHome, eventually, names};

/// The path of a folder beside the home, which the program creates.
pub fn folder(world: &World<'_>, name: &str) -> PathBuf {
    world.machine.home.path().parent().unwrap().join(name)
}

/// Exports the login of `world` into `folder` with these options.
#[track_caller]
pub fn export(world: &World<'_>, folder: &Path, options: &[&'static str]) -> Ended {
    let words = ["sync", "export", folder.to_str().unwrap()];
    world.codex(words.iter().chain(options).copied()).run().expect(0)
}

/// The access token in an exported document; `None` if there is none that a keeper has written.
pub fn exported_token(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join("auth.json")).ok()?;
    let document: Value = serde_json::from_str(&text).unwrap();
    Some(document["tokens"]["access_token"].as_str()?.to_owned())
}

/// Waits until an export holds the stored access token.
#[track_caller]
pub fn await_export(world: &World<'_>, folder: &Path) {
    let stored = world.stored_token("access_token");
    eventually("the export to hold the stored token", || exported_token(folder).as_ref() == Some(&stored));
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The bytes of all files of a folder.
fn content(folder: &Path) -> Vec<u8> {
    let files = names(folder).into_iter().map(|name| folder.join(name)).filter(|path| path.is_file());
    files.flat_map(|file| fs::read(file).unwrap()).collect()
}

#[test]
fn an_export_follows_each_refresh_and_holds_no_other_token() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let _keeper = Process::of(&world);
    let folders = ["one", "two"].map(|name| folder(&world, name));
    for folder in &folders {
        let ended = export(&world, folder, &[]);
        assert_eq!(ended.err, format!("exported to {}: mount this folder read-only\n", folder.display()));
        assert_eq!((mode(folder), mode(&folder.join("auth.json"))), (0o700, 0o600));
    }
    for round in 0..5 {
        if round > 0 {
            world.codex(["refresh"]).run().expect(0);
        }
        for folder in &folders {
            await_export(&world, folder);
            assert_eq!(names(folder), ["auth.json", "sock"]);
            let answer = response_to(&folder.join("sock"), &get("/v1/token"));
            assert!(answer.contains(&world.stored_token("access_token")), "{answer}");
            let bytes = content(folder);
            for name in ["refresh_token", "id_token"] {
                let secret = world.stored_token(name);
                let there = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!there && !answer.contains(&secret), "{name}");
            }
        }
    }
    let listed = world.codex(["sync", "export", "list", "--json"]).run().expect(0).json();
    let listed = listed["exports"].as_array().unwrap();
    assert_eq!(listed.len(), 2);
    for (export, folder) in listed.iter().zip(&folders) {
        assert_eq!((&export["folder"], &export["served"]), (&folder.to_str().unwrap().into(), &true.into()));
        assert_eq!((&export["account_id"], &export["follow"]), (&"acct-1".into(), &false.into()));
    }
    let shown = world.codex(["sync", "export", "list"]).run().expect(0);
    assert!(shown.out.contains("account  acct-1") && shown.out.contains("served   yes"), "{shown}");
}

#[test]
fn a_keeper_that_starts_later_or_takes_over_serves_the_exports() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let folder = folder(&world, "export");
    let ended = export(&world, &folder, &[]);
    assert!(
        ended
            .err
            .contains("warning: no keeper runs, so no new token is handed in; start one: codex sync install"),
        "{ended}"
    );
    assert_eq!(names(&folder), Vec::<String>::new());
    let leader = Process::of(&world);
    await_export(&world, &folder);
    let follower = Process::start(world.codex(["sync", "run"]));
    follower.until(STANDING_BY);
    leader.signal("-KILL");
    let killed = Instant::now();
    assert_eq!(leader.wait().0, None);
    // The document stays, and the command waits for the next keeper.
    await_export(&world, &folder);
    let token = world.codex(["token"]).env("CODEX_AUTH_SOCKET", folder.join("sock")).run().expect(0);
    println!("a token from the socket {:.0?} after the keeper was killed", killed.elapsed());
    assert_eq!(token.out.trim_end(), world.stored_token("access_token"));
    follower.until(AT_WORK);
    world.codex(["refresh"]).run().expect(0);
    await_export(&world, &folder);
    follower.signal("-TERM");
    assert_eq!(follower.wait().0, Some(0));
    assert_eq!(names(&folder), ["auth.json"], "the token works until it expires");
}

#[test]
fn keepers_export_what_their_command_line_names() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let [one, two] = ["one", "two"].map(|name| folder(&world, name));
    export(&world, &one, &["--follow"]);
    let words = ["sync", "run", "--export", one.to_str().unwrap(), "--export", two.to_str().unwrap()];
    let keeper = Process::start(world.codex(words));
    keeper.until(AT_WORK);
    await_export(&world, &one);
    await_export(&world, &two);
    let listed = world.codex(["sync", "export", "list", "--json"]).run().expect(0).json();
    assert_eq!(listed["exports"][0]["follow"], true, "its options stay");
    assert_eq!(listed["exports"].as_array().unwrap().len(), 2);
}

#[test]
fn a_logout_removes_the_documents_with_and_without_a_keeper() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let folder = folder(&world, "export");
    let keeper = Process::of(&world);
    export(&world, &folder, &[]);
    world.codex(["logout"]).run().expect(0);
    eventually("the keeper to remove the document", || exported_token(&folder).is_none());
    assert_eq!(status(&response_to(&folder.join("sock"), &get("/v1/token"))), "409");
    world.log_in(&world.authority.grant(Account::numbered(1)));
    await_export(&world, &folder);
    keeper.signal("-KILL");
    assert_eq!(keeper.wait().0, None);
    assert!(exported_token(&folder).is_some());
    world.codex(["logout"]).run().expect(0);
    assert_eq!(exported_token(&folder), None);
}

#[test]
fn another_account_is_exported_only_where_that_was_asked_for() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let [bound, following] = ["bound", "following"].map(|name| folder(&world, name));
    let _keeper = Process::of(&world);
    export(&world, &bound, &[]);
    export(&world, &following, &["--follow"]);
    let first = world.stored_token("access_token");
    world.log_in(&world.authority.grant(Account::numbered(2)));
    await_export(&world, &following);
    eventually("the document to be removed", || exported_token(&bound).is_none());
    let other = world.stored_token("access_token");
    assert_ne!(first, other);
    for path in ["/v1/token", "/v1/token?wait=yes", "/v1/token?wait=yes&min_ttl=86400", "/v1/status"] {
        let answer = response_to(&bound.join("sock"), &get(path));
        assert!(answer.contains("another account is logged in"), "{answer}");
        assert!(!answer.contains(&other) && !answer.contains("person2"), "{answer}");
        assert!(!response_to(&following.join("sock"), &get(path)).contains("another account"));
    }
    assert_eq!(world.requests(), 0, "no request for a lifetime that the authority does not issue");
    // An API key does not expire, and is handed in nowhere.
    world.machine.store_text(r#"{"auth_mode": "apikey", "OPENAI_API_KEY": "sk-marked"}"#);
    eventually("the document to be removed", || exported_token(&following).is_none());
    for folder in [&bound, &following] {
        let answer = response_to(&folder.join("sock"), &get("/v1/token"));
        assert!(status(&answer) == "503" && !answer.contains("marked"), "{answer}");
    }
    world.log_in(&world.authority.grant(Account::numbered(1)));
    await_export(&world, &bound);
    await_export(&world, &following);
}

#[test]
fn a_removed_export_gives_no_more_answers() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let [one, two] = ["one", "two"].map(|name| folder(&world, name));
    let keeper = Process::of(&world);
    export(&world, &one, &[]);
    export(&world, &two, &[]);
    let mut open = UnixStream::connect(one.join("sock")).unwrap();
    let remove = |folder: &Path| world.codex(["sync", "export", "remove", folder.to_str().unwrap()]).run();
    let ended = remove(&one).expect(0);
    assert!(ended.err.contains("a token that was handed in works until it expires"), "{ended}");
    assert_eq!(exported_token(&one), None);
    eventually("the socket to be closed", || names(&one).is_empty());
    // The keeper has closed the connection, or does so without an answer.
    let mut heard = String::new();
    let _ = std::io::Write::write_all(&mut open, &get("/v1/token"));
    let _ = std::io::Read::read_to_string(&mut open, &mut heard);
    assert_eq!(heard, "");
    world.codex(["refresh"]).run().expect(0);
    await_export(&world, &two);
    assert_eq!(names(&one), Vec::<String>::new());
    let again = remove(&one).refused(1);
    assert!(again.err.contains("is not exported"), "{again}");
    keeper.signal("-KILL");
    assert_eq!(keeper.wait().0, None);
    remove(&two).expect(0);
    assert_eq!(exported_token(&two), None);
}

#[test]
fn what_cannot_be_exported_is_refused_with_words() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let home = world.machine.home.path();
    let refused = |folder: &Path| {
        let ended = world.codex(["sync", "export", folder.to_str().unwrap()]).run().refused(1);
        assert!(!world.machine.home.file("codex-auth/exports.json").exists());
        ended.err
    };
    let keeper = Process::of(&world);
    let message = refused(&home);
    assert!(message.contains("contains the home of the login"), "{message}");
    for inside in [home.parent().unwrap(), &home.join("codex-auth"), &home.join("codex-auth/keeper")] {
        assert!(refused(inside).contains("contains the home of the login"), "{}", inside.display());
    }
    drop(keeper);
    // The home of another login.
    let other = TestHome::new();
    other.write("auth.json", world.grant.auth_json());
    assert!(refused(&other.path()).contains("is not empty"));
    assert_eq!(other.read("auth.json"), world.grant.auth_json());
    let long = folder(&world, &"x".repeat(100));
    assert!(refused(&long).contains("too long for a socket"));
    world.machine.store_text(r#"{"auth_mode": "apikey", "OPENAI_API_KEY": "sk-1"}"#);
    assert!(refused(&folder(&world, "new")).contains("only the login of a ChatGPT account"));
    world.codex(["logout"]).run().expect(0);
    assert!(refused(&folder(&world, "new")).contains("not logged in"));
}

/// A hundred processes that ask the socket at the same time, and print their tokens.
const CALLERS: &str = r#"
import json, os, socket, sys
held, release = os.pipe()
for _ in range(100):
    if os.fork() == 0:
        os.close(release)
        os.read(held, 1)
        caller = socket.socket(socket.AF_UNIX)
        caller.connect(sys.argv[1])
        caller.sendall(b"GET /v1/token?wait=yes HTTP/1.0\r\n\r\n")
        answer = b""
        while part := caller.recv(65536): answer += part
        os.write(1, json.loads(answer.split(b"\r\n\r\n")[1])["token"].encode() + b"\n")
        os._exit(0)
print("ready", flush=True)
sys.stdin.readline()
os.close(release)
while True:
    try: os.wait()
    except ChildProcessError: break
"#;

#[test]
fn a_hundred_callers_at_once_cost_one_refresh() {
    let mut machine = Machine::with_file();
    let world = World::stale(&mut machine);
    let folder = folder(&world, "export");
    export(&world, &folder, &[]);
    let hold = world.authority.hold(Endpoint::Refresh, Moment::After);
    let _keeper = Process::of(&world);
    hold.arrived(TEST_TIMEOUT).unwrap();
    eventually("the socket", || folder.join("sock").exists());
    let mut callers = Command::new("python3");
    callers.args(["-c", CALLERS]).arg(folder.join("sock")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut callers = Guarded(callers.spawn().unwrap());
    let lines = Lines::of(callers.0.stdout.take().unwrap());
    assert_eq!(lines.next().as_deref(), Some("ready"));
    drop(callers.0.stdin.take());
    hold.release();
    let tokens = lines.rest();
    let token = world.stored_token("access_token");
    assert!(tokens.len() == 100 && tokens.iter().all(|line| *line == token), "{tokens:#?}");
    assert_eq!(world.requests(), 1);
}

/// The median time from the end of `codex refresh` to the new document.
#[test]
fn a_refresh_reaches_the_export_within_a_moment() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let _keeper = Process::of(&world);
    let folder = folder(&world, "export");
    export(&world, &folder, &[]);
    let mut durations: Vec<_> = (0..21)
        .map(|_| {
            world.codex(["refresh"]).run().expect(0);
            let started = Instant::now();
            await_export(&world, &folder);
            started.elapsed()
        })
        .collect();
    durations.sort();
    println!(
        "after a refresh the export is new in {:.1?} (median), {:.1?} at most",
        durations[10], durations[20]
    );
    assert!(durations[10] < Duration::from_secs(1), "{durations:?}");
}
