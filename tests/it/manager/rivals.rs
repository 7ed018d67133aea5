//! A program that takes no lease of ours: it reads, asks without a lock, and commits by compare-and-swap.

use std::fs;

use scripted_authority::{Account, Endpoint, Moment, Reuse};

use super::world::{World, merged, post};
use crate::support::Machine;

/// The rival has won at the authority and commits while we are told that our token was used.
#[test]
fn the_loser_of_a_race_adopts_what_the_winner_commits_late() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let old = world.machine.kept().unwrap();
    let answer = post(&world.authority, &world.grant.tokens.refresh_token);
    let child = world.codex(["refresh"]).start();
    world.authority.wait_for_requests(Endpoint::Refresh, 2, super::world::PATIENCE).unwrap();
    // Ours has been refused by now or is about to be; only then does the rival write.
    world.machine.keep(merged(&old, &answer));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(answer["refresh_token"], world.kept("refresh_token"));
    assert!(world.state().get("poison").is_none(), "never poisoned");
    assert_eq!(
        world.codex(["token"]).run().expect(0).out.trim_end(),
        answer["access_token"].as_str().unwrap()
    );
    assert_eq!(world.requests(), 2);
}

#[test]
fn a_logout_between_request_and_commit_is_final_and_the_successor_is_taken_back() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let output = world.during(Moment::After, world.codex(["refresh"]), |world| {
        fs::remove_file(world.machine.home.document()).unwrap();
    });
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(world.machine.kept(), None, "it is not written back");
    assert_eq!(world.authority.counters().of(Endpoint::Revoke), 1);
    assert!(!world.has_rescue());
}

#[test]
fn a_login_of_another_account_between_request_and_commit_is_never_overwritten() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let other = world.authority.grant(Account::numbered(2)).auth_json();
    let output = world.during(Moment::After, world.codex(["refresh"]), |world| {
        world.machine.keep(&other);
    });
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("another account"), "{said}");
    assert_eq!(world.machine.kept(), Some(other));
}

#[test]
fn what_else_was_changed_between_request_and_commit_is_kept() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let output = world.during(Moment::After, world.codex(["refresh"]), |world| {
        let mut document = world.document();
        document["future"] = serde_json::json!("kept");
        world.machine.keep(document.to_string());
    });
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(world.document()["future"], "kept");
    assert_eq!(Some(world.kept("refresh_token")), world.live());
}

/// An old copy put back by hand is not spent: where reuse ends the family that would end everything.
#[test]
fn an_old_copy_that_is_put_back_is_not_spent() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    world.authority.adjust(|policy| policy.reuse = Reuse::RevokesFamily);
    let old = world.machine.kept().unwrap();
    world.codex(["refresh"]).run().expect(0);
    world.machine.keep(old);
    let ended = world.codex(["refresh"]).run().refused(3);
    assert!(ended.err.contains("old copy"), "{ended}");
    assert_eq!(world.requests(), 1);
}
