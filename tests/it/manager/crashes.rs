//! `kill -9` at every step of the transaction: the document is intact, and the valid token is in the store or the
//! rescue.

use super::world::World;
use crate::support::{Machine, over_both_stores};

/// Every step in order, and where the valid token is afterwards.
pub const STEPS: [(&str, Left); 9] = [
    ("leased", Left::Untouched),
    ("rescue finished", Left::Untouched),
    ("reserved", Left::Untouched),
    ("sending", Left::Untouched),
    ("answered", Left::Lost),
    ("rescued", Left::InRescue),
    ("committed", Left::InStore),
    ("recorded", Left::InStore),
    ("cleared", Left::InStore),
];

/// Where the valid refresh token is after the kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// In the store, unspent.
    Untouched,
    /// Between its arrival and the first fsync; this window cannot be closed.
    Lost,
    /// In the rescue.
    InRescue,
    /// In the store, committed.
    InStore,
}

// Linux: strace.
#[cfg(target_os = "linux")]
over_both_stores!(a_written_response_survives_a_kill_before_fsync);

over_both_stores!(a_kill_at_any_step_leaves_a_login_that_the_next_process_recovers);

fn a_kill_at_any_step_leaves_a_login_that_the_next_process_recovers(machine: &mut Machine) {
    println!("| killed at | the valid token is | the next `codex refresh` |\n|---|---|---|");
    for (step, left) in STEPS {
        let world = World::fresh(machine);
        let ended = world.codex(["refresh"]).env("CODEX_AUTH_FAILPOINT", format!("{step}=kill")).run();
        assert_eq!(ended.code, Some(4), "{step}\n{ended}");

        let spent = world.requests() == 1;
        let stored = Some(world.stored_token("refresh_token")) == world.live_refresh_token();
        let found = match (spent, stored, world.has_rescue()) {
            (false, true, false) => Left::Untouched,
            (true, false, true) => Left::InRescue,
            (true, true, _) => Left::InStore,
            _ => Left::Lost,
        };
        assert_eq!(found, left, "killed at {step}");

        let next = world.codex(["refresh"]).run();
        let recovered = next.code == Some(0);
        assert_eq!(recovered, left != Left::Lost, "after a kill at {step}\n{next}");
        if recovered {
            assert_eq!(Some(world.stored_token("refresh_token")), world.live_refresh_token(), "{step}");
            assert!(!world.has_rescue(), "{step}");
        }
        let outcome = if recovered { "recovers" } else { "asks to log in again" };
        println!("| {step} | {left:?} | {outcome} |");
        world.codex(["logout", "--local"]).run().expect(0);
    }
}

// Linux: strace.
#[cfg(target_os = "linux")]
fn a_written_response_survives_a_kill_before_fsync(machine: &mut Machine) {
    use crate::soak::strace::{Call, Fault, calls_under_lease, inject};

    let order = "{\"pipe\":1,\"job\":{\"task\":\"freshen\",\"policy\":\"follow\"}}\n";
    let refresh = |world: &World<'_>| world.codex(["transaction", "1"]).input(order);
    let trace = machine.home.beside("strace").join("trace");
    // The first refresh creates the folder of the history.
    let world = World::expired(machine);
    refresh(&world).run().expect(0);
    world.codex(["logout", "--local"]).run().expect(0);
    drop(world);
    let all = {
        let world = World::expired(machine);
        // Another run makes no call to create the history.
        refresh(&world).run().expect(0);
        world.codex(["logout", "--local"]).run().expect(0);
        let world = World::expired(machine);
        let all = calls_under_lease(refresh(&world), &trace);
        world.codex(["logout", "--local"]).run().expect(0);
        all
    };
    for name in ["fsync", "ftruncate"] {
        // The last call of each name comes after the response.
        let is_it = |call: &&Call| call.name == name && call.line.contains("/rescue>");
        let call = all.iter().rfind(is_it).unwrap_or_else(|| panic!("{name} in {all:#?}"));
        let world = World::expired(machine);
        inject(refresh(&world), call, Fault::Kill, &trace).run();
        assert_eq!(world.requests(), 1, "{call:?}");
        assert_ne!(Some(world.stored_token("refresh_token")), world.live_refresh_token(), "{call:?}");
        world.codex(["refresh"]).run().expect(0);
        assert_eq!(Some(world.stored_token("refresh_token")), world.live_refresh_token(), "{call:?}");
        world.codex(["logout", "--local"]).run().expect(0);
    }
}
