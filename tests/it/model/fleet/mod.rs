//! A model of a fleet: three hosts that share one login through etcd.
//!
//! It models the hosts ([`host`]), which may crash, stop, lose their connection to etcd or stay away; transactions whose
//! reply is lost or that arrive late; an etcd that is restored from a backup; users who log in, log out and change the
//! key; and an authority with single-use tokens that may not respond, or may call a live token invalid.
//!
//! Time is modelled by what it excludes. A host that runs and is connected has finished before a successor has waited;
//! the authority carries out a request within the deadline and the margin, or never; and while a host is between its
//! last check and the response, its lease ends only if the host is stopped. Identifiers are left out: an intent is named
//! by its host and attempt, and a value of the record never returns, except by a restore.
//!
//! Three losses are allowed, see [`world::Exception`]. The promises hold in all other runs.

mod failure;
mod host;
mod mutations;
mod promises;
mod protocol;
mod record;
mod user;
mod world;

use std::fmt::Write as _;
use std::time::Duration;

use stateright::{Checker, HasDiscoveries, Model, Path};

use super::check;
use super::world::OnReuse;
pub use protocol::Protocol;
use protocol::{Action, Faults, Watches};
use world::World;

const TWO_FAILURES: Protocol = Protocol {
    ages: 1,
    failures: 2,
    user_actions: 0,
    restores: false,
    watches: Watches::Prompt,
    faults: Faults::All,
    on_reuse: OnReuse::RevokeFamily,
    mutation: None,
};

const ONE_FAILURE: Protocol = Protocol { failures: 1, ..TWO_FAILURES };

/// Beside a user who acts once.
const USED: Protocol = Protocol { failures: 1, user_actions: 1, ..TWO_FAILURES };

/// With an etcd that is restored from a backup, which is one of the failures.
const RESTORED: Protocol = Protocol { restores: true, ..TWO_FAILURES };

/// The restore is the one failure.
const ONE_RESTORE: Protocol = Protocol { failures: 1, faults: Faults::Authority, ..RESTORED };

/// Only the authority fails.
const UNANSWERED: Protocol = Protocol { faults: Faults::Authority, ..TWO_FAILURES };

/// A user logs in at one host and out at another.
const LOGGED_OUT: Protocol = Protocol { failures: 0, user_actions: 2, ..TWO_FAILURES };

#[test]
fn three_hosts_keep_every_promise_whatever_two_things_go_wrong() {
    holds("two failures", TWO_FAILURES);
}

#[test]
fn three_hosts_keep_every_promise_with_an_authority_that_only_refuses_a_spent_token() {
    holds("two failures, forgiven", Protocol { on_reuse: OnReuse::Refuse, ..TWO_FAILURES });
}

#[test]
fn three_hosts_keep_every_promise_through_two_rotations() {
    holds("two rotations", Protocol { ages: 2, failures: 1, ..TWO_FAILURES });
}

#[test]
fn three_hosts_keep_every_promise_when_they_see_a_record_late() {
    holds("late watches", Protocol { failures: 1, watches: Watches::Late, ..TWO_FAILURES });
}

#[test]
fn three_hosts_keep_every_promise_when_etcd_is_restored() {
    holds("restored", ONE_RESTORE);
}

#[test]
fn three_hosts_keep_every_promise_beside_logins_logouts_and_changes_of_the_key() {
    holds("two user actions", LOGGED_OUT);
}

/// Bounds for `tests/soak fleet_model`.
pub const LARGE_BOUNDS: [(&str, Protocol); 6] = [
    ("two failures, late watches", Protocol { watches: Watches::Late, ..TWO_FAILURES }),
    ("a user and a failure", USED),
    ("two rotations, two failures", Protocol { ages: 2, ..TWO_FAILURES }),
    ("restored, late watches", Protocol { failures: 1, watches: Watches::Late, ..RESTORED }),
    ("restored, two failures", RESTORED),
    ("three failures", Protocol { failures: 3, ..TWO_FAILURES }),
];

/// Searches for a broken promise for at most `time`, and returns the number of states.
pub fn search(name: &str, protocol: Protocol, time: Duration) -> usize {
    let stop = HasDiscoveries::AnyFailures;
    let checker = protocol.checker().symmetry().finish_when(stop).timeout(time).spawn_dfs().join();
    check::assert_unbroken(name, &protocol, &checker, trace);
    checker.unique_state_count()
}

fn holds(name: &str, protocol: Protocol) {
    let stop = HasDiscoveries::AnyFailures;
    let checker = protocol.checker().symmetry().finish_when(stop).spawn_dfs().join();
    check::assert_promises(name, &protocol, &checker, trace);
}

/// Prints a run: the record and the hosts as far as they have changed, and each action.
fn trace(path: Path<World, Action>) -> String {
    let mut lines = String::new();
    let mut last = Vec::new();
    for (world, action) in path.into_vec() {
        let World { record, leader, authority, delayed, backup, exceptions, breach, .. } = world;
        let shared = format!(
            "{record:?}, leader {leader:?}, {authority:?}, delayed {delayed:?}, backup {backup:?}, \
             exceptions {exceptions}, {breach:?}"
        );
        let hosts = world.hosts.iter().map(|host| format!("{host:?}"));
        let now: Vec<_> = [shared].into_iter().chain(hosts).collect();
        for line in now.iter().filter(|line| !last.contains(*line)) {
            writeln!(lines, "    {line}").unwrap();
        }
        writeln!(lines, "  {action:?}").unwrap();
        last = now;
    }
    lines
}
