//! How a keeper is told to look and to leave, and what it tells a service manager.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use scripted_authority::{Endpoint, Moment};

use super::process::{AT_WORK, Process, STANDING_BY};
use crate::manager::world::{PATIENCE, World};
use crate::support::{Machine, eventually};

#[test]
fn a_keeper_that_is_ended_while_it_refreshes_stores_what_it_bought_first() {
    let mut machine = Machine::with_file();
    let world = World::stale(&mut machine);
    let hold = world.authority.hold(Endpoint::Refresh, Moment::After);
    let keeper = Process::of(&world);
    hold.arrived(PATIENCE).unwrap();
    keeper.signal("-TERM");
    keeper.until("ending; a refresh under way is finished first");
    hold.release();
    assert_eq!(keeper.ended().0, Some(0));
    assert_eq!(Some(world.kept("refresh_token")), world.live());
    assert!(!world.has_rescue());
    assert!(!world.machine.home.file("codex-auth/keeper/sock").exists());
}

#[test]
fn whoever_asks_twice_does_not_wait_and_the_refresh_goes_on_without_it() {
    let mut machine = Machine::with_file();
    let world = World::stale(&mut machine);
    let hold = world.authority.hold(Endpoint::Refresh, Moment::After);
    let keeper = Process::of(&world);
    hold.arrived(PATIENCE).unwrap();
    keeper.signal("-TERM");
    keeper.until("ending");
    keeper.signal("-INT");
    assert_eq!(keeper.ended().0, Some(130), "while the refresh is held");
    hold.release();
    eventually("the child to commit", || Some(world.kept("refresh_token")) == world.live());
    eventually("the child to leave", || !world.has_rescue());
    assert_eq!(world.requests(), 1);
}

#[test]
fn a_keeper_ends_when_asked_to_whether_it_works_or_stands_by() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    for (signal, code) in [("-TERM", 0), ("-INT", 130)] {
        let leader = Process::of(&world);
        let follower = Process::start(world.codex(["sync", "run"]));
        follower.until(STANDING_BY);
        follower.signal(signal);
        assert_eq!(follower.ended().0, Some(code), "{signal}");
        leader.signal("-HUP");
        leader.until("looking again");
        leader.signal(signal);
        assert_eq!(leader.ended().0, Some(code), "{signal}");
    }
    assert_eq!(world.requests(), 0);
}

#[test]
fn a_service_manager_is_told_that_it_is_ready_alive_and_ending_also_while_it_stands_by() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let managed = |name: &str| {
        let path = world.machine.home.beside(name).join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let run = world.codex(["sync", "run"]).env("NOTIFY_SOCKET", path).env("WATCHDOG_USEC", "200000");
        (Process::start(run), socket)
    };
    let (leader, leading) = managed("leader");
    leader.until(AT_WORK);
    let (follower, following) = managed("follower");
    follower.until(STANDING_BY);
    for (socket, word) in [(&leading, "keeping the login fresh"), (&following, "standing by")] {
        await_message(socket, &format!("READY=1\nSTATUS={word}\n"));
        await_message(socket, "WATCHDOG=1\n");
        await_message(socket, "WATCHDOG=1\n");
    }

    leader.signal("-TERM");
    assert_eq!(leader.ended().0, Some(0));
    let last = std::iter::from_fn(|| {
        leading.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut message = [0; 256];
        let size = leading.recv(&mut message).ok()?;
        Some(String::from_utf8_lossy(&message[..size]).into_owned())
    });
    assert_eq!(last.filter(|message| message != "WATCHDOG=1\n").collect::<Vec<_>>(), ["STOPPING=1\n"]);
    await_message(&following, "READY=1\nSTATUS=keeping the login fresh\n");
}

#[test]
fn a_service_manager_that_does_not_listen_holds_up_nobody_and_is_told_when_it_does() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let path = world.machine.home.beside("manager").join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let others = UnixDatagram::unbound().unwrap();
    others.connect(&path).unwrap();
    others.set_nonblocking(true).unwrap();
    let mut queue = 0;
    while others.send(b"of others").is_ok() {
        queue += 1;
    }
    let start = || {
        let run = world.codex(["sync", "run"]).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "2000");
        let keeper = Process::start(run);
        keeper.until(AT_WORK);
        keeper.signal("-HUP");
        keeper.until("looking again");
        keeper
    };
    let deaf = start();
    deaf.signal("-TERM");
    assert_eq!(deaf.ended().0, Some(0));

    let keeper = start();
    for _ in 0..queue {
        await_message(&manager, "of others");
    }
    await_message(&manager, "READY=1\nSTATUS=keeping the login fresh\n");
    await_message(&manager, "WATCHDOG=1\n");
    keeper.signal("-TERM");
    await_message(&manager, "STOPPING=1\n");
    assert_eq!(keeper.ended().0, Some(0));
}

/// Waits until a keeper tells its service manager this.
#[track_caller]
fn await_message(socket: &UnixDatagram, expected: &str) {
    let begun = Instant::now();
    let mut message = [0; 256];
    loop {
        let size = socket.recv(&mut message).unwrap();
        if message[..size] == *expected.as_bytes() {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "it goes on without a word of {expected:?}");
    }
}
