//! Keepers that are unreachable for a while: a removed socket, a stopped process.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Instant;

use super::process::{AT_WORK, Process, STANDING_BY};
use super::socket::{get, response_to, socket, status};
use crate::manager::world::World;
use crate::support::{Machine, eventually};

/// Waits until the keeper of `world` returns the stored token.
#[track_caller]
pub(super) fn await_stored_token(world: &World<'_>) {
    let token = world.stored_token("access_token");
    let path = socket(world);
    eventually("the keeper to return the stored token", || {
        UnixStream::connect(&path).is_ok() && response_to(&path, &get("/v1/token")).contains(&token)
    });
}

#[test]
fn a_removed_socket_or_folder_is_created_again() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let _keeper = Process::of(&world);
    let path = socket(&world);
    await_stored_token(&world);
    for _ in 0..3 {
        fs::remove_file(&path).unwrap();
        await_stored_token(&world);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        await_stored_token(&world);
    }
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    let names: Vec<_> =
        fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["sock"]);
}

#[test]
fn a_file_or_dead_socket_at_the_socket_path_is_replaced() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let _keeper = Process::of(&world);
    let path = socket(&world);
    let beside = path.with_file_name("other");
    for _ in 0..2 {
        await_stored_token(&world);
        fs::write(&beside, "a file").unwrap();
        fs::rename(&beside, &path).unwrap();
        await_stored_token(&world);
        drop(UnixListener::bind(&beside).unwrap());
        fs::rename(&beside, &path).unwrap();
        await_stored_token(&world);
    }
}

#[test]
fn a_socket_that_could_not_be_bound_is_bound_later() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    fs::create_dir_all(world.machine.home.file("codex-auth")).unwrap();
    let folder = world.machine.home.write("codex-auth/keeper", "a file where the folder belongs");
    let keeper = Process::start(world.codex(["sync", "run"]));
    let log = keeper.until(AT_WORK);
    assert!(log.iter().any(|line| line.contains("cannot listen")), "{log:#?}");
    fs::remove_file(folder).unwrap();
    await_stored_token(&world);
}

#[test]
fn a_standby_takes_over_from_a_stopped_keeper_which_exits_when_it_continues() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let leader = Process::of(&world);
    await_stored_token(&world);
    let follower = Process::start(world.codex(["sync", "run"]));
    follower.until(STANDING_BY);
    leader.signal("-STOP");
    let stopped = Instant::now();
    follower.until(AT_WORK);
    println!("taken over after {:.0?}", stopped.elapsed());
    await_stored_token(&world);
    leader.signal("-CONT");
    let (code, log) = leader.wait();
    assert_eq!(code, Some(4), "{log:#?}");
    assert!(log.iter().any(|line| line.contains("another keeper has taken over")), "{log:#?}");
    assert_eq!(
        status(&response_to(&socket(&world), &get("/v1/status"))),
        "200",
        "the socket of the second stays"
    );
}
