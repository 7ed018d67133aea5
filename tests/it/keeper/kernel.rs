//! System calls of a keeper's client, and clients in other mounts and of other users.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::process::{AT_WORK, Process, STANDING_BY};
use super::socket::{get, response_to, socket, status};
use crate::manager::world::World;
use crate::support::{Guarded, HelperProcess, Machine, here, over_both_stores, report, role};

over_both_stores!(a_token_from_the_keeper_touches_neither_the_file_nor_the_keychain);

fn a_token_from_the_keeper_touches_neither_the_file_nor_the_keychain(machine: &mut Machine) {
    let world = World::fresh(machine);
    let traced = |keeper: &str| {
        let trace = world.machine.home.beside(keeper).join("trace");
        let run = world.codex(["token"]);
        let run = run.through(["strace", "-f", "-e", "trace=connect,/^open", "-o", trace.to_str().unwrap()]);
        let ended = run.run().expect(0);
        assert_eq!(
            (ended.out.trim_end(), ended.err.as_str()),
            (world.stored_token("access_token").as_str(), "")
        );
        let trace = fs::read_to_string(trace).unwrap();
        // The keychain is reached through the bus.
        let bus = world.machine.session.as_ref().map(|_| "/bus\"");
        [trace.contains("auth.json\""), bus.is_some_and(|bus| trace.contains(bus))]
    };
    let reads_store = if world.machine.session.is_some() { [false, true] } else { [true, false] };
    assert_eq!(traced("before"), reads_store);
    let keeper = Process::of(&world);
    assert_eq!(traced("meanwhile"), [false, false]);
    keeper.signal("-KILL");
    assert_eq!(keeper.wait().0, None);
    assert_eq!(traced("after"), reads_store);
}

/// As in a container: only the folder of the socket is mounted.
#[test]
fn a_mounted_socket_folder_reaches_the_keeper_after_a_failover() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let leader = Process::of(&world);
    let follower = Process::start(world.codex(["sync", "run"]));
    follower.until(STANDING_BY);

    let inside = world.machine.home.beside("inside");
    let script = "mount --bind \"$from\" \"$to\"; echo mounted; read -r _; exec \"$0\" token";
    let ask = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-euc", script, env!("CARGO_BIN_EXE_codex")])
        .env("from", world.machine.home.file("codex-auth/keeper"))
        .env("to", &inside)
        .env("CODEX_AUTH_SOCKET", inside.join("sock"))
        .env("CODEX_HOME", "/nowhere")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ask = Guarded(ask);
    let mut lines = BufReader::new(ask.0.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "mounted");
    leader.signal("-KILL");
    follower.until(AT_WORK);
    ask.0.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), world.stored_token("access_token"));
}

/// Folder and socket are accessible to all users, so only the keeper can refuse.
#[test]
fn client_and_keeper_refuse_a_peer_of_another_user() {
    if let Some(path) = role() {
        let answer = response_to(Path::new(&path), &get("/v1/token"));
        return report(&format!("heard {} bytes.", answer.len()));
    }
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let keeper = Process::of(&world);
    let path = socket(&world);
    for folder in path.ancestors().take_while(|folder| *folder != Path::new("/tmp")) {
        let mode = if *folder == path { 0o666 } else { 0o755 };
        fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
    }
    let as_nobody = "exec 9<\"$0\"; cd /; \
        exec setpriv --reuid=65534 --regid=65534 --clear-groups /proc/self/fd/9 \"$@\"";
    let way = ["sh", "-c", as_nobody];
    let mut other_user =
        HelperProcess::start_through(&way, here!(), path.to_str().unwrap(), &world.machine.home);
    assert_eq!(other_user.next_word(), "heard 0 bytes.");
    let log = keeper.until("rejected a connection of another user");
    assert!(log.last().unwrap().contains("user 65534 is at the other end"), "{log:#?}");

    let run = world.codex(["token"]).env("CODEX_AUTH_SOCKET", &path).by_user(65534);
    let ended = run.run().refused(5);
    assert!(ended.err.contains("it may not serve this user"), "{ended}");
    assert_eq!(status(&response_to(&path, &get("/v1/token"))), "200", "its own user still gets a response");
}
