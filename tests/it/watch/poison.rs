//! A permanently failed credential is tried once per machine, and the next login heals all watching processes.

use codex_auth::manager::AccountPolicy;
use scripted_authority::{Ending, fingerprint};

use super::host::HostProcess;
use super::watcher::{WatchMode, Watcher};
use crate::manager::world::World;
use crate::support::{Machine, over_both_stores};

over_both_stores!(one_request_poisons_all_processes_and_the_next_login_heals_them);

fn one_request_poisons_all_processes_and_the_next_login_heals_them(machine: &mut Machine) {
    let world = World::expired(machine);
    world.authority.end(world.grant.id, Ending::RefreshInvalidated);
    let (watcher, first) = Watcher::start(world.codex(["watch", "--json"]), WatchMode::Native);
    assert_eq!((&first["logged_in"], &first["usable"]), (&true.into(), &true.into()), "{first}");
    let (mut host, _) = HostProcess::start(&world.machine.home, AccountPolicy::Follow, WatchMode::Native);

    for child in [(); 2].map(|()| world.codex(["token"]).start()) {
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(3));
    }
    let poisoned = watcher.expect_event("poisoned");
    assert_eq!((&poisoned["logged_in"], &poisoned["usable"]), (&true.into(), &false.into()), "{poisoned}");
    let dead = fingerprint(&world.grant.tokens.access_token);
    assert_eq!(host.next_change(), format!("poisoned {dead}"));
    assert_eq!(world.requests(), 1);

    world.codex(["login", "--with-api-key"]).input("sk-heals").run().expect(0);
    assert_eq!(watcher.expect_event("healed")["usable"], true);
    assert_eq!(host.next_change(), format!("healed {}", fingerprint("sk-heals")));
    // An event that was reported twice would come before this one.
    world.sign_in(&world.grant);
    watcher.expect_event("login");
    assert_eq!(host.next_change(), format!("login {dead}"));
    assert_eq!(world.authority.counters().all(), 1, "no further request was sent");
}
