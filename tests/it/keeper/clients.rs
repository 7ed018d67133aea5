//! How `codex token` finds a keeper, and how it does without one.

use std::fs;
use std::time::{Duration, Instant};

use scripted_authority::{Account, Authority, Endpoint, Outcome};

use super::process::{AT_WORK, Process};
use crate::manager::world::World;
use crate::support::{Machine, TestHome};

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
fn a_keeper_that_a_user_names_and_that_has_stopped_is_an_error_within_seconds() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let keeper = Process::of(&world);
    let socket = world.machine.home.file("codex-auth/keeper/sock");
    keeper.signal("-STOP");
    let begun = Instant::now();
    let ended = world.codex(["token"]).env("CODEX_AUTH_SOCKET", &socket).run().refused(5);
    let took = begun.elapsed();
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
    assert!(log.iter().any(|line| line.contains("no socket: the path of the login is too long")), "{log:#?}");
    assert_eq!(authority.counters().of(Endpoint::Refresh), 0);
}
