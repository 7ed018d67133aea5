//! Mutations of the protocol: every wrong rule breaks the promise that it should.

use super::super::check;
use super::TWO_COMMANDS;
use super::promises::{
    ACCOUNTS_APART, NO_DEAD_COPY, NO_LEFTOVERS, NOTHING_LOST, NOTHING_UNSEEN, ROLLED_BACK,
};
use super::protocol::{Mutation, Protocol};

fn breaks(mutation: Mutation, promise: &'static str) {
    check::breaks(mutation, Protocol { mutation: Some(mutation), ..TWO_COMMANDS }, promise);
}

#[test]
fn removing_what_is_read_again_removes_what_was_not_seen() {
    breaks(Mutation::RemovesWhatItReads, NOTHING_UNSEEN);
}

#[test]
fn removing_what_is_read_again_loses_the_token() {
    breaks(Mutation::RemovesWhatItReads, NOTHING_LOST);
}

#[test]
fn replacing_what_is_read_again_overwrites_what_was_not_seen() {
    breaks(Mutation::ReplacesWhatItReads, NOTHING_UNSEEN);
}

#[test]
fn reading_the_destination_of_a_migration_twice_overwrites_another_login() {
    breaks(Mutation::ReadsDestinationAgain, ACCOUNTS_APART);
}

#[test]
fn moving_an_older_copy_over_a_newer_one_loses_the_token() {
    breaks(Mutation::CopiesTheOlder, NOTHING_LOST);
}

#[test]
fn a_migration_without_a_roll_back_leaves_a_copy() {
    breaks(Mutation::LeavesTheCopy, ROLLED_BACK);
}

#[test]
fn revoking_before_checking_that_the_file_can_be_removed_leaves_a_dead_copy() {
    breaks(Mutation::RevokesBeforeChecking, NO_DEAD_COPY);
}

#[test]
fn checking_one_copy_at_a_time_leaves_a_dead_copy() {
    breaks(Mutation::ChecksEachCopyAlone, NO_DEAD_COPY);
}

#[test]
fn revoking_what_was_removed_before_its_successor_was_stored_leaves_a_dead_copy() {
    breaks(Mutation::RevokesTheAncestor, NO_DEAD_COPY);
}

#[test]
fn taking_the_mark_of_a_logout_away_between_tries_leaves_a_dead_copy() {
    breaks(Mutation::UnmarksBetweenTries, NO_DEAD_COPY);
}

#[test]
fn removing_from_the_keychain_without_a_rescue_loses_the_token() {
    breaks(Mutation::HoldsNothing, NOTHING_LOST);
}

#[test]
fn not_putting_back_what_could_not_be_revoked_loses_the_token() {
    breaks(Mutation::PutsNothingBack, NOTHING_LOST);
}

#[test]
fn putting_back_over_a_newer_login_overwrites_it() {
    breaks(Mutation::PutsBackOverNewer, ACCOUNTS_APART);
}

#[test]
fn dropping_the_rescue_of_a_removed_login_loses_the_token() {
    breaks(Mutation::DropsRemovedLogin, NOTHING_LOST);
}

#[test]
fn ignoring_an_interrupted_logout_leaves_it_for_ever() {
    breaks(Mutation::IgnoresInterruptedLogout, NO_LEFTOVERS);
}

#[test]
fn completing_one_copy_of_an_interrupted_logout_leaves_a_dead_one() {
    breaks(Mutation::CompletesOneCopy, NO_DEAD_COPY);
}
