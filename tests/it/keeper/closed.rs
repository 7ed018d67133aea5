//! A home that is inaccessible to its keeper for a while.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use scripted_authority::Account;

use super::process::{AT_WORK, Process, STANDING_BY};
use super::unreachable::await_stored_token;
use crate::manager::world::World;
use crate::support::{Machine, without_capabilities};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The watcher waits one second for a missing home, so three are enough.
#[test]
fn keeper_and_standby_wait_for_a_home_that_is_inaccessible_for_three_seconds() {
    for closed in ["the home", "the folder above"] {
        let mut machine = Machine::with_file();
        let world = World::fresh(&mut machine);
        let run = || without_capabilities(world.codex(["sync", "run"]));
        let leader = Process::start(run());
        leader.until(AT_WORK);
        let follower = Process::start(run());
        follower.until(STANDING_BY);
        await_stored_token(&world);
        let home = world.machine.home.path();
        let folder = if closed == "the home" { home.as_path() } else { home.parent().unwrap() };
        set_mode(folder, 0o000);
        leader.signal("-HUP");
        thread::sleep(Duration::from_secs(3));
        set_mode(folder, 0o700);
        world.machine.store_text(world.authority.grant(Account::numbered(2)).auth_json());
        await_stored_token(&world);
        leader.signal("-KILL");
        assert_eq!(leader.wait().0, None, "{closed}: it ran until it was killed");
        follower.until(AT_WORK);
        await_stored_token(&world);
    }
}
