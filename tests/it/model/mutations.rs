//! Mutations of the protocol: every wrong rule breaks the promise that it should.

use super::promises::{
    ACCOUNTS_APART, ALL_END, LOGOUT_HOLDS, NO_SPENT_TOKEN, NOTHING_LOST, ONE_REQUEST, ONLY_DEAD_POISONED,
};
use super::protocol::{Mutation, Protocol};
use super::world::OnReuse;
use super::{THREE_OF_OURS, TWO_AND_A_PEER, check, states_on_or_before_a_cycle};

fn breaks(protocol: Protocol, mutation: Mutation, promise: &'static str) {
    check::breaks(mutation, Protocol { mutation: Some(mutation), ..protocol }, promise);
}

#[test]
fn without_a_lease_a_token_is_sent_twice() {
    breaks(THREE_OF_OURS, Mutation::NoLease, ONE_REQUEST);
}

#[test]
fn spending_before_the_rescue_is_completed_sends_a_token_twice() {
    breaks(THREE_OF_OURS, Mutation::SpendsBeforeRescue, ONE_REQUEST);
}

#[test]
fn committing_without_a_rescue_loses_the_token() {
    breaks(THREE_OF_OURS, Mutation::CommitsBeforeRescue, NOTHING_LOST);
}

#[test]
fn clearing_the_rescue_before_the_commit_loses_the_token() {
    breaks(THREE_OF_OURS, Mutation::ClearsRescueBeforeCommit, NOTHING_LOST);
}

#[test]
fn without_compare_and_swap_another_account_is_overwritten() {
    breaks(TWO_AND_A_PEER, Mutation::NoCompareAndSwap, ACCOUNTS_APART);
}

#[test]
fn without_compare_and_swap_a_logout_is_undone() {
    breaks(TWO_AND_A_PEER, Mutation::NoCompareAndSwap, LOGOUT_HOLDS);
}

#[test]
fn without_compare_and_swap_an_older_token_is_restored() {
    breaks(TWO_AND_A_PEER, Mutation::NoCompareAndSwap, NO_SPENT_TOKEN);
}

#[test]
fn without_the_commit_locks_another_account_is_overwritten() {
    breaks(TWO_AND_A_PEER, Mutation::NoCommitLocks, ACCOUNTS_APART);
}

#[test]
fn without_the_commit_locks_a_logout_is_undone() {
    breaks(TWO_AND_A_PEER, Mutation::NoCommitLocks, LOGOUT_HOLDS);
}

#[test]
fn poisoning_at_once_poisons_a_login_that_the_peer_is_about_to_renew() {
    // If the authority revokes the family, there is nothing to renew.
    let protocol = Protocol { on_reuse: OnReuse::Refuse, ..TWO_AND_A_PEER };
    breaks(protocol, Mutation::NoGrace, ONLY_DEAD_POISONED);
}

#[test]
fn poisoning_after_a_transient_error_poisons_a_live_token() {
    breaks(THREE_OF_OURS, Mutation::PoisonsTransient, ONLY_DEAD_POISONED);
}

#[test]
fn checking_the_deadline_before_the_response_sends_a_token_twice() {
    breaks(THREE_OF_OURS, Mutation::ChecksDeadlineFirst, ONE_REQUEST);
}

#[test]
fn checking_the_deadline_before_the_response_loses_the_token() {
    breaks(THREE_OF_OURS, Mutation::ChecksDeadlineFirst, NOTHING_LOST);
}

#[test]
fn an_unlimited_grace_period_leaves_a_process_waiting_forever() {
    breaks(TWO_AND_A_PEER, Mutation::UnlimitedGrace, ALL_END);
}

#[test]
fn waking_a_poisoned_process_for_any_document_loops_forever() {
    let mutation = Some(Mutation::WakesForAnyDocument);
    assert_ne!(states_on_or_before_a_cycle(Protocol { failures: 1, mutation, ..TWO_AND_A_PEER }), 0);
}

#[test]
fn ignoring_the_spent_list_sends_a_token_twice() {
    breaks(THREE_OF_OURS, Mutation::IgnoresSpent, ONE_REQUEST);
}

#[test]
fn adopting_an_older_token_restores_a_spent_one() {
    breaks(THREE_OF_OURS, Mutation::AdoptsOlder, NO_SPENT_TOKEN);
}

// Earlier errors of the protocol, which this model found.

#[test]
fn trusting_an_older_token_that_the_peer_replaced_loses_the_live_one() {
    breaks(TWO_AND_A_PEER, Mutation::TrustsOlder, NOTHING_LOST);
}

#[test]
fn sending_a_spent_document_again_sends_a_token_twice() {
    breaks(THREE_OF_OURS, Mutation::SendsSpent, ONE_REQUEST);
}

#[test]
fn aborting_the_commit_for_an_older_document_loses_the_received_token() {
    breaks(THREE_OF_OURS, Mutation::AbortsForOlder, NOTHING_LOST);
}

#[test]
fn completing_a_rescue_without_adopting_it_loses_the_token() {
    breaks(THREE_OF_OURS, Mutation::ForgetsCompletedRescue, NOTHING_LOST);
}

#[test]
fn revoking_the_ancestor_of_the_stored_token_ends_the_login() {
    breaks(TWO_AND_A_PEER, Mutation::RevokesAncestor, NOTHING_LOST);
}

#[test]
fn recording_only_its_own_commits_sends_a_token_twice() {
    breaks(THREE_OF_OURS, Mutation::RecordsOnlyCommits, ONE_REQUEST);
}

#[test]
fn forgetting_a_refused_token_sends_it_twice() {
    breaks(TWO_AND_A_PEER, Mutation::ForgetsRefused, ONE_REQUEST);
}
