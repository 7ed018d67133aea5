//! One keeper at a time, and always one: what happens when it dies, and when its home goes away.

use std::fs;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use scripted_authority::{Endpoint, Moment};

use super::process::{AT_WORK, Process, STANDING_BY};
use crate::manager::world::{PATIENCE, World};
use crate::support::{Machine, eventually, over_both_stores};

over_both_stores!(a_keeper_that_is_killed_while_it_refreshes_is_followed_by_another_and_nothing_is_lost);

fn a_keeper_that_is_killed_while_it_refreshes_is_followed_by_another_and_nothing_is_lost(
    machine: &mut Machine,
) {
    let world = World::stale(machine);
    let hold = world.authority.hold(Endpoint::Refresh, Moment::After);
    let leader = Process::of(&world);
    hold.arrived(PATIENCE).unwrap();
    let follower = Process::start(world.codex(["sync", "run"]));
    let waiting = follower.until(STANDING_BY);
    assert!(waiting[0].contains(&format!("(pid {})", leader.pid())), "{waiting:#?}");

    leader.signal("-KILL");
    let killed = Instant::now();
    follower.until(AT_WORK);
    let taken_over = killed.elapsed();
    println!("taken over after {taken_over:.0?}");
    // It tries every 400 ms; the rest is for a machine with other things to do.
    assert!(taken_over < Duration::from_secs(10), "{taken_over:?}");
    assert_eq!(leader.ended().0, None);

    hold.release();
    follower.until("refreshed");
    assert_eq!(Some(world.kept("refresh_token")), world.live(), "what was asked for is stored");
    eventually("the child of the first to leave", || !world.has_rescue());
    assert_eq!(world.requests(), 1);
}

#[test]
fn a_keeper_whose_home_is_removed_or_replaced_ends_and_says_so() {
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
        let (code, log) = keeper.ended();
        let told = "error: the folder of the login was removed or replaced; start the keeper again";
        assert_eq!((code, log.last().map(String::as_str)), (Some(4), Some(told)), "{fate}: {log:#?}");
    }
}

#[test]
fn a_keeper_leaves_the_socket_of_the_home_that_took_the_place_of_its_own() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let keeper = Process::of(&world);
    let home = world.machine.home.path();
    let other = world.machine.home.beside("other");
    fs::write(other.join("auth.json"), world.grant.auth_json()).unwrap();
    let there = Process::start(world.codex(["sync", "run"]).env("CODEX_HOME", &other));
    there.until(AT_WORK);
    renameat_with(CWD, &home, CWD, &other, RenameFlags::EXCHANGE).unwrap();
    assert_eq!((keeper.ended().0, there.ended().0), (Some(4), Some(4)));
    for home in [home, other] {
        assert!(home.join("codex-auth/keeper/sock").exists(), "it is for the next keeper to replace");
    }
}
