//! How `codex token` finds a keeper, and how it does without one.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use scripted_authority::{Account, Authority, Endpoint, Outcome};

use super::process::{AT_WORK, Process, STANDING_BY};
use crate::manager::world::World;
use crate::support::{Guarded, Home, Machine, over_both_stores};

over_both_stores!(a_token_from_the_keeper_touches_neither_the_file_nor_the_keychain);

fn a_token_from_the_keeper_touches_neither_the_file_nor_the_keychain(machine: &mut Machine) {
    let world = World::fresh(machine);
    let traced = |keeper: &str| {
        let trace = world.machine.home.beside(keeper).join("trace");
        let run = world.codex(["token"]);
        let run = run.through(["strace", "-f", "-e", "trace=connect,/^open", "-o", trace.to_str().unwrap()]);
        let ended = run.run().expect(0);
        assert_eq!((ended.out.trim_end(), ended.err.as_str()), (world.kept("access_token").as_str(), ""));
        let trace = fs::read_to_string(trace).unwrap();
        // The bus is where the keychain is.
        let bus = world.machine.session.as_ref().map(|_| "/bus\"");
        [trace.contains("auth.json\""), bus.is_some_and(|bus| trace.contains(bus))]
    };
    let looks_itself = if world.machine.session.is_some() { [false, true] } else { [true, false] };
    assert_eq!(traced("before"), looks_itself);
    let keeper = Process::of(&world);
    assert_eq!(traced("meanwhile"), [false, false]);
    keeper.signal("-KILL");
    assert_eq!(keeper.ended().0, None);
    assert_eq!(traced("after"), looks_itself);
}

#[test]
fn a_keeper_that_does_not_answer_is_done_without_in_silence() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let keeper = Process::of(&world);
    keeper.signal("-STOP");
    let begun = Instant::now();
    let ended = world.codex(["token"]).run().expect(0);
    let took = begun.elapsed();
    println!("without an answer after {took:.1?}");
    assert_eq!((ended.out.trim_end(), ended.err.as_str()), (world.kept("access_token").as_str(), ""));
    // It gives the keeper a second; the rest is for a busy machine.
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(20), "{took:?}");
    keeper.signal("-KILL");
}

#[test]
fn the_socket_alone_is_enough_for_a_process_without_a_home() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let keeper = Process::of(&world);
    let socket = world.machine.home.file("codex-auth/keeper/sock");
    let given = |arguments: &[&str]| {
        let run = world.codex(arguments.iter().copied()).without("CODEX_HOME");
        run.env("HOME", "/nowhere").env("CODEX_AUTH_SOCKET", &socket).run()
    };
    assert_eq!(given(&["token"]).expect(0).out.trim_end(), world.kept("access_token"));
    let told = given(&["token", "--json"]).expect(0).json();
    assert_eq!(told["account"]["id"], "acct-1");
    assert_eq!(told["place"], world.machine.home.path().to_str().unwrap());
    // One that does not last long enough is refreshed once, and then it is the best that there is.
    let before = world.kept("access_token");
    let ended = given(&["token", "--min-ttl", "2h"]).expect(0);
    assert_ne!(world.kept("access_token"), before);
    assert_eq!(ended.out.trim_end(), world.kept("access_token"));
    assert!(ended.err.starts_with("warning: the token expires"), "{ended}");
    assert_eq!((world.requests(), world.ended(Outcome::Granted)), (1, 1));
    assert_eq!(given(&["sync", "status", "--json"]).code, Some(0));

    keeper.signal("-TERM");
    assert_eq!(keeper.ended().0, Some(0));
    let ended = given(&["token"]).refused(5);
    assert!(ended.err.contains("hint: start the keeper there, codex sync run"), "{ended}");
}

#[test]
fn where_the_path_of_a_home_is_too_long_for_a_socket_it_is_in_the_folder_of_the_user() {
    let home = Home::new();
    let runtime = home.beside("run");
    let long = home.path().join("a".repeat(60)).join("b".repeat(60));
    fs::create_dir_all(&long).unwrap();
    let authority = Authority::start().unwrap();
    fs::write(long.join("auth.json"), authority.grant(Account::numbered(1)).auth_json()).unwrap();
    let codex = |arguments: &[&'static str]| {
        home.codex(arguments.iter().copied()).env("CODEX_HOME", &long).env("XDG_RUNTIME_DIR", &runtime)
    };
    let keeper = Process::start(codex(&["sync", "run"]));
    keeper.until(AT_WORK);
    let status = codex(&["sync", "status", "--json"]).run().expect(0).json();
    let socket = status["socket"].as_str().unwrap();
    assert!(socket.starts_with(runtime.join("codex-auth").to_str().unwrap()), "{socket}");
    let ended = codex(&["token"]).env("CODEX_AUTH_SOCKET", socket).run().expect(0);
    assert_eq!(ended.out, codex(&["token"]).run().expect(0).out);
    drop(keeper);

    let keeper = Process::start(codex(&["sync", "run"]).without("XDG_RUNTIME_DIR"));
    let log = keeper.until(AT_WORK);
    assert!(log.iter().any(|line| line.contains("no socket: the path of the login is too long")), "{log:#?}");
    assert_eq!(authority.counters().of(Endpoint::Refresh), 0);
}

/// As a container would have it: the folder of the socket and nothing else of the home.
#[test]
fn a_folder_that_is_mounted_elsewhere_keeps_its_keeper_through_a_failover() {
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
    assert_eq!(lines.next().unwrap().unwrap(), world.kept("access_token"));
}
