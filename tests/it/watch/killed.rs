//! A change by another program, after a killed process has left its note in the lock file.

use std::time::{Duration, Instant};

use scripted_authority::{Account, fingerprint};

use super::host::HostProcess;
use super::watcher::{WatchMode, Watcher};
use crate::manager::world::World;
use crate::support::Machine;
use codex_auth::manager::AccountPolicy;

/// How long a watcher waits for the record of a change that the lease holder has made.
const RECORD_TIMEOUT: Duration = Duration::from_millis(500);
const ROUNDS: u32 = 5;

#[test]
fn a_change_by_another_program_is_reported_at_once_and_not_attributed_to_a_killed_process() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", "leased=kill").run().expect(4);
    assert_ne!(world.machine.home.read("codex-auth/refresh.lock"), "", "the note of the killed process");
    let (watcher, _) = Watcher::start(world.codex(["watch", "--json"]), WatchMode::Native);
    let (mut host, _) = HostProcess::start(&world.machine.home, AccountPolicy::Follow, WatchMode::Native);
    let mut fastest = Duration::MAX;
    for round in 2..2 + ROUNDS {
        let other = world.authority.grant(Account::numbered(round));
        let changed = Instant::now();
        world.machine.store_text(other.auth_json());
        let expected = format!("account_changed {}", fingerprint(&other.tokens.access_token));
        assert_eq!(host.next_change(), expected);
        fastest = fastest.min(changed.elapsed());
        let output = watcher.expect_event("account_changed");
        assert!(output["by"].is_null(), "{output}");
    }
    println!("reported after {fastest:.1?}");
    assert!(fastest < RECORD_TIMEOUT / 2, "{fastest:?}");
    host.finish();
}
