//! Mutations of the protocol: every wrong rule breaks the promise that it should.

use stateright::{Checker, HasDiscoveries, Model};

use super::promises::{
    LOGIN_KEPT, LOGOUT_HOLDS, LOGOUT_REVOKES, NEVER_BACK, NO_REUSE, NO_STORM, NOTHING_LOST, ONE_POST,
    ONLY_DEAD_POISONED,
};
use super::protocol::{Mutation, Protocol};
use super::{LOGGED_OUT, ONE_FAILURE, ONE_RESTORE, TWO_FAILURES, UNANSWERED, USED};

/// The promise that each mutation breaks, and the bounds under which it does.
const MUTATIONS: [(Mutation, Protocol, &str); 23] = [
    (Mutation::ComparesNothing, ONE_FAILURE, ONE_POST),
    (Mutation::SkipsLastCheck, ONE_FAILURE, NO_REUSE),
    (Mutation::TrustsLostReply, ONE_FAILURE, ONE_POST),
    (Mutation::PostsWithoutJournal, ONE_FAILURE, ONE_POST),
    (Mutation::CommitsWithoutKeeping, ONE_FAILURE, NOTHING_LOST),
    (Mutation::DropsRescueUnread, ONE_FAILURE, NOTHING_LOST),
    (Mutation::WithdrawsBothAttempts, UNANSWERED, ONE_POST),
    (Mutation::SucceedsAtOnce, ONE_FAILURE, NO_REUSE),
    (Mutation::SucceedsWhileTokenLives, ONE_FAILURE, NO_REUSE),
    (Mutation::SucceedsUnrecorded, ONE_FAILURE, ONE_POST),
    (Mutation::RetriesLost, UNANSWERED, ONE_POST),
    (Mutation::LeasesIntent, ONE_FAILURE, ONE_POST),
    (Mutation::AdoptsOlder, ONE_RESTORE, NEVER_BACK),
    (Mutation::IgnoresRestore, ONE_RESTORE, NO_REUSE),
    (Mutation::RevokesBeforeTombstone, USED, LOGIN_KEPT),
    (Mutation::RevokesBeforeNewLogin, USED, LOGIN_KEPT),
    (Mutation::LeavesSuccessor, USED, LOGOUT_REVOKES),
    (Mutation::PoisonsUnconfirmed, ONE_FAILURE, ONLY_DEAD_POISONED),
    (Mutation::PoisonsTransient, ONE_FAILURE, ONLY_DEAD_POISONED),
    (Mutation::IgnoresAsker, ONE_FAILURE, NO_STORM),
    (Mutation::RekeysOverIntent, USED, ONE_POST),
    (Mutation::CompletesLoginBlindly, LOGGED_OUT, LOGOUT_HOLDS),
    (Mutation::PresentsTwice, TWO_FAILURES, ONE_POST),
];

#[test]
fn every_mutation_breaks_the_promise_that_it_should() {
    for (mutation, bounds, promise) in MUTATIONS {
        let protocol = Protocol { mutation: Some(mutation), ..bounds };
        let stop = HasDiscoveries::AnyOf([promise].into());
        let checker = protocol.checker().symmetry().finish_when(stop).spawn_dfs().join();
        let states = checker.unique_state_count();
        println!("{mutation:?}, {states} states");
        assert!(
            checker.discovery(promise).is_some(),
            "{mutation:?} does no harm in {states} states: {promise}"
        );
    }
}
