//! A model of the refresh protocol, checked exhaustively within its bounds.
//!
//! It models our processes ([`process`], [`commit`]), which may die between any two steps; a Codex that takes no lease
//! ([`peer`]); users and programs that log out, log in and restore backups; and an authority with single-use tokens. It
//! does not model time (waits are fair, tokens expire and back-offs end at any moment), access tokens, responses for
//! another account, or the policy `follow`. [`stores`] models two stores with migrations and logouts, [`links`] links,
//! [`fleet`] hosts that share a login.

mod check;
mod commit;
pub mod fleet;
mod links;
mod mutations;
mod peer;
mod process;
mod promises;
mod protocol;
mod stores;
mod world;

use std::collections::HashMap;

use stateright::{Checker, HasDiscoveries, Model, Path};

use protocol::{Action, Protocol};
use world::{OnReuse, World};

/// Three of our processes, and an authority that revokes a login when a spent token is sent.
const THREE_OF_OURS: Protocol = Protocol {
    ours: 3,
    peer_turns: 0,
    ages: 1,
    failures: 3,
    on_reuse: OnReuse::RevokeFamily,
    mutation: None,
};

const TWO_AND_A_PEER: Protocol = Protocol { ours: 2, peer_turns: 1, failures: 2, ..THREE_OF_OURS };

/// Whether any action is possible in `world`.
fn can_continue<M: Model>(protocol: &M, world: &M::State) -> bool {
    let mut actions = Vec::new();
    protocol.actions(world, &mut actions);
    actions.into_iter().any(|action| protocol.next_state(world, action).is_some())
}

#[test]
fn three_of_ours_keep_every_promise_whatever_three_things_go_wrong() {
    holds("three of ours", THREE_OF_OURS);
}

#[test]
fn two_of_ours_keep_every_promise_beside_a_peer_whatever_two_things_go_wrong() {
    holds("two and a peer", TWO_AND_A_PEER);
}

#[test]
fn two_of_ours_keep_every_promise_beside_a_peer_that_refreshes_twice() {
    holds("two and a busy peer", Protocol { peer_turns: 2, failures: 1, ..TWO_AND_A_PEER });
}

#[test]
fn two_of_ours_keep_every_promise_beside_a_peer_whatever_three_things_go_wrong_within_one_refresh() {
    holds("two and a peer, once", Protocol { ages: 0, failures: 3, ..TWO_AND_A_PEER });
}

#[test]
fn three_of_ours_keep_every_promise_beside_a_peer_and_a_forgiving_authority() {
    let on_reuse = OnReuse::Refuse;
    holds("three and a peer", Protocol { ours: 3, failures: 1, on_reuse, ..TWO_AND_A_PEER });
}

/// Checks liveness, together with [`promises::ALL_END`], which checks the ends of runs. The checker's own `eventually`
/// misses runs that join others.
#[test]
fn every_run_ends() {
    for protocol in [Protocol { failures: 2, ..THREE_OF_OURS }, Protocol { failures: 1, ..TWO_AND_A_PEER }] {
        assert_eq!(states_on_or_before_a_cycle(protocol), 0, "{protocol:?}");
    }
}

fn holds(name: &str, protocol: Protocol) {
    let stop = HasDiscoveries::AnyFailures;
    let checker = protocol.checker().symmetry().finish_when(stop).spawn_dfs().join();
    check::assert_promises(name, &protocol, &checker, trace);
}

/// Prints a run step by step: the state of each process before the step, and what the step changed.
fn trace(path: Path<World, Action>) -> String {
    let describe = |(world, action): (World, Option<Action>)| {
        let World { document, rescue, state, ours, peer, .. } = world;
        let who = match action {
            Some(Action::Step(who) | Action::Heed(who) | Action::Answer(who)) => format!(" {:?}", ours[who]),
            Some(Action::Peer) => format!(" {peer:?}"),
            _ => String::new(),
        };
        let files = format!("document {document:?}, rescue {rescue:?}, {state:?}");
        format!(
            "  {files}\n    {}{who}\n",
            action.map_or_else(|| "so".to_owned(), |action| format!("{action:?}"))
        )
    };
    path.into_vec().into_iter().map(describe).collect()
}

/// Removes states without a successor until none is left; returns the number of the others, which lead into a cycle.
fn states_on_or_before_a_cycle(protocol: Protocol) -> usize {
    let mut numbers: HashMap<World, usize> = HashMap::new();
    let mut successors: Vec<usize> = Vec::new();
    let mut predecessors: Vec<Vec<usize>> = Vec::new();
    let mut found = protocol.init_states();
    let mut next = 0;
    for world in &found {
        numbers.insert(world.clone(), numbers.len());
        predecessors.push(Vec::new());
    }
    while let Some(world) = found.get(next).cloned() {
        let steps = protocol.next_states(&world);
        successors.push(steps.len());
        for step in steps {
            let number = *numbers.entry(step).or_insert_with_key(|step| {
                found.push(step.clone());
                predecessors.push(Vec::new());
                found.len() - 1
            });
            predecessors[number].push(next);
        }
        next += 1;
    }
    let mut left = found.len();
    let mut ends: Vec<usize> = (0..left).filter(|number| successors[*number] == 0).collect();
    while let Some(end) = ends.pop() {
        left -= 1;
        for before in &predecessors[end] {
            successors[*before] -= 1;
            if successors[*before] == 0 {
                ends.push(*before);
            }
        }
    }
    left
}
