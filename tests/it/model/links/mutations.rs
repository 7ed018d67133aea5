//! Mutations of the protocol: every wrong rule breaks the promise that it should.

use super::super::check;
use super::protocol::{Mutation, Protocol};
use super::{ACCOUNTS_APART, ALL_END, CROSSWISE, INTO_A_HOME, NOTHING_LOST, ONE_FOLDER, ONE_REQUEST, SHARED};

fn breaks(protocol: Protocol, mutation: Mutation, promise: &'static str) {
    check::breaks(mutation, Protocol { mutation: Some(mutation), ..protocol }, promise);
}

#[test]
fn a_lease_of_the_home_alone_sends_a_token_twice() {
    breaks(SHARED, Mutation::LocksTheHomeOnly, ONE_REQUEST);
}

#[test]
fn locks_in_any_other_order_than_that_of_paths_wait_for_each_other() {
    breaks(CROSSWISE, Mutation::LocksTheHomeFirst, ALL_END);
}

#[test]
fn a_folder_that_is_locked_twice_waits_for_itself() {
    breaks(INTO_A_HOME, Mutation::LocksTwice, ALL_END);
}

#[test]
fn a_rescue_that_two_documents_share_ends_a_login() {
    breaks(ONE_FOLDER, Mutation::RecordsOfTheFolder, NOTHING_LOST);
}

#[test]
fn a_rescue_of_the_home_is_not_found_by_the_other_one() {
    breaks(SHARED, Mutation::RecordsOfTheHome, NOTHING_LOST);
}

#[test]
fn a_commit_through_a_link_that_was_pointed_elsewhere_ends_the_login() {
    breaks(SHARED, Mutation::CommitsThroughTheLink, NOTHING_LOST);
}

#[test]
fn a_write_through_a_link_that_was_pointed_elsewhere_overwrites_another_login() {
    breaks(SHARED, Mutation::WritesThroughTheLink, ACCOUNTS_APART);
}
