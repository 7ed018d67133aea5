//! A hostile container with an export: it gets its own token, and harms no other process.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use scripted_authority::Endpoint;

use super::exports::{await_export, export, exported_token, folder};
use super::process::Process;
use super::socket::{get, response_to, socket, status};
use crate::manager::world::World;
use crate::support::{Guarded, Lines, Machine, names};

/// Tries to change the export, then floods the socket with all kinds of requests, and prints every access token that it
/// gets for the first time.
const HOSTILE: &str = r#"
import json, os, random, socket, sys
here = "/run/codex-auth/"
def tries(what, do):
    try: do()
    except OSError: return
    print("could " + what, flush=True)
tries("create", lambda: open(here + "new", "w"))
tries("write", lambda: open(here + "auth.json", "w"))
tries("remove", lambda: os.remove(here + "auth.json"))
tries("rename", lambda: os.rename(here + "sock", here + "old"))
tries("link", lambda: os.symlink("/etc/passwd", here + "link"))
tries("bind", lambda: socket.socket(socket.AF_UNIX).bind(here + "other"))
tries("change the mode", lambda: os.chmod(here, 0o777))
requests = [b"GET /v1/token?wait=yes&min_ttl=4000000000", b"GET /v1/token?wait=yes&min_ttl=3599", b"GET /v1/token",
    b"GET /v1/status", b"GET /v1/token?account=acct-2", b"GET /v1/refresh_token", b"POST /v1/logout", b"GET ../../auth.json",
    b"GET /v1/token?" + b"x" * 100000, b"\0" * 5000]
print("begun", flush=True)
for _ in range(8):
    if os.fork() == 0:
        seen = set()
        while True:
            try:
                peer = socket.socket(socket.AF_UNIX)
                peer.connect(here + "sock")
                peer.sendall(random.choice(requests) + b" HTTP/1.0\r\n\r\n")
                answer = b""
                while part := peer.recv(65536): answer += part
                body = json.loads(answer.split(b"\r\n\r\n")[1])
                if "token" in body and body["token"] not in seen:
                    seen.add(body["token"])
                    print(body["token"], flush=True)
            except (OSError, ValueError, IndexError, TypeError): pass
sys.stdin.read()
"#;

#[test]
fn a_hostile_container_gets_nothing_but_its_own_token_and_keeps_nobody_waiting() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let _keeper = Process::of(&world);
    let folder = folder(&world, "export");
    export(&world, &folder, &[]);
    let mut bwrap = container();
    bwrap.arg("--ro-bind").arg(&folder).args(["/run/codex-auth", "python3", "-c", HOSTILE]);
    let mut hostile = Guarded(bwrap.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let lines = Lines::of(hostile.0.stdout.take().unwrap());
    assert_eq!(lines.next().as_deref(), Some("begun"), "it could change nothing");
    let first = world.stored_token("access_token");
    assert_eq!(lines.next(), Some(first.clone()));
    let mut durations = Vec::new();
    for _ in 0..101 {
        let started = Instant::now();
        assert_eq!(status(&response_to(&socket(&world), &get("/v1/token"))), "200");
        durations.push(started.elapsed());
    }
    durations.sort();
    println!(
        "a token for the host during the flood: {:.1?} (median), {:.1?} at most",
        durations[50], durations[100]
    );
    // An idle machine takes a few milliseconds.
    assert!(durations[50] < Duration::from_secs(1), "{durations:?}");
    assert_eq!(world.requests(), 0, "it cannot have the token refreshed early");
    world.codex(["refresh"]).run().expect(0);
    await_export(&world, &folder);
    let second = world.stored_token("access_token");
    lines.until(|line| line == second);
    drop(hostile);
    let tokens = lines.rest();
    assert!(tokens.iter().all(|token| [&first, &second].contains(&token)), "{tokens:?}");
    assert_eq!(names(&folder), ["auth.json", "sock"]);
    assert_eq!(exported_token(&folder), Some(second));
    assert_eq!((world.requests(), world.authority.counters().of(Endpoint::Revoke)), (1, 0));
}

/// Swaps links, folders, pipes and sockets for the files of the export, until its input ends.
const SPOILER: &str = r#"
import os, random, select, shutil, socket, sys
here, victim = "/run/codex-auth/", sys.argv[1]
held = []
def listen(path):
    held.append(socket.socket(socket.AF_UNIX))
    held[-1].bind(path)
    held[-1].listen()
ways = [lambda path: os.symlink(victim, path), lambda path: os.symlink(".", path), os.mkdir, os.mkfifo, listen,
    lambda path: open(path, "w").write('{"tokens": {}}'), lambda path: os.link(here + "hard", path)]
open(here + "hard", "w").write("hard")
rounds = 0
while not select.select([sys.stdin], [], [], 0.001)[0]:
    path = here + random.choice(["auth.json", "sock", "sock.new"])
    try: shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.remove(path)
    except OSError: pass
    try: random.choice(ways)(path)
    except OSError: pass
    rounds += 1
    if rounds == 100: print("begun", flush=True)
for name in ["auth.json", "sock", "sock.new"]:
    path = here + name
    try: shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.remove(path)
    except OSError: pass
"#;

#[test]
fn a_container_that_may_write_into_its_export_spoils_nothing_else() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let keeper = Process::of(&world);
    let [spoiled, other] = ["spoiled", "other"].map(|name| folder(&world, name));
    export(&world, &spoiled, &[]);
    export(&world, &other, &[]);
    let victim = world.machine.home.document();
    let mut bwrap = container();
    bwrap.arg("--bind").arg(&spoiled).args(["/run/codex-auth", "python3", "-c", SPOILER]).arg(&victim);
    let mut hostile = Guarded(bwrap.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let lines = Lines::of(hostile.0.stdout.take().unwrap());
    assert_eq!(lines.next().as_deref(), Some("begun"));
    for _ in 0..10 {
        world.codex(["refresh"]).run().expect(0);
        await_export(&world, &other);
        for socket in [socket(&world), other.join("sock")] {
            let answer = response_to(&socket, &get("/v1/token"));
            assert!(answer.contains(&world.stored_token("access_token")), "{answer}");
        }
    }
    assert_eq!(world.stored_token("refresh_token"), world.live_refresh_token().unwrap());
    world.codex(["sync", "export", "list"]).run().expect(0);
    drop(hostile.0.stdin.take());
    assert!(hostile.0.wait().unwrap().success());
    await_export(&world, &spoiled);
    keeper.signal("-TERM");
    println!("the keeper has logged {} lines", keeper.wait().1.len());
    assert_eq!(world.requests(), 10);
}

/// bubblewrap with the system's programs, as user 1000 without a network.
fn container() -> Command {
    let mut bwrap = Command::new("bwrap");
    bwrap.args(["--unshare-all", "--uid", "1000", "--gid", "1000", "--die-with-parent"]);
    bwrap.args(["--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib"]);
    bwrap.args(["--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
    bwrap
}
