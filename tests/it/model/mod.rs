//! A model of the refresh protocol, checked exhaustively within its bounds.
//!
//! What is modelled: processes of ours ([`ours`], [`commit`]) that may die between any two steps; a Codex that takes no
//! lease ([`peer`]); people and programs that log out, log in and put backups back; an authority whose tokens can be
//! used once. What is not: time (waits are fair, ages and back-offs end at any moment), access tokens, answers for another
//! account, the policy `follow`. Two stores with migrations and logouts are modelled in [`stores`], links in [`links`].

mod check;
mod commit;
mod departures;
mod links;
mod ours;
mod peer;
mod promises;
mod protocol;
mod stores;
mod world;

use std::collections::HashMap;
use std::time::Instant;

use stateright::{Checker, Expectation, HasDiscoveries, Model, Path};

use protocol::{Action, Protocol};
use world::{OnReuse, World};

/// With an authority that forgives nothing.
const THREE_OF_OURS: Protocol = Protocol {
    ours: 3,
    peer_turns: 0,
    ages: 1,
    misfortunes: 3,
    on_reuse: OnReuse::RevokeFamily,
    departure: None,
};

const TWO_AND_A_PEER: Protocol = Protocol { ours: 2, peer_turns: 1, misfortunes: 2, ..THREE_OF_OURS };

/// Whether any action is possible in `world`.
fn can_go_on<M: Model>(protocol: &M, world: &M::State) -> bool {
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
    holds("two and a busy peer", Protocol { peer_turns: 2, misfortunes: 1, ..TWO_AND_A_PEER });
}

#[test]
fn two_of_ours_keep_every_promise_beside_a_peer_whatever_three_things_go_wrong_within_one_refresh() {
    holds("two and a peer, once", Protocol { ages: 0, misfortunes: 3, ..TWO_AND_A_PEER });
}

#[test]
fn three_of_ours_keep_every_promise_beside_a_peer_and_a_forgiving_authority() {
    let on_reuse = OnReuse::Refuse;
    holds("three and a peer", Protocol { ours: 3, misfortunes: 1, on_reuse, ..TWO_AND_A_PEER });
}

/// Together with [`promises::ALL_END`], which looks at the ends of runs, this is the liveness of the protocol: the
/// checker's own `eventually` overlooks runs that join others.
#[test]
fn no_run_goes_on_for_ever() {
    for protocol in
        [Protocol { misfortunes: 2, ..THREE_OF_OURS }, Protocol { misfortunes: 1, ..TWO_AND_A_PEER }]
    {
        assert_eq!(states_on_or_before_a_cycle(protocol), 0, "{protocol:?}");
    }
}

fn holds(name: &str, protocol: Protocol) {
    let began = Instant::now();
    let stop = HasDiscoveries::AnyFailures;
    let checker = protocol.checker().symmetry().finish_when(stop).spawn_dfs().join();
    let (states, unique) = (checker.state_count(), checker.unique_state_count());
    println!(
        "{name}: {unique} unique states of {states}, depth {}, {:.1?}",
        checker.max_depth(),
        began.elapsed()
    );
    for property in protocol.properties() {
        let found = checker.discovery(property.name);
        match property.expectation {
            Expectation::Sometimes => assert!(found.is_some(), "never reached: {}", property.name),
            _ => assert!(
                found.is_none(),
                "not so: {}\n{}",
                property.name,
                found.map_or_else(String::new, story)
            ),
        }
    }
}

/// A run, step by step: who stood where before it, and what it did to the files.
fn story(path: Path<World, Action>) -> String {
    let tell = |(world, action): (World, Option<Action>)| {
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
    path.into_vec().into_iter().map(tell).collect()
}

/// Takes away every state without a successor, again and again; what is left leads into a cycle.
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
