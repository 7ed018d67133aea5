//! A home that is closed to its keeper for a while.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use scripted_authority::Account;

use super::process::{AT_WORK, Process, STANDING_BY};
use super::unreachable::answers;
use crate::manager::world::World;
use crate::support::{Machine, without_capabilities};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Three seconds: a watcher gives a home that is away one.
#[test]
fn a_home_that_is_closed_for_three_seconds_is_waited_for_by_a_keeper_and_by_its_standby() {
    for closed in ["the home", "the folder above"] {
        let mut machine = Machine::with_file();
        let world = World::fresh(&mut machine);
        let run = || without_capabilities(world.codex(["sync", "run"]));
        let leader = Process::start(run());
        leader.until(AT_WORK);
        let follower = Process::start(run());
        follower.until(STANDING_BY);
        answers(&world);
        let home = world.machine.home.path();
        let folder = if closed == "the home" { home.as_path() } else { home.parent().unwrap() };
        set_mode(folder, 0o000);
        leader.signal("-HUP");
        thread::sleep(Duration::from_secs(3));
        set_mode(folder, 0o700);
        world.machine.keep(world.authority.grant(Account::numbered(2)).auth_json());
        answers(&world);
        leader.signal("-KILL");
        assert_eq!(leader.ended().0, None, "{closed}: it was at work until it was killed");
        follower.until(AT_WORK);
        answers(&world);
    }
}
