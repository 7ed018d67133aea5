//! A model of the two stores: migrations and logouts beside another program that takes no lease.
//!
//! It models our commands, one at a time, that may die between any two steps; an authority that cannot be reached; a
//! `config.toml` that cannot be written; a file that cannot be removed; and a rival that refreshes and commits under
//! the commit locks, and logs in over other logins. It does not model processes that wait for the lease (see the
//! refresh model), the retry of a removal whose outcome is unknown, or `--force`.

mod logout;
mod migrate;
mod mutations;
mod promises;
mod protocol;
mod recover;
mod step;
mod world;

use super::check::holds;
use protocol::Protocol;

const TWO_COMMANDS: Protocol = Protocol { commands: 2, turns: 1, failures: 2, mutation: None };

#[test]
fn two_commands_keep_every_promise_beside_a_rival_whatever_two_things_go_wrong() {
    holds("two commands", TWO_COMMANDS);
}

#[test]
fn three_commands_keep_every_promise_beside_a_rival() {
    holds("three commands", Protocol { commands: 3, failures: 1, ..TWO_COMMANDS });
}
