//! Mutations of the protocol: every wrong rule breaks the promise that it should.

use stateright::{Checker, HasDiscoveries, Model};

use super::promises::{
    LOGIN_KEPT, LOGOUT_HOLDS, LOGOUT_REVOKES, NEVER_BACK, NO_REUSE, NO_STORM, NOTHING_LOST, ONE_POST,
    ONLY_DEAD_POISONED,
};
use super::protocol::{Mutation, Protocol};
use super::{LOGGED_OUT, RESTORED, TWO_FAILURES, UNANSWERED, USED};

/// The promise that each mutation breaks, and the bounds under which it does.
const MUTATIONS: [(Mutation, Protocol, &str); 23] = [
    (Mutation::ComparesNothing, TWO_FAILURES, ONE_POST),
    (Mutation::SkipsLastCheck, TWO_FAILURES, NO_REUSE),
    (Mutation::TrustsLostReply, TWO_FAILURES, ONE_POST),
    (Mutation::PostsWithoutJournal, TWO_FAILURES, ONE_POST),
    (Mutation::CommitsWithoutKeeping, TWO_FAILURES, NOTHING_LOST),
    (Mutation::DropsRescueUnread, TWO_FAILURES, NOTHING_LOST),
    (Mutation::WithdrawsBothAttempts, UNANSWERED, ONE_POST),
    (Mutation::SucceedsAtOnce, TWO_FAILURES, NO_REUSE),
    (Mutation::SucceedsWhileTokenLives, TWO_FAILURES, NO_REUSE),
    (Mutation::SucceedsUnrecorded, TWO_FAILURES, ONE_POST),
    (Mutation::RetriesLost, UNANSWERED, ONE_POST),
    (Mutation::LeasesIntent, TWO_FAILURES, ONE_POST),
    (Mutation::AdoptsOlder, RESTORED, NEVER_BACK),
    (Mutation::IgnoresRestore, RESTORED, NO_REUSE),
    (Mutation::RevokesBeforeTombstone, USED, LOGIN_KEPT),
    (Mutation::RevokesBeforeNewLogin, USED, LOGIN_KEPT),
    (Mutation::LeavesSuccessor, USED, LOGOUT_REVOKES),
    (Mutation::PoisonsUnconfirmed, TWO_FAILURES, ONLY_DEAD_POISONED),
    (Mutation::PoisonsTransient, TWO_FAILURES, ONLY_DEAD_POISONED),
    (Mutation::IgnoresAsker, TWO_FAILURES, NO_STORM),
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
