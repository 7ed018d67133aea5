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

/// Everybody printed the token that is stored now, and said nothing else.
fn everybody_has_it(world: &World<'_>, outputs: &[Output]) {
    let token = world.kept("access_token");
    for output in outputs {
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.as_ref()), (Some(0), ""), "{said}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), token);
    }
    assert_eq!(Some(world.kept("refresh_token")), world.live());
    assert!(!world.has_rescue());
}

fn race(machine: &mut Machine, processes: usize, reuse: Reuse) {
    let world = World::expired(machine);
    world.authority.adjust(|policy| policy.reuse = reuse);
    let outputs = at_once(&world, processes, &["token"]);
    everybody_has_it(&world, &outputs);
    assert_eq!((world.requests(), world.ended(Outcome::Granted)), (1, 1));
}

fn eight_processes_send_one_request(machine: &mut Machine) {
    race(machine, 8, Reuse::RefusesToken);
}

/// Those who wait adopt what the first commits; one that only starts when all is over refreshes once more, rightly. So
/// there are at least one and never a refused request.
fn eight_forced_processes_spend_one_token(machine: &mut Machine) {
    let world = World::fresh(machine);
    world.authority.adjust(|policy| policy.reuse = Reuse::RevokesFamily);
    for output in at_once(&world, 8, &["refresh", "--json"]) {
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(world.requests(), world.ended(Outcome::Granted));
    assert_eq!(Some(world.kept("refresh_token")), world.live());
}

#[test]
fn two_processes_send_one_request_in_each_of_twenty_rounds() {
    for _ in 0..20 {
        race(&mut Machine::with_file(), 2, Reuse::RefusesToken);
    }
}

#[test]
fn eight_processes_send_one_request_where_reuse_ends_the_family() {
    for _ in 0..5 {
        race(&mut Machine::with_file(), 8, Reuse::RevokesFamily);
    }
}

#[test]
fn sixty_four_processes_send_one_request() {
    race(&mut Machine::with_file(), 64, Reuse::RevokesFamily);
}

#[test]
fn a_failure_that_others_waited_through_is_theirs_too() {
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
fn a_parent_that_is_killed_loses_nothing_at_all() {
    let mut machine = Machine::with_file();
    let world = World::fresh(&mut machine);
    let hold = world.authority.hold(scripted_authority::Endpoint::Refresh, scripted_authority::Moment::After);
    let mut parent = world.codex(["refresh"]).start();
    hold.arrived(super::world::PATIENCE).unwrap();
    parent.kill().unwrap();
    parent.wait().unwrap();
    hold.release();
    crate::support::eventually("the child to commit", || Some(world.kept("refresh_token")) == world.live());
    crate::support::eventually("the child to leave", || !world.has_rescue());
    assert_eq!(world.requests(), 1);
}
