//! Homes that are replaced by another home while a command runs: neither gets the other's changes.

use std::fs;
use std::path::PathBuf;

use scripted_authority::{Account, Grant, TokenState};

use super::world::World;
use crate::support::{Machine, Pause, Run};

/// Moves the home away, puts one with another login in its place, and returns the new path of the first.
fn replace(world: &World<'_>, other: &Grant) -> PathBuf {
    let home = world.machine.home.path();
    let moved = home.with_file_name("moved");
    fs::rename(&home, &moved).unwrap();
    fs::create_dir(&home).unwrap();
    fs::write(home.join("auth.json"), other.auth_json()).unwrap();
    moved
}

/// Replaces the home when `run` pauses at `step`, and lets the run end.
fn replaced_at(world: &World<'_>, step: &str, run: Run, other: &Grant) -> PathBuf {
    let pause = Pause::at(step);
    let child = pause.apply_to(run).start();
    let standing = pause.wait();
    let moved = replace(world, other);
    drop(standing);
    let ended = child.wait_with_output().unwrap();
    assert_ne!(ended.status.code(), Some(0), "{step}");
    moved
}

#[test]
fn a_refresh_keeps_its_response_and_writes_nothing_to_a_home_that_replaced_its_own() {
    for step in ["reserved", "sending", "answered", "rescued"] {
        for account in [1, 3] {
            let mut machine = Machine::with_file();
            let world = World::expired(&mut machine);
            let other = world.authority.grant(Account::numbered(account));
            let moved = replaced_at(&world, step, world.codex(["refresh"]), &other);
            assert_eq!(world.machine.stored_text(), Some(other.auth_json()), "{step}, {account}");
            assert_eq!(world.authority.state_of(&other.tokens.refresh_token), TokenState::Live);
            let live = world
                .live_refresh_token()
                .unwrap_or_else(|| panic!("{step}, {account}: the successor was revoked"));
            world.codex(["refresh"]).env("CODEX_HOME", &moved).run().expect(0);
            let stored = fs::read_to_string(moved.join("auth.json")).unwrap();
            let live = world.live_refresh_token().unwrap_or(live);
            assert!(stored.contains(&live), "{step}, {account}: {stored}");
        }
    }
}

#[test]
fn a_logout_removes_nothing_from_a_home_that_replaced_its_own() {
    for step in ["logging out", "revoked"] {
        let mut machine = Machine::with_file();
        let world = World::fresh(&mut machine);
        let other = world.authority.grant(Account::numbered(3));
        let moved = replaced_at(&world, step, world.codex(["logout"]), &other);
        assert_eq!(world.machine.stored_text(), Some(other.auth_json()), "{step}");
        assert_eq!(world.authority.state_of(&other.tokens.refresh_token), TokenState::Live, "{step}");
        let token = world.codex(["token"]).env("CODEX_HOME", &moved).run();
        assert!(token.code != Some(0) && token.out.is_empty(), "{step}: {token}");
        world.codex(["logout"]).env("CODEX_HOME", &moved).run().expect(0);
        assert!(!moved.join("auth.json").exists(), "{step}");
    }
}
