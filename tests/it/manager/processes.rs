//! However many processes find the token stale at once, one request is sent and every process gets the new token.

use std::process::Output;

use scripted_authority::{Outcome, Reuse};

use super::world::World;
use crate::support::{Machine, over_both_stores};

over_both_stores!(eight_processes_send_one_request, eight_forced_processes_spend_one_token);

/// Starts `number` runs of `arguments` at once and waits for all of them.
fn at_once(world: &World<'_>, number: usize, arguments: &[&str]) -> Vec<Output> {
    let children: Vec<_> = (0..number).map(|_| world.codex(arguments.iter().copied()).start()).collect();
    children.into_iter().map(|child| child.wait_with_output().unwrap()).collect()
}

/// Every process printed the stored token and nothing else.
fn assert_all_printed_stored_token(world: &World<'_>, outputs: &[Output]) {
    let token = world.stored_token("access_token");
    for output in outputs {
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.as_ref()), (Some(0), ""), "{said}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), token);
    }
    assert_eq!(Some(world.stored_token("refresh_token")), world.live_refresh_token());
    assert!(!world.has_rescue());
}

fn race(machine: &mut Machine, processes: usize, reuse: Reuse) {
    let world = World::expired(machine);
    world.authority.adjust(|policy| policy.reuse = reuse);
    let outputs = at_once(&world, processes, &["token"]);
    assert_all_printed_stored_token(&world, &outputs);
    assert_eq!((world.requests(), world.requests_with(Outcome::Granted)), (1, 1));
}

fn eight_processes_send_one_request(machine: &mut Machine) {
    race(machine, 8, Reuse::RefusesToken);
}

/// Waiting processes adopt the first commit; a process that starts later refreshes again. So there is at least one
/// request and never a refused one.
fn eight_forced_processes_spend_one_token(machine: &mut Machine) {
    let world = World::fresh(machine);
    world.authority.adjust(|policy| policy.reuse = Reuse::RevokesFamily);
    for output in at_once(&world, 8, &["refresh", "--json"]) {
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(world.requests(), world.requests_with(Outcome::Granted));
    assert_eq!(Some(world.stored_token("refresh_token")), world.live_refresh_token());
}

#[test]
fn two_processes_send_one_request_in_each_of_twenty_rounds() {
    for _ in 0..20 {
        race(&mut Machine::with_file(), 2, Reuse::RefusesToken);
    }
}

#[test]
fn eight_processes_send_one_request_if_reuse_revokes_the_family() {
    for _ in 0..5 {
        race(&mut Machine::with_file(), 8, Reuse::RevokesFamily);
    }
}

#[test]
fn sixty_four_processes_send_one_request() {
    race(&mut Machine::with_file(), 64, Reuse::RevokesFamily);
}

#[test]
fn waiting_processes_share_a_failure() {
    let mut machine = Machine::with_file();
    let world = World::expired(&mut machine);
    world.authority.end(world.grant.id, scripted_authority::Ending::RefreshInvalidated);
    for output in at_once(&world, 8, &["token"]) {
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(world.requests(), 1, "a dead credential is tried once per machine");
    world.codex(["token"]).run().refused(3);
    world.codex(["refresh"]).run().refused(3);
    assert_eq!(world.requests(), 1);
}

#[test]
fn a_killed_parent_loses_no_token() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let hold = world.authority.hold(scripted_authority::Endpoint::Refresh, scripted_authority::Moment::After);
    let mut parent = world.codex(["refresh"]).start();
    hold.arrived(super::world::TEST_TIMEOUT).unwrap();
    parent.kill().unwrap();
    parent.wait().unwrap();
    hold.release();
    crate::support::eventually("the child to commit", || {
        Some(world.stored_token("refresh_token")) == world.live_refresh_token()
    });
    crate::support::eventually("the child to leave", || !world.has_rescue());
    assert_eq!(world.requests(), 1);
}
