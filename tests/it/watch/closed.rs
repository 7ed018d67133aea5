//! A home that `codex watch` cannot read for a while.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use std::time::Duration;

use super::watcher::{WatchMode, Watcher};
use crate::manager::world::World;
use crate::support::{Machine, without_capabilities};

/// Three seconds, because `watch` gives up after one second on a home that is gone.
#[test]
fn it_waits_for_a_home_that_is_unreadable_for_three_seconds() {
    for closed in ["the home", "the folder above"] {
        let mut machine = Machine::with_file();
        let world = World::fresh(&mut machine);
        let (watcher, _) =
            Watcher::start(without_capabilities(world.codex(["watch", "--json"])), WatchMode::Native);
        let home = world.machine.home.path();
        let folder = if closed == "the home" { home.as_path() } else { home.parent().unwrap() };
        fs::set_permissions(folder, fs::Permissions::from_mode(0o000)).unwrap();
        let output = watcher.expect_event("unreadable");
        assert_eq!(output["logged_in"], true, "{closed}: {output}");
        thread::sleep(Duration::from_secs(3));
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
        watcher.expect_event("readable");
        world.codex(["logout", "--local"]).run().expect(0);
        watcher.expect_event("logout");
    }
}
