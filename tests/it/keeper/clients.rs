//! `codex token` with and without a keeper.

use std::fs;
use std::time::{Duration, Instant};

use scripted_authority::{Account, Authority, Endpoint, Outcome};
use serde_json::Value;

use super::process::{AT_WORK, Process};
use crate::manager::world::World;
use crate::support::{Machine, TestHome};

#[test]
fn an_unresponsive_keeper_is_skipped_without_a_message() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let keeper = Process::of(&world);
    keeper.signal("-STOP");
    let started = Instant::now();
    let ended = world.codex(["token"]).run().expect(0);
    let took = started.elapsed();
    println!("no response after {took:.1?}");
    assert_eq!((ended.out.trim_end(), ended.err.as_str()), (world.stored_token("access_token").as_str(), ""));
    // The client waits one second; the rest allows for a slow machine.
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(20), "{took:?}");
    keeper.signal("-KILL");
}

#[test]
fn a_stopped_keeper_that_the_user_named_is_an_error_within_seconds() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let keeper = Process::of(&world);
    let socket = world.machine.home.file("codex-auth/keeper/sock");
    keeper.signal("-STOP");
    let started = Instant::now();
    let ended = world.codex(["token"]).env("CODEX_AUTH_SOCKET", &socket).run().refused(5);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(ended.err.contains(socket.to_str().unwrap()), "{ended}");
    keeper.signal("-KILL");
}

#[test]
fn the_socket_alone_is_enough_for_a_process_without_a_home() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let keeper = Process::of(&world);
    let socket = world.machine.home.file("codex-auth/keeper/sock");
    let run = |arguments: &[&str]| {
        let run = world.codex(arguments.iter().copied()).without("CODEX_HOME");
        run.env("HOME", "/nowhere").env("CODEX_AUTH_SOCKET", &socket).run()
    };
    assert_eq!(run(&["token"]).expect(0).out.trim_end(), world.stored_token("access_token"));
    let json = run(&["token", "--json"]).expect(0).json();
    assert_eq!(json["account"]["id"], "acct-1");
    assert_eq!(json["place"], world.machine.home.path().to_str().unwrap());
    // A token that does not last long enough is refreshed once and then used with a warning.
    let before = world.stored_token("access_token");
    let ended = run(&["token", "--min-ttl", "2h"]).expect(0);
    assert_ne!(world.stored_token("access_token"), before);
    assert_eq!(ended.out.trim_end(), world.stored_token("access_token"));
    assert!(ended.err.starts_with("warning: the token expires"), "{ended}");
    assert_eq!((world.requests(), world.requests_with(Outcome::Granted)), (1, 1));
    assert_eq!(run(&["sync", "status", "--json"]).code, Some(0));
    // The status is that of the login behind the socket.
    let status = run(&["status", "--json"]).expect(0).json();
    assert_eq!((&status["account"]["id"], &status["usable"]), (&"acct-1".into(), &true.into()), "{status:#}");
    assert_eq!((&status["location"], &status["store"]), (&socket.to_str().unwrap().into(), &Value::Null));
    let status = run(&["status"]).expect(0);
    assert!(
        status.out.contains("  usable     yes\n") && status.out.contains("(CODEX_AUTH_SOCKET)"),
        "{status}"
    );
    fs::remove_file(world.machine.home.document()).unwrap();
    for words in [&["status"][..], &["token"]] {
        let ended = run(words).expect(1);
        assert!(ended.to_string().contains("not logged in"), "{ended}");
    }

    keeper.signal("-TERM");
    assert_eq!(keeper.wait().0, Some(0));
    for words in [&["status"][..], &["token"]] {
        let ended = run(words).refused(5);
        assert!(ended.err.contains("hint: start the keeper of that socket (codex sync run)"), "{ended}");
    }
}

#[test]
fn a_socket_whose_path_would_be_too_long_is_in_the_runtime_directory() {
    let home = TestHome::new();
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
    assert!(log.iter().any(|line| line.contains("no socket: the path of the home is too long")), "{log:#?}");
    assert_eq!(authority.counters().of(Endpoint::Refresh), 0);
}
