//! Failover: a keeper is killed, or its home is removed or replaced.

use std::fs;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use scripted_authority::{Endpoint, Moment};

use super::process::{AT_WORK, Process, STANDING_BY};
use super::unreachable::await_stored_token;
use crate::manager::world::{TEST_TIMEOUT, World};
use crate::support::{Machine, eventually, over_both_stores};

over_both_stores!(a_standby_takes_over_when_the_keeper_is_killed_during_a_refresh);

fn a_standby_takes_over_when_the_keeper_is_killed_during_a_refresh(machine: &mut Machine) {
    let world = World::stale(machine);
    let hold = world.authority.hold(Endpoint::Refresh, Moment::After);
    let leader = Process::of(&world);
    hold.arrived(TEST_TIMEOUT).unwrap();
    let follower = Process::start(world.codex(["sync", "run"]));
    let waiting = follower.until(STANDING_BY);
    assert!(waiting[0].contains(&format!("(pid {})", leader.pid())), "{waiting:#?}");

    leader.signal("-KILL");
    let killed = Instant::now();
    follower.until(AT_WORK);
    let taken_over = killed.elapsed();
    println!("taken over after {taken_over:.0?}");
    // A standby tries every 400 ms; the rest allows for a slow machine.
    assert!(taken_over < Duration::from_secs(10), "{taken_over:?}");
    assert_eq!(leader.wait().0, None);

    hold.release();
    follower.until("refreshed");
    assert_eq!(
        Some(world.stored_token("refresh_token")),
        world.live_refresh_token(),
        "the requested token is stored"
    );
    eventually("the first keeper's child to exit", || !world.has_rescue());
    assert_eq!(world.requests(), 1);
}

#[test]
fn a_keeper_whose_home_is_removed_or_replaced_exits_with_an_error() {
    for fate in ["removed", "replaced"] {
        let mut machine = Machine::with_file();
        let world = World::fresh(&mut machine);
        let keeper = Process::of(&world);
        let home = world.machine.home.path();
        match fate {
            "removed" => fs::remove_dir_all(&home).unwrap(),
            _ => {
                let other = world.machine.home.beside("other");
                renameat_with(CWD, &home, CWD, &other, RenameFlags::EXCHANGE).unwrap();
            }
        }
        let (code, log) = keeper.wait();
        let message = "error: the login's folder was removed or replaced; restart the keeper: codex sync run";
        assert_eq!((code, log.last().map(String::as_str)), (Some(4), Some(message)), "{fate}: {log:#?}");
    }
}

#[test]
fn a_home_that_is_moved_away_for_a_moment_ends_neither_the_keeper_nor_the_standby() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let leader = Process::of(&world);
    let follower = Process::start(world.codex(["sync", "run"]));
    follower.until(STANDING_BY);
    let home = world.machine.home.path();
    let elsewhere = home.with_file_name("moved away");
    for away in [300, 2_000] {
        fs::rename(&home, &elsewhere).unwrap();
        // Longer than a standby takes to try again.
        std::thread::sleep(Duration::from_millis(away));
        fs::rename(&elsewhere, &home).unwrap();
        await_stored_token(&world);
    }
    leader.signal("-KILL");
    follower.until(AT_WORK);
    await_stored_token(&world);
    assert_eq!(leader.wait().0, None);
}

#[test]
fn a_keeper_keeps_the_socket_of_a_home_that_replaced_its_own() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let keeper = Process::of(&world);
    let home = world.machine.home.path();
    let other = world.machine.home.beside("other");
    fs::write(other.join("auth.json"), world.grant.auth_json()).unwrap();
    let there = Process::start(world.codex(["sync", "run"]).env("CODEX_HOME", &other));
    there.until(AT_WORK);
    renameat_with(CWD, &home, CWD, &other, RenameFlags::EXCHANGE).unwrap();
    assert_eq!((keeper.wait().0, there.wait().0), (Some(4), Some(4)));
    for home in [home, other] {
        assert!(home.join("codex-auth/keeper/sock").exists(), "the next keeper replaces it");
    }
}
