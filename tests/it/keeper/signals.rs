//! Signals to a keeper, and its notifications to a service manager.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use scripted_authority::{Endpoint, Moment};

use super::process::{AT_WORK, Process, STANDING_BY};
use crate::manager::world::{TEST_TIMEOUT, World};
use crate::support::{Machine, eventually};

#[test]
fn a_keeper_stopped_during_a_refresh_stores_the_new_token_first() {
    let mut machine = Machine::with_file();
    let world = World::stale(&mut machine);
    let hold = world.authority.hold(Endpoint::Refresh, Moment::After);
    let keeper = Process::of(&world);
    hold.arrived(TEST_TIMEOUT).unwrap();
    keeper.signal("-TERM");
    keeper.until("stopping; a running refresh is completed first");
    hold.release();
    assert_eq!(keeper.wait().0, Some(0));
    assert_eq!(Some(world.stored_token("refresh_token")), world.live_refresh_token());
    assert!(!world.has_rescue());
    assert!(!world.machine.home.file("codex-auth/keeper/sock").exists());
}

#[test]
fn a_second_signal_ends_the_keeper_at_once_and_the_refresh_continues() {
    let mut machine = Machine::with_file();
    let world = World::stale(&mut machine);
    let hold = world.authority.hold(Endpoint::Refresh, Moment::After);
    let keeper = Process::of(&world);
    hold.arrived(TEST_TIMEOUT).unwrap();
    keeper.signal("-TERM");
    keeper.until("stopping");
    keeper.signal("-INT");
    assert_eq!(keeper.wait().0, Some(130), "while the refresh is held");
    hold.release();
    eventually("the child to commit", || {
        Some(world.stored_token("refresh_token")) == world.live_refresh_token()
    });
    eventually("the child to exit", || !world.has_rescue());
    assert_eq!(world.requests(), 1);
}

#[test]
fn signals_end_keeper_and_standby() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    for (signal, code) in [("-TERM", 0), ("-INT", 130)] {
        let leader = Process::of(&world);
        let follower = Process::start(world.codex(["sync", "run"]));
        follower.until(STANDING_BY);
        follower.signal(signal);
        assert_eq!(follower.wait().0, Some(code), "{signal}");
        leader.signal("-HUP");
        leader.until("reloading the login");
        leader.signal(signal);
        assert_eq!(leader.wait().0, Some(code), "{signal}");
    }
    assert_eq!(world.requests(), 0);
}

#[test]
fn keeper_and_standby_notify_the_service_manager() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let managed = |name: &str| {
        let path = world.machine.home.beside(name).join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
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
    assert_eq!(leader.wait().0, Some(0));
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
fn an_unresponsive_service_manager_delays_nothing_and_is_notified_later() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let path = world.machine.home.beside("manager").join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
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
        keeper.until("reloading the login");
        keeper
    };
    let unheard = start();
    unheard.signal("-TERM");
    assert_eq!(unheard.wait().0, Some(0));

    let keeper = start();
    for _ in 0..queue {
        await_message(&manager, "of others");
    }
    await_message(&manager, "READY=1\nSTATUS=keeping the login fresh\n");
    await_message(&manager, "WATCHDOG=1\n");
    keeper.signal("-TERM");
    await_message(&manager, "STOPPING=1\n");
    assert_eq!(keeper.wait().0, Some(0));
}

/// Waits until the service manager receives `expected`.
#[track_caller]
fn await_message(socket: &UnixDatagram, expected: &str) {
    let started = Instant::now();
    let mut message = [0; 256];
    loop {
        let size = socket.recv(&mut message).unwrap();
        if message[..size] == *expected.as_bytes() {
            return;
        }
        assert!(started.elapsed() < TEST_TIMEOUT, "no {expected:?} among the messages");
    }
}
