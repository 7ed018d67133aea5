//! The teeth of the model: every way to depart from the protocol breaks the promise that it should.

use stateright::{Checker, HasDiscoveries, Model};

use super::promises::{
    ACCOUNTS_APART, ALL_END, LOGOUT_HOLDS, NEVER_BACK, NOTHING_LOST, ONE_REQUEST, POISON_IS_TRUE,
};
use super::protocol::{Departure, Protocol};
use super::world::OnReuse;
use super::{THREE_OF_OURS, TWO_AND_A_PEER, states_on_or_before_a_cycle, story};

/// A run in which `protocol`, departing, breaks `promise`.
fn breaks(protocol: Protocol, departure: Departure, promise: &'static str) {
    let protocol = Protocol { departure: Some(departure), ..protocol };
    let stop = HasDiscoveries::AnyOf([promise].into());
    let checker = protocol.checker().finish_when(stop).spawn_bfs().join();
    let states = checker.unique_state_count();
    let Some(run) = checker.discovery(promise) else {
        panic!("{departure:?} does no harm in {states} states: {promise}");
    };
    println!("{departure:?}, {states} states: not so: {promise}\n{}", story(run));
}

#[test]
fn without_a_lease_a_token_is_sent_twice() {
    breaks(THREE_OF_OURS, Departure::NoLease, ONE_REQUEST);
}

#[test]
fn spending_before_the_rescue_is_finished_sends_a_token_twice() {
    breaks(THREE_OF_OURS, Departure::SpendsBeforeRescue, ONE_REQUEST);
}

#[test]
fn committing_without_a_rescue_loses_the_token() {
    breaks(THREE_OF_OURS, Departure::CommitsBeforeRescue, NOTHING_LOST);
}

#[test]
fn clearing_the_rescue_before_the_commit_loses_the_token() {
    breaks(THREE_OF_OURS, Departure::ClearsRescueBeforeCommit, NOTHING_LOST);
}

#[test]
fn without_compare_and_swap_another_account_is_overwritten() {
    breaks(TWO_AND_A_PEER, Departure::NoCompareAndSwap, ACCOUNTS_APART);
}

#[test]
fn without_compare_and_swap_a_logout_is_undone() {
    breaks(TWO_AND_A_PEER, Departure::NoCompareAndSwap, LOGOUT_HOLDS);
}

#[test]
fn without_compare_and_swap_the_document_goes_back() {
    breaks(TWO_AND_A_PEER, Departure::NoCompareAndSwap, NEVER_BACK);
}

#[test]
fn without_the_commit_locks_another_account_is_overwritten() {
    breaks(TWO_AND_A_PEER, Departure::NoCommitLocks, ACCOUNTS_APART);
}

#[test]
fn without_the_commit_locks_a_logout_is_undone() {
    breaks(TWO_AND_A_PEER, Departure::NoCommitLocks, LOGOUT_HOLDS);
}

#[test]
fn poisoning_at_once_poisons_a_login_that_the_peer_is_about_to_renew() {
    // An authority that revokes the family leaves nothing to renew.
    let protocol = Protocol { on_reuse: OnReuse::Refuse, ..TWO_AND_A_PEER };
    breaks(protocol, Departure::NoGrace, POISON_IS_TRUE);
}

#[test]
fn poisoning_whatever_was_refused_poisons_the_living() {
    breaks(THREE_OF_OURS, Departure::PoisonsTransient, POISON_IS_TRUE);
}

#[test]
fn looking_at_the_clock_before_the_answer_sends_a_token_twice() {
    breaks(THREE_OF_OURS, Departure::LooksAtTheClockFirst, ONE_REQUEST);
}

#[test]
fn looking_at_the_clock_before_the_answer_loses_the_token() {
    breaks(THREE_OF_OURS, Departure::LooksAtTheClockFirst, NOTHING_LOST);
}

#[test]
fn a_grace_without_end_leaves_a_process_waiting_for_ever() {
    breaks(TWO_AND_A_PEER, Departure::GraceWithoutEnd, ALL_END);
}

#[test]
fn waking_a_poisoned_process_for_any_document_never_ends() {
    let departure = Some(Departure::WakesForAnyDocument);
    assert_ne!(states_on_or_before_a_cycle(Protocol { misfortunes: 1, departure, ..TWO_AND_A_PEER }), 0);
}

#[test]
fn ignoring_the_spent_list_sends_a_token_twice() {
    breaks(THREE_OF_OURS, Departure::IgnoresSpent, ONE_REQUEST);
}

#[test]
fn adopting_an_older_token_goes_back() {
    breaks(THREE_OF_OURS, Departure::AdoptsOlder, NEVER_BACK);
}

// Holes in the protocol as it stood: each was a run of the protocol before it was a departure from it.

#[test]
fn trusting_an_older_token_that_the_peer_replaced_loses_the_living_one() {
    breaks(TWO_AND_A_PEER, Departure::TrustsOlder, NOTHING_LOST);
}

#[test]
fn sending_a_spent_document_again_sends_a_token_twice() {
    breaks(THREE_OF_OURS, Departure::SendsSpent, ONE_REQUEST);
}

#[test]
fn yielding_to_an_older_document_loses_the_token_just_received() {
    breaks(THREE_OF_OURS, Departure::YieldsToOlder, NOTHING_LOST);
}

#[test]
fn finishing_a_rescue_without_adopting_it_loses_the_token() {
    breaks(THREE_OF_OURS, Departure::FinisherForgets, NOTHING_LOST);
}

#[test]
fn revoking_the_ancestor_of_the_stored_token_ends_the_login() {
    breaks(TWO_AND_A_PEER, Departure::RevokesItsDescendant, NOTHING_LOST);
}

#[test]
fn recording_only_commits_of_its_own_sends_a_token_twice() {
    breaks(THREE_OF_OURS, Departure::RecordsOnlyCommits, ONE_REQUEST);
}

#[test]
fn forgetting_what_was_refused_sends_a_token_twice() {
    breaks(TWO_AND_A_PEER, Departure::ForgetsRefused, ONE_REQUEST);
}
